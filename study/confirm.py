"""`python -m study.confirm`: trains the front and the named strategies again and reads the test sets, once.

The best of many trials on few validation images looks better than it is. Here every point of the front, and every
named strategy, is trained again with several seeds, each with its own order, draw of views, new weights and division of
the target into training and validation, and judged on test images that nothing before has read. A second reading is
refused unless asked for with --again, and is then recorded.
"""

import argparse

from study.arguments import integer
from study.cli import leave, run_command
from study.command_parser import Parser
from study.exit_code import ExitCode
from study.option_parsers import build_joining_parent, settle_places
from study.options import SEEDS
from study.program import program


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.confirm`."""
    parser = Parser(
        program("confirm"),
        (__doc__ or "").split("\n\n")[1],
        [("STUDY", "five trainings of each, then the test images"), ("STUDY --seeds 3", "quicker")],
        parents=[build_joining_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study, or its folder")
    parser.add_argument(
        "--seeds", type=integer, default=SEEDS, metavar="K", help="trainings of each (default: %(default)s)"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="evaluate the test images a second time, which is recorded (default: refuse)",
    )
    parser.add_argument("--workers", type=integer, metavar="N", help="processes (default: cores, 4 at most on a GPU)")
    parser.aliases["--n-jobs"] = "--workers"
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(check_and_confirm, arguments, resume="study.confirm")


def check_and_confirm(arguments: list[str] | None) -> int:
    """Checks the command line, then confirms the study; returns the exit code."""
    args = build_parser().parse_args(arguments)
    settle_places(args)

    # Not before: what a confirmation imports would keep --help waiting.
    from study.confirmation.runner import ConfirmationOptions, run_confirmation  # noqa: PLC0415

    run_confirmation(ConfirmationOptions(**vars(args)))
    return ExitCode.DONE


if __name__ == "__main__":
    leave(main())
