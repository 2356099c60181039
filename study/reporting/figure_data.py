"""What each figure shows, computed once; `matplotlib_plots` and `plotly_charts` draw it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.fronts import (
    INTERVALS,
    candidate_networks,
    find_recommended,
    first_rung_networks,
    front_border,
    front_table,
    has_expectations,
    hypervolume_over_trials,
    is_on_front,
)
from study.record import DOMAINS, StudyRecord
from study.reporting.confusion_figure import ConfusionFigure
from study.reporting.curves_figure import CurvesFigure
from study.reporting.distinct_networks import find_distinct, find_others
from study.reporting.figure_style import CONFIRMED
from study.reporting.parallel_axes import PRINTED_AXES, ParallelFigure, build_parallel_figure
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import confirmed_name, dataset_label, objective_label
from study.stored_results import Row
from study.trials import OBJECTIVES, describe_reference, hypervolume_reference
from study.tuning.race import RaceRules
from study.tuning.race_course import RaceCourse

SAME_POINT = 0.05
"""Per cent up to which two accuracies are one, as they are printed."""


@dataclass(frozen=True)
class StrategyNetworks:
    """Networks of one strategy.

    Attributes:
        strategy: The strategy's name.
        points: Source and target accuracy in per cent (n, 2).
        on_front: Which of them are on the front (n,).
        is_distinct: Which of these a reader meets first (n,), see `study.reporting.distinct_networks`.
        is_adapted: Which of them are adapted networks (n,); the others are interpolated.
        networks: Their rows of `study.fronts.candidate_networks`.
    """

    strategy: str
    points: np.ndarray
    on_front: np.ndarray
    is_distinct: np.ndarray
    is_adapted: np.ndarray
    networks: pd.DataFrame


@dataclass(frozen=True)
class RecommendedPoint:
    """The recommended network; all accuracies are (source, target) in per cent.

    Attributes:
        point: Its accuracies.
        lower: Lower ends of their 90 % intervals; None where they are not known.
        upper: Upper ends.
    """

    point: tuple[float, float]
    lower: tuple[float, float] | None
    upper: tuple[float, float] | None

    @property
    def ends(self) -> list[tuple[float, float]]:
        """Everything of it that is to be seen: its point and the ends of its intervals."""
        return [self.point, *(end for end in (self.lower, self.upper) if end is not None)]


@dataclass(frozen=True)
class FrontFigure:
    """The networks of a study by their accuracies on validation images.

    Attributes:
        groups: The networks by strategy.
        border: Corners (m, 2), in per cent, of the staircase that bounds what the front dominates.
        baseline: Source and target accuracy of the baseline in per cent, None where unknown.
        recommended: The recommended network; None where nothing is recommended.
        axis_labels: Of the source's and of the target's axis.
        varied: The hyperparameters that vary over the study.
        half_intervals: How many points 90 % intervals of the front's networks typically reach to either side, on source
            and target; None where they are not known.
    """

    groups: list[StrategyNetworks]
    border: np.ndarray
    baseline: tuple[float, float] | None
    recommended: RecommendedPoint | None
    axis_labels: tuple[str, str]
    varied: list[str]
    half_intervals: tuple[float, float] | None = None

    @property
    def is_baseline_a_trial(self) -> bool:
        """Whether the strategy BL was tried, which is the baseline itself: one mark stands for both."""
        return any(map(self.is_the_baseline, self.groups))

    def is_the_baseline(self, group: StrategyNetworks) -> bool:
        """Returns whether a strategy's networks are the baseline, by its name and their accuracies."""
        if group.strategy != "BL" or self.baseline is None:
            return False
        return bool(np.allclose(group.points, self.baseline, atol=SAME_POINT))

    @property
    def shows_intervals(self) -> bool:
        """Whether a picture shows the intervals of networks that stand out: not where they would leave it."""
        if self.half_intervals is None:
            return False
        extent = np.ptp(np.vstack([group.points for group in self.groups]), axis=0)
        return bool((2 * np.array(self.half_intervals) <= extent).all())


@dataclass(frozen=True)
class ConfirmedFigurePoint:
    """A confirmed network; all accuracies are (source, target) in per cent.

    Attributes:
        name: Its name, see `study.reporting.wording.confirmed_name`.
        strategy: Its strategy.
        test: Mean accuracy on test images.
        lower: Lower ends of the intervals.
        upper: Upper ends of the intervals.
        validation: Accuracy that the search had measured, None of a network that it did not choose.
        on_front: Whether it is one of the validation front's.
        is_recommended: Whether it is the recommended network.
        is_distinct: Whether a reader meets it first, see `study.reporting.distinct_networks`; named strategies are.
    """

    name: str
    strategy: str
    test: tuple[float, float]
    lower: tuple[float, float]
    upper: tuple[float, float]
    validation: tuple[float, float] | None
    on_front: bool
    is_recommended: bool
    is_distinct: bool = True


@dataclass(frozen=True)
class ConfirmedFigure:
    """The confirmed networks on test images.

    Attributes:
        points: The networks.
        axis_labels: Of the source's and of the target's axis.
    """

    points: list[ConfirmedFigurePoint]
    axis_labels: tuple[str, str]


@dataclass(frozen=True)
class HypervolumeFigure:
    """The hypervolume over the trials.

    Attributes:
        numbers: The trials' numbers (n,).
        volumes: Hypervolume of all trials up to each (n,).
        reference: The corner that it is measured from, in words, and of which accuracies it is.
    """

    numbers: np.ndarray
    volumes: np.ndarray
    reference: str


@dataclass(frozen=True)
class StrategiesFigure:
    """The accuracies that each strategy's configurations reached on the first rung, with equal budgets.

    Attributes:
        groups: Adapted networks of the first rung by strategy.
        baseline: Source and target accuracy of the baseline in per cent, None where unknown.
        axis_labels: Of the source's and of the target's panel.
        note: That it is the first rung alone; empty where there are no others.
    """

    groups: list[tuple[str, pd.DataFrame]]
    baseline: tuple[float, float] | None
    axis_labels: tuple[str, str]
    note: str


@dataclass(frozen=True)
class ImportanceFigure:
    """The importance of each hyperparameter.

    Attributes:
        ranking: Of `importance.compute_importances`.
        labels: What each objective is called in the legend, by domain.
        note: That it is about the first rung alone; empty where there are no others.
    """

    ranking: pd.DataFrame
    labels: dict[str, str]
    note: str


@dataclass(frozen=True)
class RaceFigure:
    """How many networks the front has and how many are in doubt, over the trainings of a race.

    Attributes:
        trainings: How many trainings had ended (n,), from 0 on.
        front: Expected number of networks on the front by which the race decided (n,).
        undecided: Expected number of networks on the wrong side of it (n,): those in doubt.
        settled: How many may be in doubt where the race ends (n,).
        finalists_from: After how many trainings the folds followed that the recommended network and its neighbours
            lacked; None where there were none.
    """

    trainings: np.ndarray
    front: np.ndarray
    undecided: np.ndarray
    settled: np.ndarray
    finalists_from: int | None


FigureData = (
    FrontFigure
    | ConfirmedFigure
    | HypervolumeFigure
    | StrategiesFigure
    | ImportanceFigure
    | ParallelFigure
    | RaceFigure
    | ConfusionFigure
    | CurvesFigure
)
FIRST_RUNG = "first rung alone: equal budgets"
"""What figures say that leave out higher rungs."""


def build_figure_data(name: str, record: StudyRecord, table: pd.DataFrame) -> FigureData:
    """Returns what a figure shows that the table of trials says everything about.

    Args:
        name: "pareto", "hypervolume", "strategies", "parallel", or CONFIRMED.
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.

    Raises:
        ValueError: There is no such figure.
    """
    if name == "pareto":
        return build_front_figure(record, table)
    if name == CONFIRMED:
        return build_confirmed_figure(record, table)
    if name == "hypervolume":
        volumes = hypervolume_over_trials(table, hypervolume_reference(record))
        return HypervolumeFigure(table["number"].to_numpy(), volumes, describe_hypervolume(record, table))
    if name == "strategies":
        groups = group_by_strategy(first_rung_networks(table))
        return StrategiesFigure(groups, _baseline_in_percent(record), _objective_labels(record), _rung_note(table))
    if name == "parallel":
        return build_parallel_figure(table, PRINTED_AXES)
    raise ValueError(f"there is no figure {name!r}")


def describe_hypervolume(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns the corner that a study's hypervolume is measured from, in words, and of which accuracies it is."""
    reference = describe_reference(record)
    return f"{reference}, by expected accuracies" if has_expectations(table) else reference


def build_importance_figure(record: StudyRecord, table: pd.DataFrame, ranking: pd.DataFrame) -> ImportanceFigure:
    """Returns the figure of the importance of each hyperparameter.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        ranking: Of `importance.compute_importances`.
    """
    labels = {domain: f"{domain}: {dataset_label(record, domain)}" for domain in DOMAINS}
    return ImportanceFigure(ranking, labels, _rung_note(table))


def _rung_note(table: pd.DataFrame) -> str:
    return FIRST_RUNG if table["rung"].nunique() > 1 else ""


def build_race_figure(race: RaceCourse) -> RaceFigure:
    """Returns the figure of a race's course."""
    counts = np.array([race.deciding_front(state) for state in race.states])
    return RaceFigure(
        trainings=np.arange(len(race.states)),
        front=counts[:, 0],
        undecided=counts[:, 1],
        settled=RaceRules().settled_at * counts[:, 0],
        finalists_from=race.trainings if race.finalists else None,
    )


def build_front_figure(record: StudyRecord, table: pd.DataFrame) -> FrontFigure:
    """Returns the figure of all networks and the front.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
    """
    front = front_table(table)
    distinct = front[find_distinct(front, record)]

    # A point for each network that competes for the front.
    groups = []
    for strategy, networks in group_by_strategy(candidate_networks(table)):
        points = 100 * networks[OBJECTIVES].to_numpy(float)
        on_front = is_on_front(networks, front)
        is_distinct = is_on_front(networks, distinct)
        is_adapted = (networks["search_alpha"] == 1).to_numpy()
        groups.append(StrategyNetworks(strategy, points, on_front, is_distinct, is_adapted, networks))
    return FrontFigure(
        groups=groups,
        border=front_border(front, record.expressions.chance),
        baseline=_baseline_in_percent(record),
        recommended=_recommended_point(front),
        axis_labels=_objective_labels(record),
        varied=varied_hyperparameters(table),
        half_intervals=find_half_intervals(distinct),
    )


def find_half_intervals(front: pd.DataFrame) -> tuple[float, float] | None:
    """Returns how many points 90 % intervals of networks typically (median) reach to either side, on source and target.

    Args:
        front: Rows of `study.fronts.front_table`; None is returned where these have no intervals.
    """
    if front.empty or not all(name in front for name in INTERVALS):
        return None
    half_widths = []
    for domain in DOMAINS:
        widths = front[f"{domain}_upper"] - front[f"{domain}_lower"]
        half_widths.append(float(100 * widths.median() / 2))
    source, target = half_widths
    return source, target


def _recommended_point(front: pd.DataFrame) -> RecommendedPoint | None:
    """Returns where a front's recommended network lies, None where nothing is recommended."""
    network = find_recommended(front)
    if network is None:
        return None
    source, target = (100 * float(network[objective]) for objective in OBJECTIVES)
    if not all(name in network for name in INTERVALS):
        return RecommendedPoint((source, target), None, None)
    lower = 100 * network["source_lower"], 100 * network["target_lower"]
    upper = 100 * network["source_upper"], 100 * network["target_upper"]
    return RecommendedPoint((source, target), lower, upper)


def build_confirmed_figure(record: StudyRecord, table: pd.DataFrame) -> ConfirmedFigure:
    """Returns the figure of the confirmed networks.

    Args:
        record: The study's record, with a confirmation.
        table: Trials, of `study.trials.trials_table`, whose front says which network is recommended.
    """
    front = front_table(table)
    network = find_recommended(front)
    recommended = "" if network is None else str(network["model"])
    others = find_others(front, record)
    source_label, target_label = (
        f"{domain.capitalize()} test accuracy (%) — {dataset_label(record, domain)}" for domain in DOMAINS
    )
    points = [_confirmed_figure_point(point, recommended, others) for point in record.results.points]
    return ConfirmedFigure(points, (source_label, target_label))


def _confirmed_figure_point(point: Row, recommended: str, others: set[str]) -> ConfirmedFigurePoint:
    """Returns a point of the figure.

    Args:
        point: A row of the confirmation's results.
        recommended: The file of the recommended network, empty where there is none.
        others: The files of the front's networks that a reader does not meet first.
    """
    validation = None
    if "source_optimism" in point:
        source, target = (100 * (point[f"{domain}_test"] + point[f"{domain}_optimism"]) for domain in DOMAINS)
        validation = source, target
    return ConfirmedFigurePoint(
        name=confirmed_name(point),
        strategy=str(point["strategy"]),
        test=_pair_in_percent(point, "test"),
        lower=_pair_in_percent(point, "lower"),
        upper=_pair_in_percent(point, "upper"),
        validation=validation,
        on_front=bool(point["front"]),
        is_recommended=bool(recommended) and point.get("model") == recommended,
        is_distinct=point.get("model") not in others,
    )


def _pair_in_percent(point: Row, name: str) -> tuple[float, float]:
    return 100 * point[f"source_{name}"], 100 * point[f"target_{name}"]


def group_by_strategy(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Returns rows of trials or networks by strategy, sorted by its name."""
    strategies = rows["strategy"].fillna("unknown").astype(str)
    return [(str(strategy), group) for strategy, group in rows.groupby(strategies, sort=True)]


def _baseline_in_percent(record: StudyRecord) -> tuple[float, float] | None:
    baseline = record.baseline.accuracies
    return None if baseline is None else (100 * baseline[0], 100 * baseline[1])


def _objective_labels(record: StudyRecord) -> tuple[str, str]:
    return objective_label(record, "source"), objective_label(record, "target")
