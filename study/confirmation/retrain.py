"""A process of `study.confirm`: trains its part of the jobs and keeps their answers; not a command for people.

Reads one JSON line, its assignment, from its standard input. When its first training has ended, and with that device,
memory, data and baseline have proved sufficient, it prints {"ready": true} and waits for a second line, the opening;
only then does it read test images. It prints {"error": [...]} or {"stuck": "..."} where it cannot go on.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from fer.files import checksum, open_regular, write_atomically
from study.cli import DONE, WRONG_USE, leave
from study.machine import exit_with_parent, is_out_of_memory, keep_private
from study.options import STUCK
from study.record import DOMAINS, one_line

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from fer.adaptation.procedure import Adapted
    from fer.adaptation.task import AdaptationTask
    from fer.config import AdaptationConfig
    from fer.datasets import Dataset
    from study.execution.trial import TrialContext

CONFIRMATION_ATTRIBUTE = "confirmation"
SIMILARITY_IMAGES, PROBE_IMAGES = 256, 2100
MOST_ANSWERS = 2**30
"""Bytes of one training's answers."""

Arrays = dict[str, "np.ndarray"]


# The kept answers.


def answers_path(folder: Path, opening: Mapping[str, Any], job: int, seed: int) -> Path:
    """Returns where the answers of one training are kept; each opening has its own."""
    return folder / "confirm" / f"{opening['opened'].replace(':', '')}-{job:03d}-{seed:03d}.npz"


def mark_of(opening: Mapping[str, Any], job: int, seed: int) -> str:
    """Returns a hash of what a training's answers belong to, by which those of another are told from them."""
    about = opening["jobs"][job]
    ways = [[way["alpha"], way["slope"]] for way in about["ways"]]
    parts = [opening["opened"], opening.get("test_sets"), about.get("config"), ways, seed]
    return checksum(json.dumps(parts, sort_keys=True, default=str).encode())


def keep_answers(folder: Path, opening: Mapping[str, Any], job: int, seed: int, answers: Arrays) -> None:
    """Writes the answers of one training, whole or not at all."""
    import numpy as np

    path = answers_path(folder, opening, job, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    marked = answers | {"mark": np.array(mark_of(opening, job, seed))}
    np.savez_compressed(buffer, **marked)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def kept_answers(folder: Path, opening: Mapping[str, Any], job: int, seed: int) -> Arrays | None:
    """Returns the kept answers of one training; None where there are none, or what is there is damaged or foreign."""
    import numpy as np

    try:
        with open_regular(answers_path(folder, opening, job, seed), MOST_ANSWERS) as file:
            answers = dict(np.load(file))
    except Exception:  # an empty, cut or overwritten archive: zipfile, zlib and numpy each raise their own
        return None
    if str(answers.get("mark")) != mark_of(opening, job, seed):
        return None

    sizes = {domain: answers.get(f"{domain}-val-labels") for domain in DOMAINS}
    if any(labels is None for labels in sizes.values()):
        return None
    places = range(len(opening["jobs"][job]["ways"]))
    names = [f"{domain}-{part}{place}" for domain in DOMAINS for part in ("", "val-") for place in places]
    return answers if all(name in answers for name in names) else None


@dataclass(frozen=True)
class Truth:
    """What the answers on test images are compared with.

    Attributes:
        labels: For each domain int64 (n,).
        subjects: For each domain int64 (n,), -1 where unknown.
        divisions: How many divisions of the target's training and validation images the seeds take in turn.
    """

    labels: Arrays
    subjects: Arrays
    divisions: int


def truth_of(datasets: Mapping[str, "Dataset"], folds: int) -> Truth:
    """Returns labels and subjects of both test sets, and how many divisions of the target there are."""
    import numpy as np

    tests = {domain: datasets[domain].open_test() for domain in DOMAINS}
    labels = {domain: np.asarray(split.labels) for domain, split in tests.items()}
    subjects = {domain: np.asarray(split.subjects) for domain, split in tests.items()}
    return Truth(labels, subjects, count_divisions(datasets["target"], folds))


def describe_test_set(dataset: "Dataset") -> dict[str, Any]:
    """Returns what a confirmation records of a test set: name, number of images, and a digest of them.

    The digest depends on the images and on nothing else, not on their order: the same test people are recognised under
    another study, seed or division.
    """
    images = dataset.open_test().images
    hashes = sorted(checksum(image.tobytes()) for image in images)
    return {"dataset": dataset.name, "images": len(images), "digest": checksum("".join(hashes).encode())}


# Trainings.


def depends_on_seed(config: "AdaptationConfig") -> bool:
    """Whether another seed can give another network."""
    return config.trains or (bool(config.trained) and config.bn == "recompute")


def divide_target(bench: "TrialContext", seed: int) -> "AdaptationTask":
    """Returns the setting of one seed: the target's training and validation images divided anew, the test set kept.

    Seeds take the folds of one subject-wise division in turn, all strategies the same, so that differences are paired.
    """
    target = bench.setting.target
    count = count_divisions(target, bench.folds)
    return replace(bench.setting, target=target.divided(seed % count, count, bench.seed + seed // count))


def count_divisions(target: "Dataset", folds: int) -> int:
    """Returns how many divisions seeds take in turn: the study's folds, or as many as the validation split fits in."""
    return folds or target.divisions()


def retrain(bench: "TrialContext", job: Mapping[str, Any], seed: int) -> "Adapted | None":
    """Returns a job's network and those on its way, trained with one seed; None where the training diverged."""
    from fer.adaptation.procedure import adapt
    from fer.config import unflatten
    from fer.seeding import seed_from
    from fer.training.loop import Diverged

    places = [(way["alpha"], way["slope"]) for way in job["ways"]]
    between = [place for place in places if place != (1.0, 0.0)]
    config, setting = unflatten(job["config"]), divide_target(bench, seed)
    try:
        return adapt(setting, config, seed_from(bench.seed, "confirm", seed), ways=between)
    except Diverged:
        return None


def evaluate(bench: "TrialContext", job: Mapping[str, Any], seed: int, adapted: "Adapted | None") -> Arrays:
    """Returns the answers of a job's networks, NaN where the training diverged.

    Returns:
        For each domain and place on the job's way, logits (n, 7) on the test images, "target-0", and (m, 7) on the
        validation images of the seed's own division, "target-val-0"; the labels of the latter, "target-val-labels"
        (m,); for the first seed what `measure_similarity` tells of each network.
    """
    import numpy as np

    from fer.adaptation.evaluation import logits_on_test, validation_labels
    from fer.config import unflatten
    from fer.expressions import EXPRESSIONS

    config, setting = unflatten(job["config"]), divide_target(bench, seed)
    networks: dict[tuple[float, float], tuple[nn.Sequential, Mapping[str, np.ndarray]]] = {}
    if adapted is not None:
        networks[(1.0, 0.0)] = (adapted.network, adapted.logits)
        networks |= {(step.alpha, step.slope): (step.network, step.logits) for step in adapted.interpolated}

    labels = validation_labels(setting)
    answers: Arrays = {f"{domain}-val-labels": labels[domain] for domain in DOMAINS}
    for place, way in enumerate(job["ways"]):
        found = networks.get((way["alpha"], way["slope"]))
        for domain in DOMAINS:
            if found is None:
                count = len(setting.dataset(domain).open_test())
                answers[f"{domain}-{place}"] = np.full((count, len(EXPRESSIONS)), np.nan, np.float32)
                answers[f"{domain}-val-{place}"] = np.full((len(labels[domain]), len(EXPRESSIONS)), np.nan, np.float32)
            else:
                network, validation = found
                answers[f"{domain}-{place}"] = logits_on_test(setting, config, network, domain)
                answers[f"{domain}-val-{place}"] = validation[domain]
        if found is not None and seed == 0:
            answers |= {f"{name}-{place}": values for name, values in measure_similarity(setting, found[0]).items()}
    return answers


def measure_similarity(setting: "AdaptationTask", network: "nn.Sequential") -> Arrays:
    """Returns the layers' similarity to the baseline's, and how well a fresh linear probe reads the source's features.

    Both on source images alone, of training and validation; see `fer.evaluation.similarity`.
    """
    import numpy as np

    from fer.evaluation.similarity import layer_similarities, probe_accuracy
    from fer.seeding import generator
    from fer.training.penalties import choose_balanced

    train, held_out = setting.source.open("train"), setting.source.open("validation")
    few = generator("similarity").permutation(len(held_out))[:SIMILARITY_IMAGES]
    chosen = choose_balanced(np.asarray(train.labels), PROBE_IMAGES, generator("probe"))
    similar = layer_similarities(setting.baseline.network, network, held_out.images[np.sort(few)])
    parts = [(split.images[rows], np.asarray(split.labels[rows])) for split, rows in
             ((train, np.sort(chosen)), (held_out, np.arange(min(PROBE_IMAGES, len(held_out)))))]  # fmt: skip
    return {"cka": np.array(list(similar.values())), "probe": np.array(probe_accuracy(network, parts[0], parts[1]))}


# The process.


def run_part(assignment: Mapping[str, Any]) -> None:
    """Trains the assigned jobs; reads the test images once the parent says that they are opened.

    Args:
        assignment: record: the study's; out, data, device: of the command; folder: the study's; jobs; trainings: pairs
            of a job's number and a seed.
    """
    from study.execution.worker_loop import open_trial_context

    places = argparse.Namespace(**{name: assignment[name] for name in ("out", "data", "device")})
    bench = open_trial_context(assignment["record"], places)
    folder, opening = Path(assignment["folder"]), None
    for index, seed in assignment["trainings"]:
        job = assignment["jobs"][index]
        adapted = retrain(bench, job, seed)
        if opening is None:
            say({"ready": True})
            line = sys.stdin.readline()
            if not line:  # the parent refused
                return
            opening = json.loads(line)
        keep_answers(folder, opening, index, seed, evaluate(bench, job, seed, adapted))


def say(line: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(line), flush=True)


def run_process() -> int:
    """Does what standard input assigns; returns the exit code."""
    try:
        run_part(json.loads(sys.stdin.readline()))
    except InputError as error:
        say({"error": [error.rule, str(error.value), error.fix]})
        return WRONG_USE
    except Exception as error:
        if not (isinstance(error, OSError) or is_out_of_memory(error)):
            raise
        say({"stuck": one_line(error)})
        return STUCK
    return DONE


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    keep_private()
    leave(run_process())
