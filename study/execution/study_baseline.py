"""The baseline of a study: found by its hash or trained, evaluated, and opened again by workers. Imports torch."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fer import baseline
from fer.adaptation.evaluation import UNTRAINED, baseline_logits, untrained_accuracy
from fer.adaptation.task import AdaptationTask
from fer.architecture import Architecture, check_unchanged
from fer.baseline import FusedNetworks
from fer.baseline_job import PRETRAINED_LR, PRETRAINED_PASSES, BaselineConfig, Course, OnPass, Pretrained
from fer.datasets import Dataset, Split
from fer.errors import InputError, printable
from fer.evaluation.metrics import confusion_matrices, evaluate, forward_transfer
from fer.model import weights
from fer.model.weights import Baseline
from fer.predict import UnusableNetwork
from fer.runtime import Runtime, make_runtime
from fer.told_progress import OnProgress, tell_progress, watching
from study.execution.network_answer import find_own_weights
from study.inputs import feature_room_of, reopen_dataset
from study.options import StudyOptions, baselines_folder, blocks_folder, cache_folder
from study.presets import PRESETS
from study.record import StudyRecord
from study.tuning.answers import SourceImages, TargetImages
from study.tuning.stored_answers import ValidationImages


def prepare_baseline(
    record: StudyRecord,
    on_pass: OnPass,
    on_progress: OnProgress = lambda done, total: None,
    on_evaluated: OnProgress = lambda done, total: None,
) -> dict[str, Any]:
    """Finds or trains the baseline of a new study, and evaluates it on the study's validation images.

    Args:
        record: The study's record, without its baseline.
        on_pass: Called after each pass of the training.
        on_progress: Called after each of its steps with how many samples are drawn, and how many there are at most.
        on_evaluated: Called while the baseline is evaluated, with how many images are answered, and of how many.

    Returns:
        What the study's record keeps of its baseline, see `study.record.BaselineRecord`.

    Raises:
        InputError: The network that the user gave cannot be used, or the data is not the study's.
        UnusableNetwork: Its logits are NaN or infinite.
    """
    options = record.options
    runtime = make_runtime(options["device"], options["precision"])
    source = reopen_dataset(record.source, options)
    target = reopen_dataset(record.target, options)

    # The network.
    network = record.architecture
    cache = cache_folder(options["out"])
    with watching(on_progress):
        path = _network_file(record, source, runtime, on_pass)
    trained = weights.load_network(path, runtime, blocks=blocks_folder(options["out"]), own=network.name)
    check_expressions(trained, source, path)

    # What it reaches.
    task = AdaptationTask(trained, source, target, runtime, cache, feature_room=feature_room_of(record))
    with watching(on_evaluated):
        evaluation = _evaluate(task, options.get("folds") or 1, options["seed"], path)

    return {
        "file": str(path),
        "digest": trained.digest,
        "width": trained.width,
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "source_val": evaluation.measures["source_val"],
        "target_val": evaluation.measures["target_val"],
        "measures": evaluation.measures,
        "confusion": evaluation.confusion,
        "confusion_of_folds": evaluation.confusion_of_folds,
        "answers": evaluation.images.to_json(),
        "device": runtime.device,
        "precision": runtime.precision,
        **_describe_course(baseline.course_of(path)),
    }


def check_expressions(trained: Baseline, source: Dataset, path: Path) -> None:
    """Raises InputError where a network tells other expressions apart than the study.

    Args:
        trained: The network; where its file names no expressions, their number counts.
        source: The dataset whose labels it is to predict.
        path: The network's file.
    """
    expressions = source.expressions
    fits = trained.expressions in (None, expressions.names) and len(trained.names) == len(expressions)
    if not fits:
        raise InputError(
            f"a baseline tells the study's {len(expressions)} expressions apart, {expressions.describe()}",
            f"{path} for {', '.join(trained.names)}",
            "Give another network, or the --expressions that it was trained for.",
        )


def _describe_course(course: Course | None) -> dict[str, Any]:
    """Returns what the record keeps of the baseline's training; nothing of a network that was trained elsewhere."""
    if course is None:
        return {}
    return {
        "epochs": len(course.accuracies),
        "seconds": course.seconds,
        "course": course.accuracies,
        "last_gain": course.last_gain,
        "ended_by": course.ended_by,
    }


def _network_file(record: StudyRecord, source: Dataset, runtime: Runtime, on_pass: OnPass) -> Path:
    """Returns the file of the baseline: the user's own, or one that is found by its hash or trained now."""
    options = record.options
    if record.weights.kind == "baseline":
        return find_own_weights(record, options, record.architecture)

    config = _recipe_of(record, options, source, runtime)
    return baseline.find_or_train(
        source,
        config,
        runtime,
        baselines_folder(options["out"]),
        on_pass=on_pass,
        on_damage=_warn,
    )


def _recipe_of(record: StudyRecord, options: Mapping[str, Any], source: Dataset, runtime: Runtime) -> BaselineConfig:
    """Returns how a study trains its baseline, with the features that it begins with where the user gave some."""
    config = baseline_config(options, source, runtime, record.architecture)
    given = record.weights
    if given.kind != "features":
        return config
    try:
        path = find_own_weights(record, options, record.architecture)
    except InputError:
        # A worker elsewhere has the trained baseline, and needs the features only for fused networks.
        if not record.baseline.file:
            raise
        path = baselines_folder(options["out"]) / given.file
    passes = config.epochs if options["baseline_epochs"] else max(1, round(PRETRAINED_PASSES * config.epochs))
    pretrained = Pretrained(path, given.name, given.checksum)
    return replace(config, lr=PRETRAINED_LR, epochs=passes, pretrained=pretrained)


def _warn(text: str) -> None:
    """Prints a warning."""
    print(f"warning: {printable(text)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Evaluation:
    """What the baseline is on validation images.

    Attributes:
        measures: Its metrics.
        confusion: Its confusion matrix (classes, classes) of each domain.
        confusion_of_folds: The target's again, of each fold; empty where there is one.
        images: The images, with its answers.
    """

    measures: dict[str, float]
    confusion: dict[str, list[list[int]]]
    confusion_of_folds: list[dict[str, list[list[int]]]]
    images: ValidationImages


class _ImageCount:
    """Tells whoever watches how many of all images were answered; an image counts for each network that answers.

    Args:
        total: Of all networks.
    """

    def __init__(self, total: int) -> None:
        self.done = 0
        self.total = total
        tell_progress(0, total)

    def add(self, images: int) -> None:
        """Counts images that were answered."""
        self.done += images
        tell_progress(self.done, self.total)


def _evaluate(task: AdaptationTask, folds: int, seed: int, path: Path) -> _Evaluation:
    """Evaluates the baseline on the images that judge a study's networks.

    Args:
        task: Baseline, datasets and runtime.
        folds: The number of the target's folds; 1 is the target's own division.
        seed: The study's seed, which divides the target into folds.
        path: The baseline's file, which an error names.

    Raises:
        UnusableNetwork: Its logits are NaN or infinite.
    """
    # The target's images fold by fold, in the order in which they are stored; the source's are the same for all folds.
    judged = [task]
    fold_of_image = np.zeros(len(task.target.open("validation")), np.int64)
    if folds > 1:
        judged = [replace(task, target=task.target.divided(fold, folds, seed)) for fold in range(folds)]
        fold_of_image = task.target.fold_of_images(folds, seed)

    splits = [each.target.open("validation") for each in judged]
    sizes = [len(split) for split in splits]
    source_split = task.source.open("validation")

    # The baseline answers on the source, with the first fold, and on each fold; untrained networks on each fold.
    count = _ImageCount(len(source_split) + (1 + UNTRAINED) * sum(sizes))
    logits_of_folds = []
    for each, size in zip(judged, sizes, strict=True):
        logits_of_folds.append(baseline_logits(each))
        count.add(size)
    count.add(len(source_split))
    order = np.argsort(np.argsort(fold_of_image, kind="stable"), kind="stable")
    logits = {
        "target": np.concatenate([of_fold["target"] for of_fold in logits_of_folds])[order],
        "source": logits_of_folds[0]["source"],
    }
    labels = {
        "target": np.concatenate([split.labels for split in splits])[order].astype(np.int64),
        "source": np.asarray(source_split.labels, np.int64),
    }
    subjects = np.concatenate([split.subjects for split in splits])[order].astype(np.int64)
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise UnusableNetwork(path)

    # Each fold counts as much as it has images.
    measures = evaluate(labels, logits, logits, task.source.expressions.names)
    of_untrained = [
        untrained_accuracy(each, partial(count.add, size)) for each, size in zip(judged, sizes, strict=True)
    ]
    untrained = float(np.average(of_untrained, weights=sizes))
    measures["forward_transfer"] = forward_transfer(measures["target_val"], untrained)

    right = {domain: values.argmax(1) == labels[domain] for domain, values in logits.items()}
    images = ValidationImages(
        TargetImages(labels["target"], subjects, fold_of_image, right["target"]),
        SourceImages(labels["source"], right["source"]),
    )
    return _Evaluation(
        measures, confusion_matrices(labels, logits), _confusion_of_folds(splits, logits_of_folds), images
    )


def _confusion_of_folds(
    splits: Sequence[Split], logits_of_folds: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[str, list[list[int]]]]:
    """Returns the target's confusion matrix on the images of each fold; nothing where there is one."""
    if len(splits) == 1:
        return []
    matrices = []
    for split, logits in zip(splits, logits_of_folds, strict=True):
        labels = {"target": np.asarray(split.labels, np.int64)}
        matrices.append(confusion_matrices(labels, {"target": logits["target"]}))
    return matrices


def baseline_config(
    options: Mapping[str, Any], source: Dataset, runtime: Runtime, network: Architecture
) -> BaselineConfig:
    """Returns how a study with these options trains its baseline on its source.

    Args:
        options: The study's, by name.
        source: The dataset that the baseline learns.
        runtime: Device and precision.
        network: What is trained; vgg13 has the preset's width.
    """
    preset = PRESETS[options["preset"]]
    return BaselineConfig(
        options["seed"],
        options["baseline_epochs"] or preset.baseline_epochs(len(source.open("train")), source.kind == "synthetic"),
        processes=1 if runtime.device.startswith("cuda") else preset.baseline_processes,
        minutes=options.get("baseline_time", StudyOptions.baseline_time),
        network=replace(network, width=preset.width) if network.is_paper else network,
    )


FUSED_TIME = 2.0
"""How many times the core time of a baseline's training that of a fused network may take: it draws the target's samples
as well, and shares the machine with other workers."""


def fused_networks(record: StudyRecord, options: Mapping[str, Any], source: Dataset, runtime: Runtime) -> FusedNetworks:
    """Returns what trains a study's fused networks: by the recipe of its baseline, for as many passes as that had.

    A worker trains alone, in one process, since the other cores have workers of their own.

    Args:
        record: The study's record, with its baseline.
        options: The study's options, with the `out` of this command.
        source: The dataset that the baseline was trained on.
        runtime: Device and precision of the process.
    """
    recipe = _recipe_of(record, options, source, runtime)
    passes = record.baseline.passes
    recipe = replace(
        recipe,
        epochs=recipe.epochs if passes is None else max(1, round(passes)),
        processes=1,
        minutes=FUSED_TIME * recipe.processes * recipe.minutes,
    )
    return FusedNetworks(recipe, baselines_folder(options["out"]), _warn)


def reopen_baseline(record: StudyRecord, options: Mapping[str, Any], source: Dataset, runtime: Runtime) -> Baseline:
    """Opens the very baseline that a study's record names; one that the study trained is trained again if need be.

    Args:
        record: The study's record.
        options: The study's options, with the `out` of this command.
        source: The dataset that the baseline was trained on.
        runtime: Device and precision of the process that opens it.

    Raises:
        InputError: It is not there or damaged, and cannot be made again, or another comes out.
    """
    # Where the study trained it, or where this command keeps baselines.
    folder = baselines_folder(options["out"])
    blocks = blocks_folder(options["out"])
    own = record.architecture.name
    path = Path(record.baseline.file)
    if not path.exists():
        path = folder / path.name

    try:
        reopened = weights.load_network(path, runtime, blocks=blocks, own=own)
    except InputError:
        if record.weights.kind == "baseline":
            path = find_own_weights(record, options, record.architecture)
            reopened = weights.load_network(path, runtime, blocks=blocks, own=own)
            return _checked(reopened, record, path)
        if options.get("baseline"):  # the user's own file, of an earlier version's study
            raise
        # As the study trained it, wherever this process computes.
        trained_on = make_runtime(record.baseline.device, record.baseline.precision)
        config = _recipe_of(record, options, source, trained_on)
        if path.name not in baseline.baseline_files(source, config, trained_on):
            raise
        print(f"the baseline {path} is missing or damaged: it is trained again", file=sys.stderr, flush=True)
        path = baseline.find_or_train(source, config, trained_on, folder)
        reopened = weights.load_network(path, runtime, blocks=blocks, own=own)

    return _checked(reopened, record, path)


def _checked(reopened: Baseline, record: StudyRecord, path: Path) -> Baseline:
    """Returns a baseline that was opened again, if it is the study's.

    Raises:
        InputError: It is another one.
    """
    reopened = reopened.as_recorded(record.architecture)
    if reopened.digest != record.baseline.digest:
        check_unchanged(record.architecture, reopened.architecture)
        raise InputError(
            "a study's processes need its own baseline",
            f"{path} with hash {reopened.digest}",
            "Copy the study's file.",
        )
    return reopened
