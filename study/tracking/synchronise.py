"""Rebuilds MLflow's view of a study from the study's storage, for `study.sync`."""

import argparse
import os
import sys
from pathlib import Path

from fer.errors import InputError
from study.exit_code import ExitCode
from study.machine import exit_with_parent
from study.reading_record import readable_record
from study.redaction import hide_secrets
from study.storage.records import open_study
from study.stored_values import notice
from study.tracking.mlflow_run import open_tracking
from study.trials import read_counted_trials


def synchronise(args: argparse.Namespace) -> ExitCode:
    """Adds to MLflow what it lacks of a study.

    Args:
        args: The checked command line of `study.sync`.

    Returns:
        Whether MLflow now has all that was to be added, as the exit code.

    Raises:
        InputError: There is no such study, or MLflow does not answer or is "none".
    """
    # The study.
    out = Path(args.out)
    folder = out / args.study
    stored_record, trials = open_study(args.study, out, args.storage)
    readable_trials = read_counted_trials(trials)
    odd_entries = [f"the study's {name}" for name in readable_record(stored_record).odd]
    warning = notice([*readable_trials.odd, *odd_entries])
    if warning:
        print(f"warning: {warning}", file=sys.stderr)

    # MLflow.
    run = open_tracking(args.tracking_uri, Path.cwd(), required=True)
    if run is None:
        raise InputError("study.sync writes to MLflow", "MLFLOW_TRACKING_URI=none", "Give --tracking-uri.")

    # Networks alone, for a parent that adds the rest.
    if args.alone:
        exit_with_parent(os.getppid())
        complete = run.log_models(stored_record, trials, folder, args.register)
        return ExitCode.DONE if complete else ExitCode.FAILED

    # What it lacks.
    logged: set[int] = set()
    added = run.sync(stored_record, trials, logged, force=True)
    complete = run.finish(stored_record, trials, logged, folder)
    if args.models or args.register:
        complete &= run.log_models(stored_record, trials, folder, args.register)

    total = len(readable_trials.value)
    print(f"{args.study}: {total} trials, {added} added, {len(logged) - added} already there; {hide_secrets(run.uri)}")
    return ExitCode.DONE if complete and len(logged) >= total else ExitCode.FAILED
