"""`python -m study.sync`: rebuilds MLflow's view of a study from the study's storage."""

import argparse
import os
import sys
from pathlib import Path

from fer.errors import InputError
from study.arguments import Parser, check_path, check_tracking
from study.cli import leave, run_command
from study.exit_code import ExitCode
from study.machine import exit_with_parent
from study.option_parsers import build_place_parent, check_places
from study.redaction import hide_secrets


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.sync`."""
    parser = Parser(
        prog="python -m study.sync",
        description="Adds to MLflow whatever it lacks of a study; running it again adds nothing twice.",
        parents=[build_place_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow (default: MLFLOW_TRACKING_URI or sqlite:///mlruns/mlflow.db)"
    )
    parser.add_argument("--models", action="store_true", help="log the front's networks as MLflow models as well")
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="put them in MLflow's registry, with the aliases best-retention, best-target and knee",
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # networks; its parent adds the rest
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(sync, arguments)


def sync(arguments: list[str] | None) -> int:
    """Checks the command line, then adds to MLflow what it lacks of the study; returns the exit code."""
    args = build_parser().parse_args(arguments)
    check_places(args)
    check_path("--register", args.register)
    check_tracking(args.tracking_uri)

    from study.reading_record import readable_record
    from study.storage.records import open_study
    from study.stored_values import notice
    from study.tracking.mlflow_run import open_tracking
    from study.trials import readable

    if args.tracking_uri == "none":
        raise InputError("study.sync writes to MLflow", "--tracking-uri none", "Name a server or a database.")

    # The study.
    out = Path(args.out)
    info, trials = open_study(args.study, out, args.storage)
    readable_trials, record = readable(trials), readable_record(info)
    warning = notice([*readable_trials.odd, *(f"the study's {name}" for name in record.odd)])
    if warning:
        print(f"warning: {warning}", file=sys.stderr)

    # MLflow.
    run = open_tracking(args.tracking_uri, Path.cwd(), required=True)
    if run is None:
        raise InputError("study.sync writes to MLflow", "MLFLOW_TRACKING_URI=none", "Give --tracking-uri.")
    folder = out / args.study
    if args.alone:
        exit_with_parent(os.getppid())
        complete = run.log_models(info, trials, folder, args.register)
        return ExitCode.DONE if complete else ExitCode.FAILED

    # What it lacks.
    logged: set[int] = set()
    added = run.sync(info, trials, logged, force=True)
    complete = run.finish(info, trials, logged, folder)
    if args.models or args.register:
        complete &= run.log_models(info, trials, folder, args.register)
    total = len(readable_trials.value)
    print(f"{args.study}: {total} trials, {added} added, {len(logged) - added} already there; {hide_secrets(run.uri)}")
    return ExitCode.DONE if complete and len(logged) >= total else ExitCode.FAILED


if __name__ == "__main__":
    leave(main())
