"""Names, titles, colours and markers of the figures."""

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer.expressions import CHANCE
from study.trials import OBJECTIVES

if TYPE_CHECKING:
    pass


NAMES = ("pareto", "hypervolume", "strategies", "importance", "parallel")


CONFIRMED = "confirmed"
"""The picture of a confirmed study."""


TITLES = {"pareto": "Pareto front", "hypervolume": "Hypervolume", "strategies": "What each strategy reached",
          "importance": "Which knob matters (PED-ANOVA)", "parallel": "Every finished trial",
          CONFIRMED: "Confirmed on test images"}  # fmt: skip


# Okabe and Ito's colours, which people with any colour vision can tell apart, without the yellow that is
# lost on white. Each strategy keeps its colour and marker in every study: (colour, matplotlib, plotly).
INK = "#1a1a1a"


_LOOKS = {
    "BL": ("#000000", "X", "x"),
    "FC": ("#E69F00", "o", "circle"),
    "FC+CL": ("#D55E00", "s", "square"),
    "RE": ("#0072B2", "^", "triangle-up"),
    "FU": ("#009E73", "D", "diamond"),
}


_MARKERS = [("v", "triangle-down"), ("P", "cross"), ("p", "pentagon"), ("h", "hexagon"), ("*", "star")]


_OTHER = ["#CC79A7", "#56B4E9", "#999999"]


def style_of(strategy: str) -> tuple[str, str, str]:
    """Returns a strategy's colour, matplotlib marker and plotly symbol: fixed by its name."""
    if strategy in _LOOKS:
        return _LOOKS[strategy]
    code = zlib.crc32(strategy.encode())
    return (_OTHER[code % len(_OTHER)], *_MARKERS[code // len(_OTHER) % len(_MARKERS)])


def front_border(front: pd.DataFrame) -> np.ndarray:
    """Returns the corners (m, 2), in per cent, of the border of what a front dominates above chance."""
    if front.empty:
        return np.empty((0, 2))
    points = 100 * front[OBJECTIVES].to_numpy(float)
    chance = 100 * CHANCE
    corners = [(min(chance, points[0, 0]), points[0, 1])]
    for here, after in zip(points, [*points[1:], None], strict=True):
        corners += [tuple(here), (here[0], after[1] if after is not None else min(chance, here[1]))]
    return np.array(corners)
