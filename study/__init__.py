"""The study: search, workers, tracking, reports; the only place that knows optuna, mlflow and argparse.

From Python, `study.search(target="tfeid", trials=200)` and `study.load_study("runs/NAME")`, see `study.api`.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import StudyNetwork, StudyResults, load_study, search

__all__ = ["StudyNetwork", "StudyResults", "load_study", "search"]

from study.program import is_console_script

# `python -m study.X`: Python has not read the command yet (docs.python.org, sys.argv), and Ctrl-C may come any time.
if sys.argv[:1] == ["-m"] or is_console_script():
    from study.interrupts import handle_interrupts

    handle_interrupts()

    from study.cli import renew_streams

    renew_streams()


def __getattr__(name: str) -> Any:  # noqa: ANN401  # a function or a class
    """Returns what the package offers to Python code, imported when it is first used: commands are to start fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from study import api  # noqa: PLC0415

    return getattr(api, name)
