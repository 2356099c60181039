"""`python -m study.datasets`: what was found, counts, hazards, skipped files, and a contact sheet of the faces."""

import argparse
from pathlib import Path

from fer.errors import printable
from fer.image_format import GREY, SMALL, check_size
from study.arguments import check_dataset_name, check_path, integer
from study.cli import leave, run_command
from study.command_parser import Parser
from study.exit_code import ExitCode
from study.option_parsers import build_data_parent
from study.options import make_cache_folder
from study.program import program


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.datasets`."""
    parser = Parser(
        program("datasets"),
        "Lists the datasets that are found; with names, reads them, shows what is in them and what is "
        "wrong with them, and draws a contact sheet of their training faces.",
        [("--data DIR", "what is found in DIR"), ("mine --data DIR", "how DIR/mine is read")],
        parents=[build_data_parent()],
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a dataset (default: list all)")
    parser.add_argument(
        "--out", metavar="DIR", default="runs", help="for prepared data and contact sheets (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=integer,
        default=0,
        metavar="N",
        help="of the splits and of synthetic faces (default: %(default)s)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(list_or_show, arguments)


def list_or_show(arguments: list[str] | None) -> int:
    """Lists the datasets, or shows those that are named; returns the exit code."""
    args = build_parser().parse_args(arguments)
    check_path("--out", args.out)
    check_path("--data", args.data)
    if args.image_size is not None:
        check_size(args.image_size)
    for name in args.names:
        check_dataset_name("NAME", name)

    # Not before: what prints, reads and draws datasets would keep --help waiting, and matplotlib the list.
    from rich.console import Console  # noqa: PLC0415

    from study.reporting.dataset_summary import show_dataset, show_survey  # noqa: PLC0415

    console = Console(highlight=False)
    data_dir = Path(args.data) if args.data else None
    if not args.names:
        show_survey(data_dir, console)
        return ExitCode.DONE

    from fer.datasets import ReaderOptions, load  # noqa: PLC0415
    from fer.expressions import read_expressions  # noqa: PLC0415
    from study.reporting.contact_sheet import draw_contact_sheet  # noqa: PLC0415
    from study.reporting.wording import describe_unmet_labels, name_as_printed  # noqa: PLC0415

    reports = {}
    expressions = read_expressions(args.expressions)
    for name in args.names:
        dataset = load(
            name,
            data_dir=data_dir,
            kind=args.data_kind,
            cache_dir=make_cache_folder(args.out) / "datasets",
            options=ReaderOptions(
                args.equalise,
                args.keep_duplicates,
                args.seed,
                size=args.image_size or SMALL,
                colour=args.colour or GREY,
                expressions=expressions,
            ),
        )
        show_dataset(dataset, name, console)

        place = Path(args.out) / "datasets" / f"{dataset.name}-{dataset.digest}.png"
        draw_contact_sheet(dataset, place, name)
        console.print(f"contact sheet: {printable(place)}", markup=False, soft_wrap=True)
        reports[name_as_printed(dataset.name, dataset.report, name)] = dataset.parse_report()

    # A file may name more labels than one of its datasets has; one that none has may be misspelt.
    unmet = describe_unmet_labels(expressions, reports, args.expressions)
    if unmet:
        console.print(f"notice: {unmet}", markup=False, soft_wrap=True)
    return ExitCode.DONE


if __name__ == "__main__":
    leave(main())
