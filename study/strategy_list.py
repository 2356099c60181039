"""What `study.run --list-strategies` prints. Light to import: `--help` must answer at once."""

import textwrap
from collections.abc import Mapping

from fer.adaptation.methods import LIBRARY, ON_REQUEST, STRATEGIES, Method
from fer.architecture import VGG13, Architecture, Depth
from search_spaces.paper import FROM_BASELINE
from study.command_parser import WIDTH

FREE_FINE_TUNING = "FT"
"""What the search calls fine-tuning above a frozen prefix of its choice; it is no named method."""

_NAME_COLUMN = 14


def format_strategies(network: Architecture = VGG13) -> str:
    """Returns the named methods with what each trains, sets and comes from, in lines of a terminal's width.

    Args:
        network: What their settings are for; its blocks are counted.
    """
    depth = network.depth
    hint = "; give --network NAME for those of another network" if network.is_paper else ""
    literature = {name: method for name, method in LIBRARY.items() if name not in {*STRATEGIES, *ON_REQUEST}}
    parts = [
        textwrap.fill(
            f"frozen_layers counts blocks: {network.name} has {depth.blocks}, {depth.head} of them before the "
            f"head{hint}.",
            WIDTH - 1,
        ),
        "\nThe paper's strategies, which a study tries first:",
        _format_methods(STRATEGIES, depth),
        "\nWhat the search tries beside them, with every number of frozen blocks:",
        _format_row(FREE_FINE_TUNING, "fine-tuning: the blocks above any number of frozen blocks"),
        "\nMethods of the literature, which --space full tries as well:",
        _format_methods(literature, depth),
        "\nTried where a --try asks for it:",
        _format_methods(ON_REQUEST, depth),
        "\nIn --space paper alone, where FU is the paper's, trained from scratch:",
        _format_row(
            FROM_BASELINE, "fusion at the natural ratio that starts from the baseline, where a --try asks for it"
        ),
    ]
    return "\n".join(parts)


def _format_methods(methods: Mapping[str, Method], depth: Depth) -> str:
    """Returns for each method what it does and comes from, and below it the hyperparameters that it sets at a depth."""
    rows = []
    for name, method in methods.items():
        pairs = method.settings_at(depth).items()
        settings = ", ".join(f"{hyperparameter} {value}" for hyperparameter, value in pairs)
        rows += [_format_row(name, str(method)), _format_row("", settings)]
    return "\n".join(rows)


def _format_row(name: str, text: str) -> str:
    """Returns a text beside a name, wrapped below itself."""
    return textwrap.fill(
        text, WIDTH - 1, initial_indent=f"  {name:{_NAME_COLUMN - 2}}", subsequent_indent=" " * _NAME_COLUMN
    )
