"""The front as a table for readers, in front.csv and in MLflow: first what a network is and what it reaches."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from study.record import DOMAINS, StudyRecord
from study.reporting.wording import describe_interpolations, find_changed, is_trained_again, row_name

_ACCURACIES = ("val", "lower", "upper", "test", "test_lower", "test_upper", "again", "again_lower", "again_upper")
SUMMARY_COLUMNS = (
    "trial", "network", "strategy", "interpolation",
    *(f"{domain}_{name}" for domain in DOMAINS for name in _ACCURACIES), "kept", "probability", "role", "model",
)  # fmt: skip
"""The first columns, as far as a study has them.

- test: the accuracy on test images of the network in the file, and its interval;
- again: the mean of new trainings of its configuration on test images, which p-values are of, and its interval;
- kept: the share of the baseline's source accuracy that is kept;
- interpolation: where the network lies between the baseline (0) and its training's end (1), "0 to 1" where its share
  grows from the first layer to the last;
- probability: that no other network is at least as good on both datasets.
"""
_OF_FILE = {"handed_over": "test", "handed_over_lower": "test_lower", "handed_over_upper": "test_upper"}
"""What figures of the network in the file are called in tables, by how they are stored."""
_AGAIN = {"test": "again", "lower": "again_lower", "upper": "again_upper"}
"""The same of those of new trainings."""


def table_of_front(front: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
    """Returns a front as readers meet it: SUMMARY_COLUMNS, then what accuracies rest on and the hyperparameters.

    Args:
        front: Of `study.fronts.front_table`.
        record: The study's record.
    """
    front = add_test_accuracies(front, record)
    names = [row_name(network) for _, network in front.iterrows()]
    front = front.assign(
        network=pd.Series(names, index=front.index, dtype="object"), interpolation=describe_interpolations(front)
    )
    baseline = record.baseline.source_val
    if baseline:
        front["kept"] = front["source_val"] / baseline

    first = [name for name in SUMMARY_COLUMNS if name in front]
    return front[first + [name for name in front if name not in first]]


def add_test_accuracies(front: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
    """Returns a front with what a confirmation found on test images, under the names of `table_of_confirmed`.

    A file that averages other trainings now than those that were tested has no test accuracy.

    Args:
        front: Of `study.fronts.front_table`.
        record: The study's record.
    """
    if not record.results.points:
        return front
    tested = table_of_confirmed(record)
    of_files, of_trainings = _names_by_stored(_OF_FILE), _names_by_stored(_AGAIN)
    columns = [name for name in (*of_files.values(), *of_trainings.values()) if name in tested]
    result = front.merge(tested.loc[tested["front"], ["model", *columns]], on="model", how="left")
    result.loc[result["model"].isin(list(find_changed(record, front))), list(of_files.values())] = math.nan
    return result


def table_of_confirmed(record: StudyRecord) -> pd.DataFrame:
    """Returns a row per confirmed network, as in confirm.csv.

    Columns: those of `study.confirmed_results.ConfirmedRow`, but for the accuracies, whose names say of which network
    they are, as in front.csv: target_test of the one in the file, target_again the mean of new trainings. What is not
    trained again has its accuracy as that of its file.

    Args:
        record: The study's record, with a confirmation.
    """
    points = pd.DataFrame(record.results.points)
    missing = [name for name in _names_by_stored(_OF_FILE) if name not in points]
    points = points.assign(**dict.fromkeys(missing, math.nan))

    # The baseline's only accuracy is that of its file.
    is_file = np.array([not is_trained_again(point) for point in record.results.points])
    for of_file, again in zip(_names_by_stored(_OF_FILE), _names_by_stored(_AGAIN), strict=True):
        points[of_file] = points[of_file].mask(is_file & points[of_file].isna(), points[again])
        points[again] = points[again].mask(is_file)
    return points.rename(columns=_names_by_stored(_OF_FILE) | _names_by_stored(_AGAIN))


def _names_by_stored(names: Mapping[str, str]) -> dict[str, str]:
    """Returns the columns of both domains by how they are stored: {"source_test": "source_again", …}."""
    return {f"{domain}_{stored}": f"{domain}_{shown}" for domain in DOMAINS for stored, shown in names.items()}
