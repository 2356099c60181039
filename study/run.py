"""`python -m study.run`: the main job, from the data to the report."""

import dataclasses
import sys

from fer.architecture import PAPER
from study.cli import leave, run_command
from study.exit_code import ExitCode
from study.option_parsers import LIST_STRATEGIES, parse_options, parse_options_beside_list
from study.strategy_list import format_strategies


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(parse_and_run, arguments, resume="study.run")


def parse_and_run(arguments: list[str] | None) -> int:
    """Parses and checks the command line, then does the main job."""
    words = sys.argv[1:] if arguments is None else arguments
    if LIST_STRATEGIES in words:
        return list_strategies(words)
    options = parse_options(arguments)

    # Not before: what the main job imports would keep --help waiting.
    from study.pipeline.main_job import run_main_job  # noqa: PLC0415
    from study.pipeline.outer_job import run_outer_job  # noqa: PLC0415

    if options.outer is not None:
        return run_outer_job(options)
    run_main_job(options)
    return ExitCode.DONE


def list_strategies(arguments: list[str]) -> int:
    """Prints the known methods with their settings for the network that a command line names."""
    options = parse_options_beside_list(arguments)
    if options.network == PAPER:
        print(format_strategies())
        return ExitCode.DONE

    # Not before, see `parse_and_run`.
    from study.pipeline.network import find_network  # noqa: PLC0415

    without_files = dataclasses.replace(options, baseline=None, pretrained=None, classes=None)
    print(format_strategies(find_network(without_files).architecture))
    return ExitCode.DONE


if __name__ == "__main__":
    leave(main())
