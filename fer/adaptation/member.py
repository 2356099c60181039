"""The training of one member of an adaptation: from its starting network to the end of its share of the budget."""

import json
import math
from dataclasses import dataclass, field

import torch
from torch import nn

from fer.adaptation.anchors import make_penalty
from fer.adaptation.draws import Draws
from fer.adaptation.plan import EvaluationPlan, OnRung
from fer.adaptation.scoring import Evaluation, Scorer
from fer.config import to_flat
from fer.errors import InputError
from fer.features import cache
from fer.model.vgg import clone
from fer.seeding import seed_from
from fer.training import checkpoint
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import capturing_graphs
from fer.training.loop import TrainingHooks, TrainingJob, fit


@dataclass
class AdaptationRun:
    """One adaptation while it runs, which its members continue one after the other.

    Attributes:
        draws: The training samples.
        scorer: Makes and evaluates networks.
        plan: When and what is evaluated.
        on_rung: Called at each rung before the end; True stops the adaptation.
        curve: See `fer.adaptation.plan.Adapted`, with columns of interpolated networks besides.
        evaluation: The last evaluation of the network in training; None before the first one.
        stopped: Whether `on_rung` stopped the adaptation.
        checkpoints: The checkpoints of the members that were begun.
    """

    draws: Draws
    scorer: Scorer
    plan: EvaluationPlan
    on_rung: OnRung | None
    curve: list[dict[str, float]] = field(default_factory=list)
    evaluation: Evaluation | None = None
    stopped: bool = False
    checkpoints: list[Checkpoints] = field(default_factory=list)

    def delete_checkpoints(self) -> None:
        """Deletes the checkpoints: no process will resume from them."""
        for checkpoints in self.checkpoints:
            checkpoints.clear()
        # They refer to this run, whose maps of features would otherwise wait for the garbage collector.
        self.checkpoints.clear()


def start_network(draws: Draws, seed: int) -> nn.Sequential:
    """Returns the network that a training starts from: the baseline, new weights by the seed, or the fused network.

    All members of an adaptation start from one fused network, that of the adaptation's own seed.

    Raises:
        InputError: The adaptation starts from a fused network, and its task does not say how one is trained.
        Diverged: The training of the fused network diverged.
    """
    task = draws.task
    baseline = task.baseline
    if draws.config.init == "scratch":
        network = task.build_network(seed_from(seed, "weights"))
    elif draws.config.init == "fused":
        if task.find_fused is None:
            raise InputError("a fused start needs a recipe for its training", "none", "Set find_fused of the task.")
        network = clone(task.find_fused(task, draws.config, draws.seed))
    else:
        network = clone(baseline.network)
    network = network.to(draws.task.runtime.device).to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def train_member(run: AdaptationRun, number: int) -> nn.Sequential:
    """Trains one member with its share of the budget.

    Args:
        run: The adaptation, which is continued.
        number: Number of the member, from 0.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        Diverged: See `fer.training.loop.fit` and `Scorer.evaluate`.
    """
    draws = run.draws
    is_first = number == 0

    # The network that it starts from. The first member has the adaptation's own seed.
    seed = draws.seed if is_first else seed_from(draws.seed, "member", number)
    network = start_network(draws, seed)

    # The samples; the first member's serve the estimation of batch-norm statistics as well.
    if is_first:
        schedule, sources = draws.of_first_member
    else:
        schedule = draws.draw(seed)
        sources = draws.open_sources(schedule, draws.cut)

    # What the training loop calls: rungs and the curve, the anchor's penalty, checkpoints.
    member = _Member(run, network, len(run.curve), len(schedule.boundaries))
    torch.manual_seed(seed_from(seed, "dropout"))
    penalty = make_penalty(draws, network, schedule)
    checkpoints = _open_checkpoints(member, seed)
    if checkpoints is not None:
        run.checkpoints.append(checkpoints)

    # The training itself. A CUDA graph computes neither a penalty, which differs from step to step, nor `sam`.
    runtime = draws.task.runtime
    classes = draws.task.baseline.architecture.classes
    job = TrainingJob(network, draws.cut, sources, schedule, draws.config, runtime, classes)
    fits_graphs = penalty is None and not draws.config.sam
    with capturing_graphs(runtime, network, fits_graphs) as graphs:
        hooks = TrainingHooks(member.end_epoch, penalty=penalty, checkpoints=checkpoints, graphs=graphs)
        fit(job, hooks)
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class _Member:
    """One member in training.

    Attributes:
        run: The adaptation that the member is part of.
        network: The network in training.
        first_row: Number of the member's first row in the curve.
        epochs: Number of the member's epochs.
    """

    run: AdaptationRun
    network: nn.Sequential
    first_row: int
    epochs: int

    def end_epoch(self, epoch: int, loss: float) -> bool:
        """Adds an epoch's row to the curve, and evaluates the network where a rung lies at the epoch's end.

        Args:
            epoch: Number of the member's epoch, from 1.
            loss: The mean loss of the epoch.

        Returns:
            Whether the adaptation stops.
        """
        run = self.run
        config = run.draws.config

        # The row's "epoch" counts passes over the target's images, those of earlier members included.
        passes_per_member = config.epochs / config.members
        passes_per_epoch = passes_per_member / self.epochs
        row: dict[str, float] = {"epoch": (self.first_row + epoch) * passes_per_epoch, "loss": loss}
        run.curve.append(row)

        # Only an adaptation of a single member has rungs.
        rung_epochs = {math.ceil(rung * self.epochs) for rung in run.plan.rungs}
        if config.members > 1 or epoch not in rung_epochs:
            return False

        # The end is evaluated on all validation images, an earlier rung on some of them.
        is_end = epoch == self.epochs
        images = None if is_end else run.draws.task.rung_images
        network = run.scorer.make_result([self.network])
        run.evaluation = run.scorer.evaluate(network, images)
        row.update(run.evaluation.accuracies)

        # Before the end, `on_rung` decides whether the adaptation goes on.
        if run.on_rung and not is_end:
            prospects = run.scorer.prospects(network, row)
            run.stopped = run.on_rung(epoch / self.epochs, row, prospects)
        return run.stopped

    def rows(self) -> list[dict[str, float]]:
        """Returns the member's rows of the curve, which a checkpoint keeps."""
        return self.run.curve[self.first_row :]

    def restore(self, rows: list[dict[str, float]]) -> None:
        """Takes the member's rows from a checkpoint and reports its rungs again; the adaptation went on after each."""
        run = self.run
        run.curve[self.first_row :] = rows
        for epoch, row in enumerate(rows, 1):
            if run.on_rung and "source_val" in row and epoch < self.epochs:
                run.on_rung(epoch / self.epochs, row, run.scorer.restored_prospects(row))


def _open_checkpoints(member: _Member, seed: int) -> Checkpoints | None:
    """Returns where the training of one member resumes after a crash; None where there is no cache.

    Args:
        member: Its rows of the curve are stored with each checkpoint.
        seed: The member's seed.
    """
    draws = member.run.draws
    plan = member.run.plan
    task = draws.task
    if task.cache is None:
        return None
    evaluations = (tuple(plan.rungs), plan.equal_epochs, task.rung_images, tuple(plan.interpolation_points))
    key = seed_from(
        cache.VERSION, torch.__version__, task.baseline.digest, task.source.digest, task.target.digest,
        json.dumps(to_flat(draws.config), sort_keys=True), seed, draws.cut, task.runtime.device,
        task.runtime.precision, str(evaluations),
    )  # fmt: skip
    return Checkpoints(
        task.cache / "checkpoints",
        f"{key:016x}",
        checkpoint.EVERY_SECONDS,
        notes=member.rows,
        restore=member.restore,
    )
