"""`python -m study.worker`: claims trials of a running study, one after the other, until none is left.

`study.run` starts these on its own machine; anyone may start more, anywhere that reaches the storage.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer.errors import InputError
from study.config import DONE, INTERRUPTED, WAYS, WRONG_USE, cache_folder, joining_parent
from study.machine import WORKER_ENVIRONMENT, leave_with_parent, worker_environment

BEAT_SECONDS = 30.0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.worker`."""
    parser = argparse.ArgumentParser(
        prog="python -m study.worker", description="Joins a running study.", parents=[joining_parent()]
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study")
    parser.add_argument("--until", type=float, default=float("inf"), help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker; returns the exit code."""
    args = build_parser().parse_args(arguments)
    if args.parent:
        leave_with_parent(args.parent)
    try:
        finished = work(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("interrupted; the trial goes back to the study", file=sys.stderr)
        return INTERRUPTED
    if not args.parent:
        print(f"{finished} trials finished here; none is left to claim")
    return DONE


def work(args: argparse.Namespace) -> int:
    """Claims and runs trials until there is none or the time is up; returns how many."""
    from study.leases import beat
    from study.search import claim
    from study.slots import give_back, is_waiting
    from study.storage import load_study

    study = load_study(args.study, Path(args.out), args.storage)
    if not is_waiting(study):
        return 0  # before torch is imported, which takes seconds
    from study.trial import run_trial

    record = study.user_attrs["study"]
    options = record["options"]
    bench = make_bench(record, args)
    finished = 0
    while time.time() < args.until:
        trial = claim(study, options["sampler"], options["seed"])
        if trial is None:
            break
        ended = threading.Event()
        pulse = threading.Thread(target=_beat_until, args=(ended, lambda trial=trial: beat(study, trial)), daemon=True)
        pulse.start()
        try:
            run_trial(trial, bench)
        except KeyboardInterrupt:
            give_back(study, study.trials[trial.number], blame=False)
            raise
        finally:
            ended.set()
        finished += 1
    return finished


def make_bench(record: dict[str, Any], args: argparse.Namespace) -> Any:
    """Opens the data and the baseline that the study's record names."""
    from fer import baseline
    from fer.engine import Setting
    from fer.runtime import runtime
    from study.lab import base_config, reopen
    from study.trial import Bench

    options = record["options"] | {"out": args.out, "data": args.data}
    where = runtime(args.device or record["baseline"]["device"], record["baseline"]["precision"])
    path = Path(record["baseline"]["file"])
    if not path.exists():
        path = cache_folder(args.out) / "baselines" / path.name
    trained = baseline.load(path, where)
    if trained.digest != record["baseline"]["digest"]:
        raise InputError(
            "a study's workers need its own baseline", f"{path} with hash {trained.digest}", "Copy the study's file."
        )
    source, target = reopen(record["source"], options), reopen(record["target"], options)
    setting = Setting(trained, source, target, where, cache_folder(args.out))
    return Bench(
        setting,
        options["space"],
        base_config(record),
        options["seed"],
        Path(args.out) / record["name"],
        early_stop=options["early_stop"] == "on",
        ways=WAYS if options["interpolate"] == "on" else (),
    )


def _beat_until(ended: threading.Event, beat: Callable[[], None]) -> None:
    """Gives a sign of life now and then, until the trial has ended."""
    while not ended.wait(BEAT_SECONDS):
        try:
            beat()
        except Exception as error:  # a storage that is away for a moment; the trial itself will meet it, or not
            print(f"warning: no sign of life could be given ({type(error).__name__})", file=sys.stderr)


if __name__ == "__main__":
    build_parser().parse_args()
    if not WORKER_ENVIRONMENT.keys() <= os.environ.keys():
        # The allocator and the thread pools read their settings when a process starts, so it starts again.
        os.execve(sys.executable, [sys.executable, "-m", "study.worker", *sys.argv[1:]], worker_environment())
    sys.exit(main())
