"""What a search found, as reports and MLflow say it: what is recommended or why nothing is, how sure, and the race."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from fer.adaptation.methods import STRATEGIES
from fer.expressions import EXPRESSIONS
from study.pareto import hypervolume
from study.record import DOMAINS, StudyRecord
from study.trial_attributes import TrialAttributes
from study.trials import model_file, read_counted_trials, trials_table
from study.tuning.answers import Comparison
from study.tuning.expected_accuracy import ExpectedAccuracy
from study.tuning.expected_table import LEVEL, add_expectations
from study.tuning.plan import SearchPlan
from study.tuning.race_course import RaceCourse, find_race_course
from study.tuning.recommendation_rule import Obstacle
from study.tuning.verdict import Verdict, reach_verdict


@dataclass(frozen=True)
class Gain:
    """How much more accurate than the baseline a network is expected to be; all shares, with the LEVEL interval.

    Attributes:
        mean: The expected gain.
        lower: Lower end of its interval.
        upper: Upper end of its interval.
    """

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class ExpressionChange:
    """What a network gained and lost on the images of one expression, on one domain.

    Attributes:
        domain: "source" or "target".
        expression: Its name.
        images: How many of its images the network answered on.
        before: Share of these that the baseline has right.
        after: Share that the network has right; several trainings on one image are averaged.
        has_died: Whether the network has lost the expression, see `recommendation_rule.find_dead_expressions`.
    """

    domain: str
    expression: str
    images: int
    before: float
    after: float
    has_died: bool


@dataclass(frozen=True)
class NetworkSummary:
    """What the expectations of one network rest on.

    Attributes:
        trial: The number of its recipe's first trial.
        alpha: Where its first block lies between the baseline's, 0, and the adapted network's, 1.
        slope: How much further the last block lies.
        folds: On how many folds it was evaluated.
        trainings: By how many trainings.
        images: How many of the target's images it answered on, each by a network that was not trained on it.
        people: Whom they show; None where nobody knows.
        source_images: How many of the source's images it answered on.
        gains: By domain.
        kept: The probability that it keeps the wanted share of the source's accuracy.
        expressions: Source before target, expressions in the study's order; those without images are left out.
    """

    trial: int
    alpha: float
    slope: float
    folds: int
    trainings: int
    images: int
    people: int | None
    source_images: int
    gains: dict[str, Gain]
    kept: float
    expressions: tuple[ExpressionChange, ...]


@dataclass(frozen=True)
class SearchSummary:
    """What a search found.

    Attributes:
        keep: Share of the baseline's source accuracy that a recommended network keeps.
        networks: How many networks were compared.
        folds: The number of the target's folds.
        recommended: The recommended network; None where nothing is recommended.
        obstacle: Why nothing is recommended; None where something is.
        nearest: Where nothing is recommended, the network that would be with a lower `keep`; where none would be, the
            one that came nearest to passing the rule that none passed.
        sufficient_keep: The largest `keep` with which `nearest` would be recommended; None where no lower one suffices.
        hypervolume: Of the front of expected accuracies.
        observed_hypervolume: Of the front of observed accuracies; what it has more is optimism.
        race: The race's course; None where there was no race.
        named_hypervolume: Of the front of expected accuracies of the paper's five strategies alone, with which a search
            begins, on the first rung; None where they were not all trained to their end.
        expressions: What each network gained and lost on each expression, by the network's file.
    """

    keep: float
    networks: int
    folds: int
    recommended: NetworkSummary | None
    obstacle: Obstacle | None
    nearest: NetworkSummary | None
    hypervolume: float
    observed_hypervolume: float
    race: RaceCourse | None
    named_hypervolume: float | None = None
    expressions: Mapping[str, tuple[ExpressionChange, ...]] = field(default_factory=dict)
    sufficient_keep: float | None = None

    @property
    def optimism(self) -> float:
        """How much larger the observed hypervolume is than the expected one."""
        return self.observed_hypervolume - self.hypervolume


def read_search(record: StudyRecord, trials: Iterable[FrozenTrial]) -> tuple[pd.DataFrame, SearchSummary | None]:
    """Returns the table of a study's trials, as `expected_table` does, and what the search found.

    The summary is None for a study whose trials stored no answers.

    Args:
        record: Of the study.
        trials: All trials of the study.
    """
    readable = list(read_counted_trials(trials).value)
    table = trials_table(readable)
    plan = SearchPlan.of(record)
    verdict = reach_verdict(readable, plan)
    if verdict is None:
        return table, None
    return add_expectations(table, verdict), summarise(readable, verdict, plan)


def summarise(trials: Iterable[FrozenTrial], verdict: Verdict, plan: SearchPlan) -> SearchSummary:
    """Returns what a search found.

    Args:
        trials: All trials of the study.
        verdict: What they say.
        plan: Of the study.
    """
    choice = verdict.choice
    readable = list(trials)
    nearest = None if verdict.nearest is None else summarise_network(verdict, verdict.nearest)

    # Every network's expressions, by its file.
    comparison = verdict.competition.comparison
    expressions = {}
    for index, network in enumerate(verdict.competition.networks):
        file = model_file(network.trial, network.alpha, network.slope)
        expressions[file] = tuple(compare_expressions(comparison, index, choice.died[index], plan.expressions.names))
    return SearchSummary(
        keep=plan.keep,
        networks=len(verdict.competition.networks),
        folds=plan.folds,
        recommended=None if choice.network is None else summarise_network(verdict, choice.network),
        obstacle=choice.obstacle,
        nearest=nearest,
        hypervolume=verdict.front.hypervolume,
        observed_hypervolume=verdict.front.observed_hypervolume,
        race=find_race_course(readable, verdict, plan),
        named_hypervolume=_hypervolume_of_named(readable, verdict, plan),
        expressions=expressions,
        sufficient_keep=None if verdict.sufficient_keep is None else verdict.sufficient_keep[0],
    )


def _hypervolume_of_named(trials: list[FrozenTrial], verdict: Verdict, plan: SearchPlan) -> float | None:
    """Returns the hypervolume of the paper's five strategies alone; None where one was not trained to its end.

    Their interpolated networks and the baseline count. A search begins with the five, on the first rung; trials that a
    user asked for are none of them, even those with the same strategy.
    """
    competing = [network.trial for network in verdict.competition.networks]
    strategy_of = {}
    for trial in trials:
        attributes = TrialAttributes.of(trial)
        is_first = (attributes.rung or 1) == 1 and attributes.race is None
        is_named = attributes.keep and is_first and not attributes.prior and attributes.strategy in STRATEGIES
        if is_named and trial.number in competing:
            strategy_of[trial.number] = attributes.strategy

    # The baseline's accuracies are known without a trial.
    if not set(plan.strategies) - {"BL"} <= set(strategy_of.values()):
        return None
    points = verdict.expected.points[np.isin(competing, list(strategy_of))]
    return hypervolume(np.vstack([[verdict.expected.baseline], points]), plan.reference)


def summarise_network(verdict: Verdict, index: int) -> NetworkSummary:
    """Returns what is expected of one network, and what that rests on.

    Args:
        verdict: What the search says.
        index: Of the network.
    """
    network = verdict.competition.networks[index]
    comparison = verdict.competition.comparison
    evaluations = [evaluation for evaluation in comparison.evaluations if evaluation.network == index]
    folds = {evaluation.fold for evaluation in evaluations}

    # Whose images it answered on.
    answered = np.isin(comparison.target.folds, list(folds))
    subjects = np.asarray(comparison.target.subjects)[answered]
    people = None if (subjects < 0).any() else len(np.unique(subjects))

    domains = {"source": verdict.expected.source, "target": verdict.expected.target}
    return NetworkSummary(
        trial=network.trial,
        alpha=network.alpha,
        slope=network.slope,
        folds=len(folds),
        trainings=len(evaluations),
        images=int(answered.sum()),
        people=people,
        source_images=len(comparison.source.labels),
        gains={name: _gain(domains[name], index) for name in DOMAINS},
        kept=float(verdict.choice.kept[index]),
        expressions=tuple(
            compare_expressions(comparison, index, verdict.choice.died[index], verdict.expressions.names)
        ),
    )


def _gain(expected: ExpectedAccuracy, index: int) -> Gain:
    lower, upper = expected.gain_interval(LEVEL)
    return Gain(float(expected.gains[:, index].mean()), float(lower[index]), float(upper[index]))


def compare_expressions(
    comparison: Comparison, network: int, died: tuple[str, ...] = (), names: Sequence[str] = EXPRESSIONS
) -> list[ExpressionChange]:
    """Returns what a network gained and lost on each expression, on the source and then on the target.

    Args:
        comparison: All networks' answers.
        network: The index of the network.
        died: The expressions that it has lost, on either domain.
        names: Of the study's expressions.
    """
    evaluations = [evaluation for evaluation in comparison.evaluations if evaluation.network == network]
    source, target = comparison.source, comparison.target

    # How often each image was answered, and how often rightly.
    answered = {"source": np.zeros(len(source.labels)), "target": np.zeros(len(target.labels))}
    right = {domain: np.zeros_like(counts) for domain, counts in answered.items()}
    for evaluation in evaluations:
        answered["source"] += 1
        right["source"] += evaluation.source_right
        images = target.images_of(evaluation.fold)
        answered["target"][images] += 1
        right["target"][images] += evaluation.target_right

    changes = []
    labels_of = {"source": source.labels, "target": target.labels}
    baseline_of = {"source": source.baseline_right, "target": target.baseline_right}
    for domain in DOMAINS:
        labels = np.asarray(labels_of[domain])
        baseline = np.asarray(baseline_of[domain], float)
        for code, name in enumerate(names):
            images = np.flatnonzero((labels == code) & (answered[domain] > 0))
            if not len(images):
                continue
            after = float((right[domain][images] / answered[domain][images]).mean())
            before = float(baseline[images].mean())
            has_died = name in died and after < before
            changes.append(ExpressionChange(domain, name, len(images), before, after, has_died))
    return changes
