"""What hovering over a point of a figure shows."""

from html import escape
from typing import Any

import pandas as pd

from study.record import DOMAINS, number
from study.reporting.wording import candidate_name, count_of, expected_text, format_percent, format_value
from study.trials import OBJECTIVES, hyperparameter_names


def escape_for_plotly(value: object) -> str:
    """Returns a value as a label; plotly reads a little HTML in every label."""
    return escape(str(value), quote=False)


def hover_texts(networks: pd.DataFrame) -> list[str]:
    """Returns what hovering shows of each row, line by line.

    The first line has the network's name, the second both objectives; each hyperparameter has a line of its own.

    Args:
        networks: Rows of `study.trials.trials_table`, or of `study.fronts.candidate_networks`.
    """
    # As on the front, no hyperparameter is called "trial".
    names = [name for name in hyperparameter_names(networks) if name != "trial"]

    texts = []
    for network in networks.to_dict("records"):
        name = candidate_name(network)
        head = f"<b>{escape_for_plotly(name[0].upper() + name[1:])}</b>"

        source, target = (format_percent(network[objective]) for objective in OBJECTIVES)
        objectives = f"source {source} % · target {target} %"
        if number(network.get("target_lower")) is not None:
            source, target = (expected_text(network, domain) for domain in DOMAINS)
            probability = format_percent(network["probability"], 0)
            objectives = f"expected: source {source} % · target {target} % · on the front {probability} %"
            objectives += f"<br>rung {network['rung']}, {_describe_trainings(network)}"
        hyperparameters = [
            f"{escape_for_plotly(name)}: {escape_for_plotly(format_value(network[name]))}" for name in names
        ]
        texts.append("<br>".join([head, objectives, *hyperparameters]))
    return texts


def _describe_trainings(network: dict[Any, Any]) -> str:
    """Returns "5 trainings on 3 folds", by which a network was judged."""
    trainings = count_of(int(network["trainings"]), "training")
    return f"{trainings} on {count_of(int(network['folds']), 'fold')}"
