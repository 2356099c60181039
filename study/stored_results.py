"""What a study's record keeps of its confirmation's results, read tolerantly: an earlier version stored less."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
"""A flat row of results, such as {"name": "trial 3", "source_test": 0.6}."""


@dataclass(frozen=True)
class StoredResults:
    """What a record keeps of a confirmation on test images; empty where it was not run to its end.

    Attributes:
        points: A row of each network, the baseline first, see `study.confirmation.statistics.judge_points`.
        indistinguishable: For each network of the front, by its file, the files of those from which it does not differ
            significantly.
        comparisons: How many comparisons p-values are corrected for; None where it is not recorded.
        tested: By domain the images and the people of the test set; people is None where nobody knows them.
        detectable: By domain the difference between two networks that a test finds four times in five, as a share, the
            median over the front's pairs; None where it is not recorded.
        differences: A row of each pair of named strategies, see `study.confirmation.statistics.strategy_differences`.
        class_results: What one training of each point did to expressions and layers, in the order of `points`, see
            `study.confirmation.statistics.per_class_results`.
    """

    points: list[Row] = field(default_factory=list)
    indistinguishable: dict[str, list[str]] = field(default_factory=dict)
    comparisons: int | None = None
    tested: dict[str, Row] = field(default_factory=dict)
    detectable: dict[str, Any] = field(default_factory=dict)
    differences: list[Row] = field(default_factory=list)
    class_results: list[Row] = field(default_factory=list)

    @classmethod
    def from_json(cls, stored: object) -> "StoredResults":
        """Returns stored results as a type; what is missing or odd is empty.

        What a row must have is checked before, see `study.reading_record.is_confirmation`.
        """
        results = _mapping(stored)
        return cls(
            points=_rows(results.get("points")),
            indistinguishable=_mapping(results.get("alike")),
            comparisons=results.get("comparisons"),
            tested=_mapping(results.get("tested")),
            detectable=_mapping(_mapping(results.get("pairs")).get("detectable")),
            differences=_rows(results.get("differences")),
            class_results=_rows(results.get("inside")),
        )

    def find_point(self, network: "Mapping[Any, Any] | pd.Series") -> Row | None:
        """Returns a network's row, None where it was not confirmed as it is now.

        Args:
            network: A row of `study.fronts.front_table`.
        """
        for point in self.points:
            if point.get("model") == network["model"]:
                return None if has_changed(point, network) else point
        return None

    def pair_with_class_results(self) -> list[tuple[Row, Row]]:
        """Returns each point's row with its class results; a confirmation of an earlier version has none."""
        return list(zip(self.points, self.class_results, strict=False))

    def find_recalls(self, model: str) -> tuple[Row, Row] | None:
        """Returns the baseline's and a network's recalls by domain and expression, None where they were not measured.

        Args:
            model: The network's file, relative to the study's folder.
        """
        for point, details in self.pair_with_class_results():
            # The first point is the baseline.
            baseline_recalls = self.class_results[0].get("recall")
            recalls = details.get("recall")
            if point.get("model") == model and recalls and baseline_recalls:
                return baseline_recalls, recalls
        return None

    def find_layer_similarity(self, model: str) -> list[float] | None:
        """Returns the linear CKA of a network's layers with the baseline's (layers,), None where it was not measured.

        Args:
            model: The network's file, relative to the study's folder.
        """
        for point, details in self.pair_with_class_results():
            if point.get("model") == model:
                return details.get("cka")
        return None


def has_changed(point: Row, network: "Mapping[Any, Any] | pd.Series") -> bool:
    """Returns whether a network's file averages other trainings now than when it was tested.

    A search that goes on after its confirmation may train a network of the front again. Confirmations of earlier
    versions did not record how many trainings they tested the average of.

    Args:
        point: The network's row of a confirmation.
        network: A row of `study.fronts.front_table`.
    """
    tested = point.get("averaged")
    now = network.get("trainings")
    is_known = isinstance(tested, int) and isinstance(now, int | float) and math.isfinite(now)
    return is_known and now != tested


def _mapping(stored: object) -> dict[str, Any]:
    return dict(stored) if isinstance(stored, Mapping) else {}


def _rows(stored: object) -> list[Row]:
    return list(stored) if isinstance(stored, list) else []
