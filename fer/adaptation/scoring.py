"""Scores of an adaptation's networks on the validation images, and the networks between baseline and adapted one."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from torch import nn

from fer.adaptation.draws import Draws
from fer.adaptation.evaluation import Validation, baseline_logits, validation_labels
from fer.adaptation.plan import EvaluationPlan, Interpolated, Prospect
from fer.evaluation.metrics import confusion_matrices, evaluate
from fer.model import interpolation
from fer.model.vgg import clone
from fer.training.loop import Diverged

MIDPOINT_BONUS = {"source": 0.035, "target": 0.06}
"""By how much the accuracy of the network half-way exceeds the mean of both ends, if it does unusually well: mean and
two standard deviations over 65 trials of a study with 625 and 741 validation images."""

_CHANGED_SHARE = 0.1
"""The share of the validation images that one of two similar networks recognises and the other does not. With few
images it makes the noise of an estimate: twice the standard deviation of the difference of their accuracies."""

_OBJECTIVES = ("source", "target")
"""The order in which callers get both accuracies."""
_POINT = "/"
"""What stands in a column's name before an interpolation point."""


@dataclass(frozen=True)
class Evaluation:
    """What a network is on validation images; the attributes are those of `Adapted`."""

    measures: dict[str, float]
    confusion: dict[str, list[list[int]]]
    logits: dict[str, np.ndarray]

    @property
    def accuracies(self) -> dict[str, float]:
        """Both accuracies, as a row of the curve holds them."""
        return {f"{domain}_val": self.measures[f"{domain}_val"] for domain in _OBJECTIVES}


class Scorer:
    """Makes the networks of one adaptation out of what was trained, and evaluates them."""

    def __init__(self, draws: Draws, plan: EvaluationPlan) -> None:
        self.draws = draws
        self.task = draws.task
        self.config = draws.config
        self.plan = plan
        self.validation = Validation(draws.task, draws.cut)

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels of both validation splits."""
        return validation_labels(self.task)

    @cached_property
    def baseline_logits(self) -> dict[str, np.ndarray]:
        """The baseline's logits on both validation splits, which every score is compared with."""
        return baseline_logits(self.task)

    def make_result(self, networks: list[nn.Sequential]) -> nn.Sequential:
        """Returns the network that the configuration makes of the trained members."""
        config = self.config
        network = networks[0] if len(networks) == 1 else interpolation.average(networks)
        if config.interpolates:
            return self.interpolate(network, config.alpha, config.alpha_slope)
        if len(networks) > 1 or config.bn == "recompute":
            network = clone(network)
            self._estimate_norms(network)
        return network

    def interpolate(self, network: nn.Sequential, alpha: float, slope: float) -> nn.Sequential:
        """Returns a network between the baseline and the adapted one.

        Args:
            network: The adapted network.
            alpha: See `fer.model.interpolation.interpolation_shares`.
            slope: See `fer.model.interpolation.interpolation_shares`.
        """
        shares = interpolation.interpolation_shares(self.config.depth.blocks, alpha, slope)
        interpolated = interpolation.interpolate(self.task.baseline.network, network, shares)
        if not set(shares) <= {0.0, 1.0}:  # the ends stay what they are, bit for bit
            self._estimate_norms(interpolated)
        return interpolated

    def _estimate_norms(self, network: nn.Sequential) -> None:
        """Estimates the batch-norm statistics of the trained blocks again, on what the adaptation draws."""
        draws = self.draws
        interpolation.estimate_batch_norm(network, draws.cut, self.config.trained, draws.norm_inputs, self.task.runtime)

    def evaluate(self, network: nn.Sequential, most: int | None = None) -> Evaluation:
        """Evaluates a network on both validation splits.

        Args:
            network: The network.
            most: How many images of each split at most, the same for all networks; None for all. On a part of the
                images, accuracies are estimates: the baseline's accuracy on all images, plus the difference between the
                network's and the baseline's on these.

        Raises:
            Diverged: The last steps left weights whose logits are NaN or infinite, though their losses were finite.
        """
        images = self.validation.images(most)
        logits = {domain: self.logits(network, domain, chosen) for domain, chosen in images.items()}
        labels = {domain: self.labels[domain][chosen] for domain, chosen in images.items()}
        before = {domain: self.baseline_logits[domain][chosen] for domain, chosen in images.items()}
        measures = evaluate(labels, before, logits, self.task.source.expressions.names)

        # Where a part of the images was evaluated, estimate the accuracy on all of them.
        for domain, chosen in images.items():
            if len(chosen) < len(self.labels[domain]):
                right = self._baseline_is_right(domain)
                estimate = measures[f"{domain}_val"] + right.mean() - right[chosen].mean()
                measures[f"{domain}_val"] = float(np.clip(estimate, 0, 1))
        return Evaluation(measures, confusion_matrices(labels, logits), logits)

    def logits(self, network: nn.Sequential, domain: str, images: np.ndarray | None = None) -> np.ndarray:
        """Returns a network's logits on a domain's validation images.

        Args:
            network: The network.
            domain: "source" or "target".
            images: (n,) int, the images' numbers in the split; None for all.

        Returns:
            float32 (n, classes).

        Raises:
            Diverged: A logit is NaN or infinite.
        """
        if images is None:
            images = self.validation.images()[domain]
        logits = self.validation.logits_of(network, domain, images)
        if not np.isfinite(logits).all():
            raise Diverged(f"the network's answers are no numbers any more at learning rate {self.config.lr:.2g}")
        return logits

    def evaluate_interpolated(self, network: nn.Sequential, alpha: float, slope: float) -> Interpolated:
        """Makes and evaluates a network between the baseline and the adapted one; arguments as of `interpolate`."""
        interpolated = self.interpolate(network, alpha, slope)
        evaluation = self.evaluate(interpolated)
        return Interpolated(alpha, slope, interpolated, evaluation.measures, evaluation.logits)

    def prospects(self, network: nn.Sequential, row: dict[str, float]) -> Iterator[Prospect]:
        """Yields the interpolated networks of a rung.

        Their accuracies are written into the curve's row, from which a resumed training reports them again.
        """
        for alpha, slope in self.plan.interpolation_points:
            estimate = self.optimistic_estimate(row, alpha, slope, self.task.rung_images)
            score = partial(self._score_prospect, network, row, alpha, slope)
            yield Prospect([estimate[f"{domain}_val"] for domain in _OBJECTIVES], score)

    def _score_prospect(self, network: nn.Sequential, row: dict[str, float], alpha: float, slope: float) -> list[float]:
        """Returns both accuracies of an interpolated network on the rung's images, and writes them into the row."""
        evaluation = self.evaluate(self.interpolate(network, alpha, slope), self.task.rung_images)
        accuracies = list(evaluation.accuracies.values())
        for column, accuracy in zip(_columns(alpha, slope), accuracies, strict=True):
            row[column] = accuracy
        return accuracies

    def restored_prospects(self, row: dict[str, float]) -> Iterator[Prospect]:
        """Yields the interpolated networks of a rung that were evaluated before a training was resumed."""
        for alpha, slope in self.plan.interpolation_points:
            columns = _columns(alpha, slope)
            if all(name in row for name in columns):
                yield Prospect.of_evaluated([row[name] for name in columns])

    def optimistic_estimate(
        self, measures: Mapping[str, float], alpha: float, slope: float, most: int | None = None
    ) -> dict[str, float]:
        """Returns the accuracies of an interpolated network that would be unusually good, without making it.

        Args:
            measures: Measures of the adapted network.
            alpha: See `fer.model.interpolation.interpolation_shares`.
            slope: See `fer.model.interpolation.interpolation_shares`.
            most: How many images of each split are evaluated, at most.
        """
        images = {domain: len(chosen) for domain, chosen in self.validation.images(most).items()}
        of_baseline = {domain: float(self._baseline_is_right(domain).mean()) for domain in images}
        return estimate_optimistically(of_baseline, measures, images, alpha + slope / 2)

    def _baseline_is_right(self, domain: str) -> np.ndarray:
        """Returns for each validation image, bool (n,), whether the baseline recognises it."""
        return self.baseline_logits[domain].argmax(1) == self.labels[domain]


def estimate_optimistically(
    of_baseline: Mapping[str, float], measures: Mapping[str, float], images: Mapping[str, int], share: float
) -> dict[str, float]:
    """Returns accuracies that would be unusually good for a network between the baseline and the adapted one.

    Args:
        of_baseline: The baseline's accuracy by domain.
        measures: Of the adapted network.
        images: How many images are evaluated by domain.
        share: The adapted network's share in the interpolated one, the mean of all blocks.

    Returns:
        The accuracies by their measures' names.
    """
    estimate = {}
    for domain, start in of_baseline.items():
        noise = 2 * math.sqrt(_CHANGED_SHARE / images[domain])
        on_line = start + share * (measures[f"{domain}_val"] - start)
        estimate[f"{domain}_val"] = on_line + max(MIDPOINT_BONUS[domain], noise)
    return estimate


def without_interpolation(row: dict[str, float]) -> dict[str, float]:
    """Returns a row of the curve without the interpolated networks, which only a resumed training needs."""
    return {name: value for name, value in row.items() if _POINT not in name}


def _columns(alpha: float, slope: float) -> list[str]:
    """Returns the names under which a curve's row holds both accuracies of an interpolated network."""
    return [f"{domain}_val{_POINT}{alpha:g}+{slope:g}" for domain in _OBJECTIVES]
