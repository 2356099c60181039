"""What the kept answers of a confirmation say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.confirmation.plan import Training
from study.confirmation.retrain import (
    depends_on_seed,
    kept_answers,
)
from study.record import DOMAINS

if TYPE_CHECKING:
    pass

from typing import TYPE_CHECKING

from study.options import LEVEL

if TYPE_CHECKING:
    import numpy as np

    from study.confirmation.retrain import Truth


def collect_results(opening: Mapping[str, Any], folder: Path, truth: "Truth") -> dict[str, Any]:
    """Turns the kept answers into what the report says; a pure function of its arguments and the kept files.

    Raises:
        RuntimeError: Answers of a job are missing.
    """
    import numpy as np

    from study.confirmation.statistics import (
        judge_points,
        measures_on_test,
        per_class_results,
        predicted_expressions,
        strategy_differences,
    )

    missing = trainings_left(opening, folder)
    if missing:
        index, seed = missing[0]
        raise RuntimeError(
            f"the answers of {opening['jobs'][index]['name']} with seed {seed} are missing; the same command trains it "
            "again"
        )

    labels, subjects = truth.labels, truth.subjects
    points: list[dict[str, Any]] = []
    again: list[dict[str, float]] = []
    for index, job in enumerate(opening["jobs"]):
        found = [kept_answers(folder, opening, index, k) for k in range(opening["seeds"])]
        kept = [answers for answers in found if answers is not None]
        for place, way in enumerate(job["ways"]):
            logits = {domain: np.stack([answers[f"{domain}-{place}"] for answers in kept]) for domain in DOMAINS}
            right = {domain: predicted_expressions(logits[domain]) == labels[domain] for domain in DOMAINS}
            about = {"name": job["name"], "strategy": job["strategy"]} | way | {"logits": logits, "right": right}
            about["target_passes"] = job.get("target_passes", 0.0)
            # A named strategy is the network at its end; those on the way to it are points of the front alone.
            about["named"] = job["named"] if (way["alpha"], way["slope"]) == (1.0, 0.0) else ""
            inside = {name: kept[0][f"{name}-{place}"] for name in ("cka", "probe") if f"{name}-{place}" in kept[0]}
            points.append(about | {"divisions": min(len(kept), truth.divisions)} | inside)
            # What no seed changes was validated on the first seed's division alone: no match for means over all.
            again.append(validated_again(kept, place) if len(kept) == opening["seeds"] else {})
    judged = judge_points(points, subjects, LEVEL)
    more = measures_on_test(points, labels)
    rows = zip(judged["points"], more, again, strict=True)
    judged["points"] = [row | measures | validation for row, measures, validation in rows]
    judged["inside"] = [per_class_results(point, points[0], labels) for point in points]
    return judged | {"differences": strategy_differences(points, subjects, LEVEL)}


def validated_again(kept: "Sequence[dict[str, np.ndarray]]", place: int) -> dict[str, float]:
    """Returns the accuracy of a job's fresh trainings on validation images, the mean over seeds.

    The search chose a point because of its validation accuracy, which therefore is too high in the mean. These
    trainings were chosen by nothing. The target's images are those of each seed's own division; the source's are the
    ones that the search saw, so that the choice may still suit these images.

    Args:
        kept: A training's answers each, see `study.retrain.evaluate`.
        place: On the job's way.

    Returns:
        source_val_again and target_val_again; a training that diverged counts as 0.
    """
    import numpy as np

    from study.confirmation.statistics import predicted_expressions

    found = {}
    for domain in DOMAINS:
        accuracies = [
            np.mean(predicted_expressions(answers[f"{domain}-val-{place}"]) == answers[f"{domain}-val-labels"])
            for answers in kept
        ]
        found[f"{domain}_val_again"] = float(np.mean(accuracies))
    return found


def trainings_left(opening: Mapping[str, Any], folder: Path) -> list[Training]:
    """Returns the trainings whose answers are not kept, or not whole, those that no seed changes last.

    These train nothing, so that the first training of each process tells whether its device and memory suffice.
    """
    from fer.config import from_flat

    changing, unchanging = [], []
    configs = [from_flat(job["config"]) for job in opening["jobs"]]
    for seed in range(opening["seeds"]):
        for index, config in enumerate(configs):
            if depends_on_seed(config):
                changing.append((index, seed))
            elif seed == 0:
                unchanging.append((index, seed))
    every = [*changing, *unchanging]
    if "opened" not in opening:
        return every
    return [training for training in every if kept_answers(folder, opening, *training) is None]
