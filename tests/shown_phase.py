"""Shows a phase as a command does, for tests of terminals: `python shown_phase.py SECONDS [stuck]`."""

import sys
import time

from study.cli import leave, run_command
from study.execution.phase import Phase
from study.execution.progress import Progress
from study.exit_code import ExitCode
from study.interrupts import handle_interrupts


def show(progress: Progress, seconds: float) -> None:
    """Works at nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        progress.tell_state()
        time.sleep(0.02)


def work(arguments: list[str] | None) -> int:
    """Shows a phase for some seconds, and says that it ends; "stuck", Ctrl-C does not end it."""
    progress = Progress()
    progress.report_command = "python -m study.report NAME --out elsewhere"
    progress.say("a message that is a good deal longer than a terminal of eighty columns is wide, in plain words")
    phase = Phase("search", after_interrupt="workers stop")
    phase.total, phase.done, phase.counted = 10, 3, "3/10 trainings"
    phase.facts = [("rungs", "1: 2 of 8, 2: 1 of 2")]
    with progress.phase(phase):
        try:
            show(progress, float(sys.argv[1]))
        except KeyboardInterrupt:
            if "stuck" in sys.argv:
                time.sleep(60)
            raise
    progress.warn("it has ended")
    return ExitCode.DONE


if __name__ == "__main__":
    handle_interrupts()
    leave(run_command(work, sys.argv[1:], resume="study.run"))
