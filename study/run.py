"""`python -m study.run`: the main job, from the data to the report."""

from study.cli import leave, run_command
from study.exit_code import ExitCode
from study.option_parsers import parse_options


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(parse_and_run, arguments, resume="study.run")


def parse_and_run(arguments: list[str] | None) -> int:
    """Parses and checks the command line, then does the main job."""
    options = parse_options(arguments)

    # Not before: what the main job imports would keep --help waiting.
    from study.pipeline.main_job import run_main_job  # noqa: PLC0415
    from study.pipeline.outer_job import run_outer_job  # noqa: PLC0415

    if options.outer is not None:
        return run_outer_job(options)
    run_main_job(options)
    return ExitCode.DONE


if __name__ == "__main__":
    leave(main())
