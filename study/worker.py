"""`python -m study.worker`: claims trials of a running study, one after the other, until none is left.

`study.run` starts these on its own machine; anyone may start more, anywhere that reaches the storage.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.arguments import Parser, check_device, check_threads, decimal, integer
from study.cli import DONE, OutputLost, leave, run_command, tell_error
from study.config import CROWDED, STUCK, WAYS, cache_folder, check_places, joining_parent
from study.machine import (
    WORKER_ENVIRONMENT,
    Crowded,
    gpu_count,
    is_out_of_memory,
    leave_with_parent,
    worker_environment,
)
from study.redaction import one_line

if TYPE_CHECKING:
    import optuna


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.worker`."""
    parser = Parser(prog="python -m study.worker", description="Joins a running study.", parents=[joining_parent()])
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study")
    parser.add_argument("--until", type=decimal, default=float("inf"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--threads", type=integer, default=1, metavar="N", help="of this process (default: %(default)s)"
    )
    parser.add_argument("--parent", type=integer, help=argparse.SUPPRESS)
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)  # others share its device
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker; returns the exit code."""
    return run_command(join, arguments, interrupted="interrupted; the trial goes back to the study")


def join(arguments: list[str] | None) -> int:
    """Checks the command line and works for the study until no trial is left."""
    args = build_parser().parse_args(arguments)
    check(args)
    if arguments is None and not WORKER_ENVIRONMENT.keys() <= os.environ.keys():
        # The allocator and the thread pools read their settings when a process starts, so it starts again.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], worker_environment())
    if args.parent:
        leave_with_parent(args.parent)
    try:
        finished = work(args)
    except Crowded:
        return CROWDED  # its parent goes on with fewer
    except (MemoryError, RuntimeError) as error:  # before its first trial
        if args.beside and is_out_of_memory(error):
            return CROWDED
        raise
    except OutputLost:
        raise
    except OSError as error:  # a full disk, a storage that went away
        if not args.parent:
            raise
        tell_error(one_line(error))
        return STUCK
    if not args.parent:
        print(f"{finished} trials finished here; none is left to claim")
    return DONE


def check(args: argparse.Namespace) -> None:
    """Raises InputError for arguments that no worker can have."""
    check_places(args)
    check_threads(args.threads)
    check_device(args.device, gpu_count())
    if args.parent is not None and args.parent != os.getppid():
        raise InputError(
            "--parent is the process that started this worker", args.parent, "Leave it out: study.run gives it."
        )


def work(args: argparse.Namespace, send: Callable[[Path], None] | None = None) -> int:
    """Claims and runs trials until there is none or the time is up.

    Args:
        args: The command line's.
        send: Is given each network that leads, where it does not stay on this machine.

    Returns:
        How many.
    """
    from study.patience import PATIENCE_SECONDS
    from study.slots import is_waiting
    from study.storage import load_study

    # A parent has reached this storage a moment ago, so a server that does not answer will soon.
    started_by_parent = args.parent or send is not None
    study = load_study(args.study, Path(args.out), args.storage, PATIENCE_SECONDS if started_by_parent else 0.0)
    if not is_waiting(study):
        return 0  # before torch is imported, which takes seconds
    from study.reading import required_record
    from study.trial import run_trial

    record = required_record(study.user_attrs.get("study"), args.study)
    bench = dataclasses.replace(make_bench(record, args), send=send)
    return run_all(study, record["options"], lambda trial: run_trial(trial, bench), args.until)


def run_all(
    study: "optuna.Study",
    options: Mapping[str, Any],
    run: "Callable[[optuna.Trial], object]",
    until: float = float("inf"),
) -> int:
    """Claims trials and runs them, one after the other, each under a lease; returns how many.

    Args:
        study: Whose trials.
        options: The study's, for sampler and seed.
        run: Runs a trial and tells its outcome.
        until: On the monotonic clock; no trial is begun after it.
    """
    from study.leases import leased
    from study.search import claim
    from study.slots import give_back

    finished = 0
    while time.monotonic() < until:
        trial = claim(study, options["sampler"], options["seed"])
        if trial is None:
            break
        try:
            with leased(study, trial):
                run(trial)
        except (KeyboardInterrupt, OSError, Crowded):  # not the trial's fault
            give_back(study, study.trials[trial.number], blame=False)
            raise
        finished += 1
    return finished


def make_bench(record: dict[str, Any], args: argparse.Namespace) -> Any:
    """Opens the data and the baseline that the study's record names."""
    from fer.engine import Setting
    from fer.runtime import runtime
    from study.baseline import reopen_baseline
    from study.lab import base_config, reopen
    from study.trial import Bench

    options = record["options"] | {"out": args.out, "data": args.data}
    known = record["baseline"]
    where = runtime(args.device or known["device"], known["precision"], getattr(args, "threads", 1))
    source, target = reopen(record["source"], options), reopen(record["target"], options)
    trained = reopen_baseline(record, options, source, where)
    few = options.get("rung_images", 0) or None
    setting = Setting(trained, source, target, where, cache_folder(args.out), few)
    return Bench(
        setting,
        options["space"],
        base_config(record),
        options["seed"],
        Path(args.out) / record["name"],
        early_stop=options["early_stop"] == "on",
        ways=WAYS if options["interpolate"] == "on" else (),
        beside=getattr(args, "beside", False),
        folds=options.get("folds", 0),
        floor=options.get("min_retention", 0.0) * record["baseline"]["source_val"],
    )


if __name__ == "__main__":
    leave(main())
