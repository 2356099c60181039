"""The study: search, workers, tracking, reports; the only place that knows optuna, mlflow and argparse."""

import sys

# `python -m study.X`: Python has not read the command yet (docs.python.org, sys.argv), and Ctrl-C may come any time.
if sys.argv[:1] == ["-m"]:
    from study.interrupts import handle_interrupts

    handle_interrupts()

    from study.cli import renew_streams

    renew_streams()
