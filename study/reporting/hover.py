"""What hovering over a network of the front shows: five short lines, which fit beside any point of a narrow chart."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from study.record import DOMAINS, number
from study.reporting.wording import candidate_name, expected_text, format_percent, format_value
from study.trials import OBJECTIVES

LONGEST_LINE = 44
"""Characters of a line; a longer one is cut, and the page shows all of it where the point is clicked."""

_SHORT = {"frozen_layers": "frozen", "fusion_ratio": "fusion"}
"""What the longest names of common hyperparameters are called here."""


def escape_for_plotly(value: object) -> str:
    """Returns a value as a label; plotly reads a little HTML in every label."""
    return escape(str(value), quote=False)


def hover_texts(networks: pd.DataFrame, varied: Sequence[str], baseline_source: float | None) -> list[str]:
    """Returns what hovering shows of each network, in five lines.

    Its name; its accuracy on the source and on the target; the share kept of the baseline's source accuracy, with the
    probability of being on the front where that is known; the hyperparameters that vary.

    Args:
        networks: Rows of `study.fronts.candidate_networks`.
        varied: The hyperparameters that vary over the study.
        baseline_source: The baseline's source accuracy, as a share; None where it is not known.
    """
    texts = []
    for network in networks.to_dict("records"):
        name = candidate_name(network)
        accuracies = [f"{format_percent(network[objective])} %" for objective in OBJECTIVES]
        if number(network.get("target_lower")) is not None:
            accuracies = [f"{expected_text(network, domain)} %" for domain in DOMAINS]

        # What it kept, and how sure its place on the front is.
        kept = format_percent(network["source_val"] / baseline_source) if baseline_source else "–"
        fourth = f"kept {kept} %"
        if number(network.get("probability")) is not None:
            fourth += f" · on front {format_percent(network['probability'], 0)} %"

        values = [f"{_short(name)} {format_value(network[name])}" for name in varied if name in network]
        lines = [
            name[0].upper() + name[1:],
            f"source {accuracies[0]}",
            f"target {accuracies[1]}",
            fourth,
            ", ".join(values) or "no hyperparameter varied",
        ]
        first, *others = (escape_for_plotly(_cut(line)) for line in lines)
        texts.append("<br>".join([f"<b>{first}</b>", *others]))
    return texts


def _short(name: str) -> str:
    return _SHORT.get(name, name.replace("_", " "))


def _cut(line: str) -> str:
    """Returns a line of LONGEST_LINE characters at most."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1].rstrip(' ,')}…"
