"""The table of a study's trials with what the search says of their networks."""

from collections.abc import Iterable

import pandas as pd
from optuna.trial import FrozenTrial

from study.fronts import EXPECTED, EXPECTED_VALUES, INTERVALS, KEEPS_MORE, LEARNS_MORE, NEAREST, RECOMMENDED
from study.record import StudyRecord
from study.trials import OBJECTIVES, interpolation_name, read_counted_trials, trials_table
from study.tuning.answers import Comparison
from study.tuning.expected_accuracy import ExpectedAccuracies
from study.tuning.plan import SearchPlan
from study.tuning.verdict import Verdict, reach_verdict

LEVEL = 0.9
"""The probability that the interval of an expected accuracy holds."""


def expected_table(record: StudyRecord, trials: Iterable[FrozenTrial]) -> pd.DataFrame:
    """Returns the table of a study's trials, with what is expected of its networks where trials stored their answers.

    Args:
        record: Of the study.
        trials: All trials of the study.

    Returns:
        The columns of `study.trials.trials_table`, and for each interpolation point those of
        `study.fronts.EXPECTED_VALUES`, filled in the row of each recipe's first trial, and in the baseline's.
    """
    readable = list(read_counted_trials(trials).value)
    table = trials_table(readable)
    verdict = reach_verdict(readable, SearchPlan.of(record))
    return table if verdict is None else add_expectations(table, verdict)


def add_expectations(table: pd.DataFrame, verdict: Verdict) -> pd.DataFrame:
    """Returns a table of trials with the columns of what is expected of their networks.

    Args:
        table: Of `study.trials.trials_table`.
        verdict: What the search says.
    """
    values = network_values(verdict)
    columns: dict[str, dict[int, object]] = {}
    for network, row in zip(verdict.competition.networks, values.to_dict("records"), strict=True):
        point = interpolation_name(network.alpha, network.slope)
        for name in EXPECTED_VALUES:
            columns.setdefault(EXPECTED.format(name, point), {})[network.trial] = row[name]

    # The baseline competes as the network of its trial.
    end = interpolation_name(1.0, 0.0)
    is_baseline = (table["strategy"] == "BL") & (table["state"] == "finished")
    for number in table.loc[is_baseline, "number"]:
        for name, value in _values_of_baseline(verdict).items():
            columns.setdefault(EXPECTED.format(name, end), {})[number] = value

    by_number = {name: table["number"].map(cells) for name, cells in columns.items()}
    return pd.concat([table, pd.DataFrame(by_number, index=table.index)], axis=1)


def network_values(verdict: Verdict) -> pd.DataFrame:
    """Returns EXPECTED_VALUES of each network that competes, a row per network in their order."""
    expected, front = verdict.expected, verdict.front
    source_lower, source_upper = expected.source.interval(LEVEL)
    target_lower, target_upper = expected.target.interval(LEVEL)
    folds, trainings = _count_trainings(verdict.competition.comparison)
    return pd.DataFrame(
        {
            "source_val": expected.points[:, 0],
            "target_val": expected.points[:, 1],
            "source_lower": source_lower,
            "source_upper": source_upper,
            "target_lower": target_lower,
            "target_upper": target_upper,
            "observed_source_val": expected.source.observed,
            "observed_target_val": expected.target.observed,
            "probability": front.probabilities,
            "folds": folds,
            "trainings": trainings,
            "role": _roles(verdict),
        }
    )


def _values_of_baseline(verdict: Verdict) -> dict[str, object]:
    """Returns EXPECTED_VALUES of the baseline."""
    expected: ExpectedAccuracies = verdict.expected
    source, target = expected.baseline
    values: dict[str, object] = dict(zip(OBJECTIVES, (source, target), strict=True))
    for name, domain in zip(
        INTERVALS, (expected.source, expected.source, expected.target, expected.target), strict=True
    ):
        margin = 1.645 * domain.baseline_error
        bound = domain.baseline - margin if name.endswith("lower") else domain.baseline + margin
        values[name] = min(1.0, max(0.0, bound))
    return values | {
        "observed_source_val": source,
        "observed_target_val": target,
        "probability": verdict.front.baseline_probability,
        "folds": 0,
        "trainings": 0,
        "role": "",
    }


def _count_trainings(comparison: Comparison) -> tuple[list[int], list[int]]:
    """Returns on how many folds each network was evaluated, and how many trainings of it."""
    folds: list[set[int]] = [set() for _ in range(comparison.networks)]
    trainings = [0] * comparison.networks
    for evaluation in comparison.evaluations:
        folds[evaluation.network].add(evaluation.fold)
        trainings[evaluation.network] += 1
    return [len(of_network) for of_network in folds], trainings


def _roles(verdict: Verdict) -> list[str]:
    """Returns the role of each network."""
    choice = verdict.choice
    roles = [""] * len(verdict.competition.networks)
    for index, role in (
        (choice.learns_more, LEARNS_MORE),
        (choice.keeps_more, KEEPS_MORE),
        (choice.network, RECOMMENDED),
    ):
        if index is not None:
            roles[index] = role

    # One that is not on the front has no file.
    if verdict.nearest is not None and verdict.nearest in verdict.wanted:
        roles[verdict.nearest] = NEAREST
    return roles
