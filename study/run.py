"""`python -m study.run`: the main job, from the data to the report."""

from typing import TYPE_CHECKING

from study.cli import leave, run_command
from study.execution.progress import Progress
from study.options import (
    parse_options,
)
from study.pipeline.main_job import run_study
from study.pipeline.prepare import resolve_auto

if TYPE_CHECKING:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(prepare_and_run, arguments, resume="study.run")


def prepare_and_run(arguments: list[str] | None) -> int:
    """Checks the command line, then does the main job."""
    options = resolve_auto(parse_options(arguments))
    progress = Progress(quiet=options.quiet)
    progress.say(f"{options.source} → {options.target}: {options.wanted} trials, space {options.space}")
    return run_study(options, progress)


if __name__ == "__main__":
    leave(main())
