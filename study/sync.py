"""`python -m study.sync`: rebuilds MLflow's view of a study from the study's storage."""

import argparse
import os
import sys
from pathlib import Path

from fer.errors import InputError
from study.machine import keep_private, leave, leave_with_parent


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.sync`."""
    parser = argparse.ArgumentParser(
        prog="python -m study.sync",
        description="Adds to MLflow whatever it lacks of a study; running it again adds nothing twice.",
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    parser.add_argument("--out", default="runs", metavar="DIR", help="where its folder is (default: %(default)s)")
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get("STUDY_STORAGE"),
        help="its Optuna storage (default: STUDY_STORAGE, else the journal in its folder)",
    )
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow (default: MLFLOW_TRACKING_URI or sqlite:///mlruns/mlflow.db)"
    )
    parser.add_argument("--models", action="store_true", help="log the front's networks as MLflow models as well")
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="put them in MLflow's registry, with the aliases best-retention, best-target and knee",
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # networks: its parent adds the rest
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    keep_private()
    args = build_parser().parse_args(arguments)
    try:
        return _sync(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _sync(args: argparse.Namespace) -> int:
    from study import tracking
    from study.describe import hide_secrets
    from study.front import readable
    from study.reading import notice, readable_record
    from study.report import open_study

    if args.tracking_uri == "none":
        raise InputError("study.sync writes to MLflow", "--tracking-uri none", "Name a server or a database.")
    out = Path(args.out)
    info, trials = open_study(args.study, out, args.storage)
    kept, record = readable(trials), readable_record(info)
    said = notice([*kept.odd, *(f"the study's {name}" for name in record.odd)])
    if said:
        print(f"warning: {said}", file=sys.stderr)
    handle = tracking.open_tracking(args.tracking_uri, Path.cwd(), required=True)
    if handle is None:
        raise InputError("study.sync writes to MLflow", "MLFLOW_TRACKING_URI=none", "Give --tracking-uri.")
    if args.alone:
        leave_with_parent(os.getppid())
        return 0 if tracking.log_models(handle, info, trials, out / args.study, args.register) else 1
    done: set[int] = set()
    added = tracking.sync(handle, info, trials, done, force=True)
    complete = tracking.finish(handle, info, trials, done, out / args.study)
    if args.models or args.register:
        complete &= tracking.log_models(handle, info, trials, out / args.study, args.register)
    total = len(kept.value)
    print(
        f"{args.study}: {total} trials, {added} added, {len(done) - added} already there; {hide_secrets(handle['uri'])}"
    )
    return 0 if complete and len(done) >= total else 1


if __name__ == "__main__":
    leave(main())
