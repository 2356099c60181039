"""What a worker opens once and needs for every trial of its study. Imports torch."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer.adaptation.cross_validation import divide_into_folds
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.runtime import make_runtime
from study.execution.study_baseline import fused_networks, reopen_baseline
from study.inputs import base_config, reopen_dataset
from study.options import INTERPOLATION_POINTS, cache_folder
from study.record import StudyRecord


@dataclass(frozen=True)
class TrialContext:
    """What a worker needs for any trial of its study.

    Attributes:
        task: Baseline, datasets, runtime and cache of every adaptation.
        space: Name of the search space.
        base: The hyperparameters that the space leaves alone.
        seed: Seed of the study.
        folder: Folder of the study, whose models/ takes the networks on the front.
        early_stop: Whether dominated trials stop at rungs; if not, none is evaluated before its end.
        interpolation_points: Alpha and slope of each interpolated network that a trial may evaluate, see
            `study.options.INTERPOLATION_POINTS`. Without folds a trial evaluates a point only where an optimistic
            estimate puts it on the front (`fer.adaptation.procedure.adapt`); over folds it evaluates all points.
        upload: Called with each network's file, where it does not stay on this machine.
        min_source_accuracy: The source accuracy, 0 to 1, below which no network may be recommended or join the front.
        folds: Trainings per trial, each of which validates on another fold of the target; 0 is a single training.
        shares_device: Whether workers share the device; then a want of its memory is not the trial's fault.
    """

    task: AdaptationTask
    space: str
    base: AdaptationConfig
    seed: int
    folder: Path
    early_stop: bool = False
    interpolation_points: tuple[tuple[float, float], ...] = ()
    upload: Callable[[Path], None] | None = None
    min_source_accuracy: float = 0.0
    folds: int = 0
    shares_device: bool = False

    @property
    def tasks(self) -> list[AdaptationTask]:
        """The adaptation task of each fold; a single one without folds."""
        return divide_into_folds(self.task, self.folds, self.seed)


def open_trial_context(record: StudyRecord, args: argparse.Namespace) -> TrialContext:
    """Opens the data and the baseline that a study's record names.

    Args:
        record: The study's record, complete (`study.reading_record.required_record`).
        args: The places and the device of this process: `out`, `data`, `device`, and for a worker `threads` and
            `beside`.

    Raises:
        InputError: The data or the baseline is not the study's, or cannot be had.
    """
    options = record.options | {"out": args.out, "data": args.data}
    assert record.baseline.source_val is not None, "a complete record has the baseline's source accuracy"

    # Device, data and baseline.
    device = args.device or record.baseline.device
    runtime = make_runtime(device, record.baseline.precision, getattr(args, "threads", 1))
    source = reopen_dataset(record.source, options)
    target = reopen_dataset(record.target, options)
    baseline = reopen_baseline(record, options, source, runtime)

    # What all adaptations share.
    rung_images = options.get("rung_images", 0) or None  # 0 stands for all of them, as None does in a task
    find_fused = fused_networks(record, options, source, runtime).find_or_train
    task = AdaptationTask(baseline, source, target, runtime, cache_folder(args.out), rung_images, find_fused)

    # What the trials follow.
    return TrialContext(
        task=task,
        space=options["space"],
        base=base_config(record),
        seed=options["seed"],
        folder=Path(args.out) / record.name,
        early_stop=options["early_stop"] == "on",
        interpolation_points=INTERPOLATION_POINTS if options["interpolate"] == "on" else (),
        shares_device=getattr(args, "beside", False),
        folds=options.get("folds", 0),
        min_source_accuracy=options.get("min_retention", 0.0) * record.baseline.source_val,
    )
