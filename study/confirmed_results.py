"""What a confirmation found on test images, network by network and compared, as types; their stored form is flat."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from study.record import DOMAINS

_ACCURACY = ("test", "lower", "upper", "optimism")
_CHANGE = ("change", "change_lower", "change_upper", "p_alone", "detectable")
_CORRECTED = ("p",)
_VALIDATION = ("val_again",)
_HANDED_OVER = ("handed_over", "handed_over_lower", "handed_over_upper")
_FIGURES = (*_ACCURACY, *_CHANGE, *_CORRECTED, *_VALIDATION, *_HANDED_OVER)


@dataclass(frozen=True)
class DomainFigures:
    """What is known of one network on the test images of one domain; accuracies and differences are shares.

    Attributes:
        test: The accuracy, the mean over seeds.
        lower: Where its interval begins.
        upper: Where its interval ends.
        optimism: By how much the search's validation accuracy was higher; None where the search has none.
        change: By how much it is more accurate than the baseline; this and the four that follow are None for the
            baseline itself.
        change_lower: Where the change's interval begins.
        change_upper: Where the change's interval ends.
        p_alone: The p-value of the change, as if it were the only one.
        detectable: The true change that the corrected test would find four times in five.
        p: The p-value of the change, corrected for all comparisons (Holm); 1 for the baseline.
        val_again: The accuracy of the new trainings on validation images; None where no seed changes the network.
        handed_over: The accuracy of the very network that the study hands over; None where it has no file here.
        handed_over_lower: Where its interval for other people begins.
        handed_over_upper: Where that ends.
    """

    test: float
    lower: float
    upper: float
    optimism: float | None = None
    change: float | None = None
    change_lower: float | None = None
    change_upper: float | None = None
    p_alone: float | None = None
    detectable: float | None = None
    p: float = 1.0
    val_again: float | None = None
    handed_over: float | None = None
    handed_over_lower: float | None = None
    handed_over_upper: float | None = None


@dataclass(frozen=True)
class ConfirmedRow:
    """A confirmed network as the report's tables show it.

    Attributes:
        name: That the report shows: "trial 12", or a named strategy.
        named: The named strategy that it is; "" where it is none.
        strategy: Of its configuration.
        front: Whether it is on the study's front.
        model: The file of the search's network, relative to the study's folder; "" for a named strategy.
        alpha: Where it lies between the baseline (0) and its training's end (1), in words.
        seeds: How many trainings it had.
        figures: By domain.
        divisions: How many divisions of the target its trainings saw; None where that is not known.
        averaged: How many trainings the search's file averaged when it was tested; None where that is not known, or
            where the file is no average.
        measures: Means over seeds of the metrics on test images (`fer.evaluation.metrics`), by name.
    """

    name: str
    named: str
    strategy: str
    front: bool
    model: str
    alpha: str
    seeds: int
    figures: Mapping[str, DomainFigures]
    divisions: int | None = None
    averaged: int | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ConfirmedRow":
        """Returns a stored row.

        Raises:
            KeyError: An entry is missing that every row has.
        """
        entries = dict(stored)
        about = {name: entries.pop(name) for name in ("name", "named", "strategy", "front", "model", "alpha", "seeds")}
        divisions, averaged = entries.pop("divisions", None), entries.pop("averaged", None)
        figures = {}
        for domain in DOMAINS:
            names = [name for name in _FIGURES if f"{domain}_{name}" in entries]
            figures[domain] = DomainFigures(**{name: entries.pop(f"{domain}_{name}") for name in names})
        return cls(**about, divisions=divisions, averaged=averaged, figures=figures, measures=entries)

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form: a flat dict in the order of confirm.csv's columns."""
        stored: dict[str, Any] = {
            "name": self.name,
            "named": self.named,
            "strategy": self.strategy,
            "front": self.front,
            "model": self.model,
        }
        if self.divisions is not None:
            stored["divisions"] = self.divisions
        if self.averaged is not None:
            stored["averaged"] = self.averaged
        stored |= {"alpha": self.alpha, "seeds": self.seeds}
        for names in (_ACCURACY, _CHANGE, _CORRECTED):
            stored |= self._flat(names)
        return stored | dict(self.measures) | self._flat(_VALIDATION) | self._flat(_HANDED_OVER)

    def _flat(self, names: Iterable[str]) -> dict[str, float]:
        """Returns some figures of each domain under names that begin with it, without what is None."""
        flat = {}
        for domain in DOMAINS:
            for name in names:
                value = getattr(self.figures[domain], name)
                if value is not None:
                    flat[f"{domain}_{name}"] = value
        return flat


@dataclass(frozen=True)
class DifferenceFigures:
    """By how much one strategy is more accurate than another on the test images of one domain.

    Attributes:
        mean: The difference, a share.
        lower: Where its interval begins.
        upper: Where its interval ends.
        p_alone: Its p-value, as if it were the only one.
        p: Its p-value, corrected for all comparisons (Bonferroni).
        detectable: The true difference that the corrected test would find four times in five.
    """

    mean: float
    lower: float
    upper: float
    p_alone: float
    p: float
    detectable: float


@dataclass(frozen=True)
class StrategyDifference:
    """The paired difference of two named strategies in test accuracy.

    Attributes:
        first: The strategy that is compared.
        second: With which.
        figures: By domain.
    """

    first: str
    second: str
    figures: Mapping[str, DifferenceFigures]

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form, a flat dict."""
        stored: dict[str, Any] = {"one": self.first, "other": self.second}
        for domain in DOMAINS:
            stored |= {f"{domain}_{name}": value for name, value in vars(self.figures[domain]).items()}
        return stored


@dataclass(frozen=True)
class ConfirmationResults:
    """What the answers of a confirmation say.

    Attributes:
        points: A row for each network, the baseline first.
        alike: For each point of the front, the names of those that do not differ significantly from it on either
            domain.
        pairs: How many pairs of the front were compared (count), and for each domain the median of the true differences
            that these tests would find four times in five (detectable).
        tested: For each domain the images and people of the test set; people is None where nobody knows them.
        comparisons: How many p-values Holm's correction is over.
        level: Of confidence.
        class_results: Of each point, see `study.confirmation.statistics.per_class_results`.
        differences: Of the named strategies.
    """

    points: tuple[ConfirmedRow, ...]
    alike: Mapping[str, list[str]]
    pairs: Mapping[str, Any]
    tested: Mapping[str, Any]
    comparisons: int
    level: float
    class_results: tuple[Mapping[str, Any], ...] = ()
    differences: tuple[StrategyDifference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        return {
            "points": [row.to_json() for row in self.points],
            "alike": dict(self.alike),
            "pairs": dict(self.pairs),
            "tested": dict(self.tested),
            "comparisons": self.comparisons,
            "level": self.level,
            "inside": [dict(results) for results in self.class_results],
            "differences": [difference.to_json() for difference in self.differences],
        }
