"""Which networks of a front a reader meets first: those that no other equals or betters in whole points of accuracy.

A front of expected accuracies holds every network that is a tenth of a point better on one dataset than all others: on
JAFFE 26 networks, of which 15 lay within a point of each other just above the baseline. A search decides in whole
points (`study.tuning.whole_points`), so its report shows first what differs by that much.

Example:
    The baseline has 65.7 and 49.3 %. Of networks with 65.4 and 49.9 % and with 65.2 and 50.2 %, both of which are on
    the front, one is shown: in whole points both gain 0 and 1.
"""

import numpy as np
import pandas as pd

from study.fronts import LEVELS
from study.pareto import non_dominated
from study.record import StudyRecord
from study.reporting.wording import count_of
from study.trials import OBJECTIVES
from study.tuning.whole_points import POINT

FEW_MORE = 5
"""Rows of a front for which none is left out, beyond those that there is room for."""


def find_distinct(front: pd.DataFrame, record: StudyRecord) -> np.ndarray:
    """Returns (networks,) whether each network of a front is among those that are shown first.

    The baseline competes. Of networks that are equal in whole points the most probable one is shown; the baseline, the
    networks with a role and the best for each share of the source (`find_answers`) always are. Each of the others is
    less than a point better, on both datasets, than one that is shown or than the baseline.

    Args:
        front: Of `study.fronts.front_table`. All of it are shown where no trial stored its answers: such a study did
            not decide in whole points.
        record: The study's record, with the baseline's accuracies.
    """
    baseline = record.baseline.accuracies
    if "role" not in front or baseline is None or front.empty:
        return np.ones(len(front), bool)
    is_baseline = (front["strategy"] == "BL").to_numpy()
    has_role = (front["role"] != "").to_numpy()
    probability = front["probability"].to_numpy(float)

    # Gains in whole points, with the baseline's, 0 and 0, before them. Of equal points the first one leads.
    order = np.lexsort((-probability, ~has_role))
    gains = front[OBJECTIVES].to_numpy(float)[order] - np.array(baseline)
    points = np.vstack([np.zeros(2), np.rint(gains / POINT)])
    leads = np.zeros(len(front), bool)
    leads[order] = non_dominated(points)[1:]
    return leads | is_baseline | has_role | find_answers(front, record)


def find_answers(front: pd.DataFrame, record: StudyRecord) -> np.ndarray:
    """Returns (networks,) which networks of a front are the best on the target for one of LEVELS of the source kept.

    Args:
        front: Of `study.fronts.front_table`.
        record: The study's record; none is where the baseline's accuracy is not known.
    """
    is_answer = np.zeros(len(front), bool)
    baseline = record.baseline.accuracies
    if baseline is None:
        return is_answer
    source, target = (front[objective].to_numpy(float) for objective in OBJECTIVES)
    for level in LEVELS:
        keeps = source >= level * baseline[0]
        if keeps.any():
            # Of equal ones the better source.
            order = np.lexsort((source, np.where(keeps, target, -np.inf)))
            is_answer[order[-1]] = True
    return is_answer


def choose_rows(front: pd.DataFrame, record: StudyRecord, most: int) -> list[int]:
    """Returns which rows of a front are shown where there is room for some.

    All are where a few more than that would be left out. Else those are that have a role, that are the best for a share
    of the source that is kept, or that are the likeliest on the front; then others, evenly spaced, first those that
    differ by whole points.

    Args:
        front: Of `study.fronts.front_table`.
        record: The study's record.
        most: Rows that there is room for; those that must be shown are even if there are more.
    """
    if len(front) <= most + FEW_MORE:
        return list(range(len(front)))
    shown = find_answers(front, record)
    if "role" in front:
        shown |= (front["role"] != "").to_numpy()
        shown[int(np.argmax(front["probability"].to_numpy(float)))] = True

    is_distinct = find_distinct(front, record)
    for candidates in (np.flatnonzero(is_distinct & ~shown), np.flatnonzero(~is_distinct & ~shown)):
        room = min(max(most - int(shown.sum()), 0), len(candidates))
        evenly_spaced = np.linspace(0, len(candidates) - 1, room).round().astype(int)
        shown[candidates[evenly_spaced]] = True
    return np.flatnonzero(shown).tolist()


def find_others(front: pd.DataFrame, record: StudyRecord) -> set[str]:
    """Returns the files of the networks of a front that are not among those that are shown first."""
    return set(front.loc[~find_distinct(front, record), "model"])


def describe_others(count: int, front: pd.DataFrame) -> str:
    """Returns how many networks of a front are not among the first, and how little they differ; empty for none.

    Args:
        count: How many.
        front: Of `study.fronts.front_table`.
    """
    if not count:
        return ""
    has_baseline = bool((front["strategy"] == "BL").any())
    than = "one of these" if has_baseline else "one of these or than the baseline"
    each = "" if count == 1 else "each "
    number_of = count_of(count, "more network")
    return f"And {number_of} of the front, {each}less than a point better than {than} on both datasets"
