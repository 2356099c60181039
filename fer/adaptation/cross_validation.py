"""An adaptation on every fold of the target: as many trainings of one configuration, whose answers count together.

On a small target one fold has the images of one or two people and tells little. Here each image of the target is
answered by the network of the fold that held it out. The source's validation images are held out by all folds, so
that there the average of the networks answers, which is what a study hands over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import nn

from fer.adaptation.draws import Draws
from fer.adaptation.evaluation import feature_cut, validation_labels
from fer.adaptation.member import AdaptationRun
from fer.adaptation.plan import Adapted, EvaluationPlan, Interpolated, OnRung
from fer.adaptation.procedure import adapt, deleting_checkpoints, evaluate_interpolated, make_network
from fer.adaptation.scoring import Evaluation, Scorer, estimate_optimistically
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.evaluation.metrics import confusion_matrices, evaluate, forgetting
from fer.model.interpolation import average

Logits = dict[str, np.ndarray]
"""By domain, (n, classes)."""


def adapt_on_folds(
    tasks: Sequence[AdaptationTask],
    config: AdaptationConfig,
    seed: int,
    plan: EvaluationPlan | None = None,
    on_rung: OnRung | None = None,
) -> Adapted:
    """Adapts the baseline once on each fold of the target, and judges the networks together; on one fold as `adapt`.

    Args:
        tasks: One for each fold; they differ in the target's division alone.
        config: Hyperparameters of each adaptation. On several folds it starts from the baseline: networks that have no
            start in common have no average.
        seed: Of each adaptation.
        plan: Which interpolated networks are evaluated; on several folds nothing is evaluated before the end.
        on_rung: See `adapt`; not called on several folds.

    Returns:
        The average of the adapted networks, with target answers of all folds, one fold after the other. The losses of
        the curve are means over the folds.

    Raises:
        Diverged: A training diverged.
    """
    if len(tasks) == 1:
        return adapt(tasks[0], config, seed, on_rung, plan)

    assert config.init == "baseline", "networks that have no start in common have no average"
    plan = plan or EvaluationPlan()
    folds = FoldNetworks([_train_on_fold(task, config, seed, plan) for task in tasks])

    # What they are together.
    evaluation = folds.evaluate(folds.networks, folds.average)
    measures = evaluation.measures
    baseline_accuracy = measures["source_val"] - measures["backward_transfer"]
    measures["forgetting"] = forgetting([baseline_accuracy, measures["source_val"]])

    # What lies between the baseline and them.
    interpolated: list[Interpolated] = []
    if config.trains:
        interpolated = evaluate_interpolated(plan, measures, folds.optimistic_estimate, folds.evaluate_interpolated)

    curve = folds.mean_curve()
    curve[-1].update(evaluation.accuracies)
    return Adapted(folds.average, curve, measures, False, interpolated, evaluation.confusion, evaluation.logits)


def labels_of_folds(tasks: Sequence[AdaptationTask]) -> dict[str, np.ndarray]:
    """Returns by domain the labels (n,) of the images that `adapt_on_folds` has answers on, in the answers' order."""
    labels = [validation_labels(task) for task in tasks]
    target_labels = [of_fold["target"] for of_fold in labels]
    return {"source": labels[0]["source"], "target": np.concatenate(target_labels)}


@dataclass(frozen=True)
class _TrainedFold:
    """What was trained on one fold.

    Attributes:
        scorer: Makes and evaluates networks on the fold.
        network: The adapted network.
        curve: A row for each epoch of the training.
    """

    scorer: Scorer
    network: nn.Sequential
    curve: list[dict[str, float]]


def _train_on_fold(task: AdaptationTask, config: AdaptationConfig, seed: int, plan: EvaluationPlan) -> _TrainedFold:
    """Adapts the baseline on one fold and evaluates nothing."""
    without_rungs = EvaluationPlan(rungs=(), equal_epochs=plan.equal_epochs)
    draws = Draws(task, config, seed, feature_cut(task, config), plan.equal_epochs)
    run = AdaptationRun(draws, Scorer(draws, without_rungs), without_rungs, on_rung=None)
    with deleting_checkpoints(run):
        network = make_network(run)

    # Interpolated networks need some samples; the sources of all of them would be five times what one training holds.
    if config.trains and plan.interpolation_points:
        draws.norm_inputs  # noqa: B018  # computed now, and kept
    vars(draws).pop("of_first_member", None)
    return _TrainedFold(run.scorer, network, run.curve)


class FoldNetworks:
    """The networks that one configuration gave on the folds of a target.

    Args:
        folds: What was trained on each.
    """

    def __init__(self, folds: Sequence[_TrainedFold]) -> None:
        self.folds = folds
        self.networks = [fold.network for fold in folds]
        self.average = average(self.networks)

    @property
    def _first_scorer(self) -> Scorer:
        """A scorer of the source, which is the same on all folds."""
        return self.folds[0].scorer

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels of both domains' images."""
        return labels_of_folds([fold.scorer.task for fold in self.folds])

    @cached_property
    def baseline_logits(self) -> Logits:
        """The baseline's logits on them."""
        target_logits = [fold.scorer.baseline_logits["target"] for fold in self.folds]
        return {"source": self._first_scorer.baseline_logits["source"], "target": np.concatenate(target_logits)}

    def evaluate(self, networks: Sequence[nn.Sequential], of_source: nn.Sequential) -> Evaluation:
        """Evaluates networks together.

        Args:
            networks: One for each fold, which answers for the fold's images.
            of_source: The network that answers for the source's images.

        Raises:
            Diverged: A logit is NaN or infinite.
        """
        pairs = zip(self.folds, networks, strict=True)
        logits = {
            "source": self._first_scorer.logits(of_source, "source"),
            "target": np.concatenate([fold.scorer.logits(network, "target") for fold, network in pairs]),
        }
        names = self._first_scorer.task.source.expressions.names
        measures = evaluate(self.labels, self.baseline_logits, logits, names)
        return Evaluation(measures, confusion_matrices(self.labels, logits), logits)

    def evaluate_interpolated(self, alpha: float, slope: float) -> Interpolated:
        """Makes and evaluates the networks between the baseline and the adapted ones; see `Scorer.interpolate`."""
        networks = [fold.scorer.interpolate(fold.network, alpha, slope) for fold in self.folds]
        of_average = self._first_scorer.interpolate(self.average, alpha, slope)
        evaluation = self.evaluate(networks, of_average)
        return Interpolated(alpha, slope, of_average, evaluation.measures, evaluation.logits)

    def optimistic_estimate(self, measures: Mapping[str, float], alpha: float, slope: float) -> dict[str, float]:
        """Returns accuracies of an interpolated network that would be unusually good, without making it."""
        images = {domain: len(labels) for domain, labels in self.labels.items()}
        of_baseline = {
            domain: float((self.baseline_logits[domain].argmax(1) == labels).mean())
            for domain, labels in self.labels.items()
        }
        return estimate_optimistically(of_baseline, measures, images, alpha + slope / 2)

    def mean_curve(self) -> list[dict[str, float]]:
        """Returns a row for each epoch, the means over the folds; a single one where nothing was trained."""
        rows_of_epochs = zip(*(fold.curve for fold in self.folds), strict=True)
        curve = [{name: float(np.mean([row[name] for row in rows])) for name in rows[0]} for rows in rows_of_epochs]
        return curve or [{"epoch": 0.0}]
