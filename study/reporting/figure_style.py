"""Names, titles, colours and markers of the figures."""

import zlib
from typing import NamedTuple

NAMES = ("pareto", "hypervolume", "strategies", "curves", "importance", "parallel")
"""The figures of every study."""
CONFIRMED = "confirmed"
"""The figure of a confirmed study."""
RACE = "race"
"""The figure of a study with a race."""
CONFUSIONS = "confusions"
"""The figure of a study whose recommended network has confusion matrices."""
ALL_NAMES = (*NAMES, CONFIRMED, CONFUSIONS, RACE)
TITLES = {
    "pareto": "Pareto front",
    "hypervolume": "Hypervolume",
    "strategies": "What each strategy reached",
    "curves": "Training curves",
    "importance": "Which hyperparameter matters (PED-ANOVA)",
    "parallel": "Every finished trial",
    CONFIRMED: "Confirmed on test images",
    CONFUSIONS: "Confusion matrices",
    RACE: "The course of the race",
}
INTERACTIVE = ("pareto", "parallel")
"""The figures that are written as HTML as well, each with plotly inside: those in which a pointer finds something."""
FORMATS = ("png", "svg", "pdf", "html")
"""What figures are written as; html those of INTERACTIVE alone."""
INK = "#1a1a1a"
QUIET = "#555555"

# The words of the figures of the front and of the confirmed networks.
LITTLE_BETTER_LABEL = "on front by < 1 point"
"""What small marks are: networks of the front that are less than a point better than a large one."""

# The words of the figure of a race.
FRONT_LABEL = "on the front"
UNDECIDED_LABEL = "in doubt: on the front or not"
SETTLED_LABEL = "few enough in doubt to end the race"
FINALISTS_LABEL = "then: missing folds of the recommended"

DOMAIN_COLOURS = {"source": "#0072B2", "target": "#E69F00"}


class StrategyStyle(NamedTuple):
    """How the networks of a strategy look, the same in every study.

    Attributes:
        colour: Their colour, as hexadecimal RGB.
        marker: matplotlib's marker.
        symbol: plotly's symbol, of the same shape.
    """

    colour: str
    marker: str
    symbol: str


# The colours of Okabe and Ito, which differ for any colour vision, without the yellow that is lost on white.
_STYLES = {
    "BL": StrategyStyle("#000000", "X", "x"),
    "FC": StrategyStyle("#E69F00", "o", "circle"),
    "FC+CL": StrategyStyle("#D55E00", "s", "square"),
    "RE": StrategyStyle("#0072B2", "^", "triangle-up"),
    "FU": StrategyStyle("#009E73", "D", "diamond"),
}
_FURTHER_COLOURS = ("#CC79A7", "#56B4E9", "#999999")
_FURTHER_MARKERS = (("v", "triangle-down"), ("P", "cross"), ("p", "pentagon"), ("h", "hexagon"), ("*", "star"))


def style_of(strategy: str) -> StrategyStyle:
    """Returns the style of a strategy, which follows from its name alone."""
    if strategy in _STYLES:
        return _STYLES[strategy]

    # Any other name picks a further marker and colour by its checksum.
    code = zlib.crc32(strategy.encode())
    marker_code, colour_code = divmod(code, len(_FURTHER_COLOURS))
    marker, symbol = _FURTHER_MARKERS[marker_code % len(_FURTHER_MARKERS)]
    return StrategyStyle(_FURTHER_COLOURS[colour_code], marker, symbol)
