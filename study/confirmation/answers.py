"""The stored answers of a confirmation: a file per training, which a confirmation that was cut off does not repeat."""

import io
import json
from pathlib import Path

import numpy as np

from fer.files import checksum, open_regular, write_atomically
from study.confirmation.jobs import Confirmation
from study.record import DOMAINS

MOST_BYTES = 2**30
"""Of one training's answers."""

Arrays = dict[str, np.ndarray]


def answers_path(folder: Path, confirmation: Confirmation, job: int, seed: int) -> Path:
    """Returns where the answers of one training are stored; each confirmation has its own files.

    Args:
        folder: The study's.
        confirmation: Whose evaluation is recorded.
        job: The number of the job.
        seed: Of the training.
    """
    evaluated = str(confirmation.evaluated).replace(":", "")
    return folder / "confirm" / f"{evaluated}-{job:03d}-{seed:03d}.npz"


def checksum_of_training(confirmation: Confirmation, job: int, seed: int) -> str:
    """Returns a hash of what a training's answers belong to, by which answers of another training are recognised."""
    trained = confirmation.jobs[job]
    points = [[point.alpha, point.slope] for point in trained.interpolation_points]
    parts = [confirmation.evaluated, confirmation.test_sets, dict(trained.config), points, seed]
    return checksum(json.dumps(parts, sort_keys=True, default=str).encode())


def write_answers(folder: Path, confirmation: Confirmation, job: int, seed: int, answers: Arrays) -> None:
    """Writes the answers of one training, all of them or none.

    Args:
        folder: The study's.
        confirmation: Whose evaluation is recorded.
        job: The number of the job.
        seed: Of the training.
        answers: See `study.confirmation.retrain.evaluate`.
    """
    path = answers_path(folder, confirmation, job, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    marked = answers | {"mark": np.array(checksum_of_training(confirmation, job, seed))}
    np.savez_compressed(buffer, **marked)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_answers(folder: Path, confirmation: Confirmation, job: int, seed: int) -> Arrays | None:
    """Returns the stored answers of one training; None where there are none, or they are damaged or another's.

    Args:
        folder: The study's.
        confirmation: Whose evaluation is recorded.
        job: The number of the job.
        seed: Of the training.
    """
    try:
        with open_regular(answers_path(folder, confirmation, job, seed), MOST_BYTES) as file:
            answers = dict(np.load(file))
    except Exception:  # an empty, cut or overwritten archive: zipfile, zlib and numpy each raise their own
        return None
    if str(answers.get("mark")) != checksum_of_training(confirmation, job, seed):
        return None

    required = [f"{domain}-val-labels" for domain in DOMAINS]
    for place in range(len(confirmation.jobs[job].interpolation_points)):
        required += [f"{domain}-{place}" for domain in DOMAINS]
        required += [f"{domain}-val-{place}" for domain in DOMAINS]
    is_complete = all(name in answers for name in required)
    return answers if is_complete else None
