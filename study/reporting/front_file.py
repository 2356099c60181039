"""The front as a table for readers, in front.csv and in MLflow: first what a network is and what it reaches."""

import pandas as pd

from study.record import DOMAINS, StudyRecord
from study.reporting.wording import describe_interpolations, row_name

_ACCURACIES = ("val", "lower", "upper", "test", "test_lower", "test_upper")
SUMMARY_COLUMNS = (
    "trial", "network", "strategy", "interpolation",
    *(f"{domain}_{name}" for domain in DOMAINS for name in _ACCURACIES), "kept", "probability", "role", "model",
)  # fmt: skip
"""The first columns, as far as a study has them. kept: the share of the baseline's source accuracy that is kept;
interpolation: where the network lies between the baseline (0) and its training's end (1), "0 to 1" where its share
grows from the first layer to the last. probability: that no other network is at least as good on both datasets."""


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
    """Returns a front with the test accuracies that a confirmation found, and their intervals.

    Args:
        front: Of `study.fronts.front_table`.
        record: The study's record.
    """
    points = record.results.points
    if not points:
        return front

    # An expected accuracy has an interval of its own, so those of test accuracies are named after these.
    names = {"test": "test", "lower": "test_lower", "upper": "test_upper"}
    columns = {f"{domain}_{name}": f"{domain}_{shown}" for domain in DOMAINS for name, shown in names.items()}
    tested = pd.DataFrame([point for point in points if point["front"]], columns=["model", *columns])
    return front.merge(tested.rename(columns=columns), on="model", how="left")
