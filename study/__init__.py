"""The study: search, workers, tracking, reports; the only place that knows optuna, mlflow and argparse."""

import sys

from study.program import is_console_script

# `python -m study.X`: Python has not read the command yet (docs.python.org, sys.argv), and Ctrl-C may come any time.
if sys.argv[:1] == ["-m"] or is_console_script():
    from study.interrupts import handle_interrupts

    handle_interrupts()

    from study.cli import renew_streams

    renew_streams()
