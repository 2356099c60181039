"""`python -m study.sync`: rebuilds MLflow's view of a study from the study's storage."""

import argparse

from fer.errors import InputError
from study.arguments import check_path, check_tracking
from study.cli import leave, run_command
from study.command_parser import Parser
from study.option_parsers import build_place_parent, settle_places
from study.program import program
from study.training_options import DEFAULT_TRACKING


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.sync`."""
    parser = Parser(
        program("sync"),
        "Adds to MLflow whatever it lacks of a study; running it again adds nothing twice.",
        [("STUDY", f"into {DEFAULT_TRACKING}"), ("STUDY --models --register NAME", "with its networks")],
        parents=[build_place_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study, or its folder")
    parser.add_argument(
        "--tracking-uri", metavar="URI", help=f"MLflow (default: MLFLOW_TRACKING_URI, else {DEFAULT_TRACKING})"
    )
    parser.add_argument(
        "--models", action="store_true", help="log the front's networks as MLflow models as well (default: do not)"
    )
    parser.add_argument(
        "--register",
        metavar="NAME",
        help="put them in MLflow's registry, with the aliases recommended, best-retention and best-target "
        "(default: do not)",
    )
    # What the parent of a study tells the process that logs its networks: the parent adds the rest itself.
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(sync, arguments)


def sync(arguments: list[str] | None) -> int:
    """Checks the command line, then adds to MLflow what it lacks of the study; returns the exit code."""
    args = build_parser().parse_args(arguments)
    settle_places(args)
    check_path("--register", args.register)
    check_tracking(args.tracking_uri)

    if args.tracking_uri == "none":
        raise InputError("study.sync writes to MLflow", "--tracking-uri none", "Name a server or a database.")

    # Only now, since --help must not wait for Optuna and pandas.
    from study.tracking.synchronise import synchronise  # noqa: PLC0415

    return synchronise(args)


if __name__ == "__main__":
    leave(main())
