"""`python -m study.report`: writes everything a study exports, again from its storage."""

import argparse
import sys
from pathlib import Path

from study.cli import leave, run_command
from study.command_parser import Parser
from study.exit_code import ExitCode
from study.option_parsers import build_place_parent, settle_places
from study.program import program
from study.record import StudyRecord
from study.storage.records import open_study


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.report`."""
    parser = Parser(
        program("report"),
        "Writes a study's tables, figures and report again from its storage, also while the study runs.",
        [("STUDY", "of runs/STUDY"), ("DIR/STUDY", "of another folder")],
        parents=[build_place_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study, or its folder")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(export_again, arguments)


def export_again(arguments: list[str] | None) -> int:
    """Writes a study's exports again and prints the paper's table where there is one; returns the exit code."""
    args = build_parser().parse_args(arguments)
    settle_places(args)

    # What --help must not load: optuna, pandas, the figures.
    import rich  # noqa: PLC0415

    from study.fronts import front_table  # noqa: PLC0415
    from study.reporting.export import export  # noqa: PLC0415
    from study.reporting.terminal import for_terminal  # noqa: PLC0415
    from study.tracking.models import damage_warning, damaged_networks  # noqa: PLC0415
    from study.tuning.expected_table import expected_table  # noqa: PLC0415

    # Export.
    stored_record, trials = open_study(args.study, Path(args.out), args.storage)
    folder = Path(args.out) / args.study
    written = export(stored_record, trials, folder)

    # Say what the user should know.
    rows = expected_table(StudyRecord.from_json(stored_record), trials)
    damaged = damaged_networks(front_table(rows), folder)
    if damaged:
        print(f"warning: {damage_warning(damaged)}", file=sys.stderr)
    paper_table = for_terminal(StudyRecord.from_json(stored_record), rows)
    if paper_table is not None:
        rich.print(paper_table)
    print(f"{len(written)} files in {folder}; open {folder / 'report.html'}")
    return ExitCode.DONE


if __name__ == "__main__":
    leave(main())
