"""`python -m study.worker`: claims trials of a running study, one after the other, until none is left.

`study.run` starts these on its own machine; anyone may start more, anywhere that reaches the storage.
"""

import argparse
import os
import sys

from fer.errors import InputError
from study.arguments import check_threads, decimal, integer
from study.cli import OutputLost, leave, run_command, tell_error
from study.command_parser import Parser
from study.exit_code import ExitCode
from study.machine import (
    WORKER_ENVIRONMENT,
    DeviceCrowded,
    check_device,
    exit_with_parent,
    gpu_count,
    is_out_of_memory,
    worker_environment,
)
from study.option_parsers import build_joining_parent, settle_places
from study.program import program
from study.redaction import one_line


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.worker`."""
    parser = Parser(
        program("worker"),
        "Joins a running study: trains its configurations, one after the other, until none is left. Any number may "
        "join, on any machine that reaches the study's storage.",
        [("--study STUDY --storage URL", "on another machine")],
        parents=[build_joining_parent()],
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study, or its folder")
    parser.aliases["--study-name"] = "--study"
    parser.add_argument(
        "--threads", type=integer, default=1, metavar="N", help="of this process (default: %(default)s)"
    )
    # What the parent of a study tells the workers that it starts: when to end, its process id, and that others share
    # the device.
    parser.add_argument("--until", type=decimal, default=float("inf"), help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=integer, help=argparse.SUPPRESS)
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker; returns the exit code."""
    return run_command(parse_and_join, arguments, interrupted="interrupted; the trial goes back to the study")


def parse_and_join(arguments: list[str] | None) -> int:
    """Checks the command line and works for the study until no trial is left; returns the exit code."""
    args = build_parser().parse_args(arguments)
    check_arguments(args)

    # This process needs a worker's environment, and ends with the parent that started it.
    if arguments is None and not WORKER_ENVIRONMENT.keys() <= os.environ.keys():
        # The allocator and the thread pools read their settings when a process starts, so it starts again.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], worker_environment())
    if args.parent:
        exit_with_parent(args.parent)

    return join_study(args)


def join_study(args: argparse.Namespace) -> int:
    """Works for the study until no trial is left; returns the exit code, which a parent acts upon."""
    # Not before: what a worker imports, such as Optuna, would keep --help waiting.
    from study.execution.worker_loop import run_worker  # noqa: PLC0415

    try:
        finished = run_worker(args)
    except DeviceCrowded:
        return ExitCode.DEVICE_CROWDED  # its parent goes on with fewer
    except (MemoryError, RuntimeError) as error:  # before its first trial
        if args.beside and is_out_of_memory(error):
            return ExitCode.DEVICE_CROWDED
        raise
    except OutputLost:
        raise
    except OSError as error:  # a full disk, a storage that went away
        if not args.parent:
            raise
        tell_error(one_line(error))
        return ExitCode.STUCK
    if not args.parent:
        print(f"{finished} trials finished here; none is left to claim")
    return ExitCode.DONE


def check_arguments(args: argparse.Namespace) -> None:
    """Raises InputError for arguments that no worker can have."""
    settle_places(args)
    check_threads(args.threads)
    check_device(args.device, gpu_count())
    if args.parent is not None and args.parent != os.getppid():
        raise InputError(
            "--parent is the process that started this worker", args.parent, "Leave it out: study.run gives it."
        )


if __name__ == "__main__":
    leave(main())
