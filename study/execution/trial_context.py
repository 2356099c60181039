"""What a worker opens once and needs for every trial of its study. Imports torch."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.model.weights import load_network
from fer.runtime import make_runtime
from study.execution.study_baseline import fused_networks, reopen_baseline
from study.inputs import base_config, feature_room_of, reopen_dataset
from study.options import INTERPOLATION_POINTS, cache_folder, is_on
from study.record import StudyRecord
from study.tuning.plan import SearchPlan

if TYPE_CHECKING:
    from torch import nn


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
            `study.options.INTERPOLATION_POINTS`.
        upload: Called with each network's file, where it does not stay on this machine.
        plan: The course of the study's search.
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
    plan: SearchPlan = field(default_factory=SearchPlan)
    shares_device: bool = False

    def open_network(self, file: str) -> "nn.Sequential":
        """Returns a network of the study.

        Args:
            file: Relative to the study's folder.

        Raises:
            InputError: It is not there or damaged, or is another network.
        """
        task = self.task
        own = task.baseline.architecture.name
        return load_network(self.folder / file, task.runtime, blocks=task.blocks_folder, own=own).network

    def tasks_at(self, fold: int) -> list[AdaptationTask]:
        """Returns the adaptation tasks of a place's fold: that in which it validates, or one for each fold."""
        if self.plan.folds == 1:
            return [self.task]
        divided = [self.task.target.divided(each, self.plan.folds, self.seed) for each in self.plan.folds_at(fold)]
        return [replace(self.task, target=target) for target in divided]

    @property
    def task_of_all_images(self) -> AdaptationTask:
        """The adaptation task in which all of the target's images train that networks of the folds have seen."""
        if self.plan.folds == 1:
            return self.task
        return replace(self.task, target=self.task.target.united())


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

    # Device, data and baseline.
    device = args.device or record.baseline.device
    runtime = make_runtime(device, record.baseline.precision, getattr(args, "threads", 1))
    source = reopen_dataset(record.source, options)
    target = reopen_dataset(record.target, options)
    baseline = reopen_baseline(record, options, source, runtime)

    # What all adaptations share.
    rung_images = options.get("rung_images", 0) or None  # 0 stands for all of them, as None does in a task
    find_fused = fused_networks(record, options, source, runtime).find_or_train
    room = feature_room_of(record)
    task = AdaptationTask(baseline, source, target, runtime, cache_folder(args.out), rung_images, find_fused, room)

    # What the trials follow.
    return TrialContext(
        task=task,
        space=options["space"],
        base=base_config(record),
        seed=options["seed"],
        folder=Path(args.out) / record.name,
        early_stop=is_on(options["early_stop"]),
        interpolation_points=INTERPOLATION_POINTS if is_on(options["interpolate"]) else (),
        shares_device=getattr(args, "beside", False),
        plan=SearchPlan.of(record),
    )
