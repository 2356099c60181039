"""The parsers that the options of a study give. Light to import: `--help` must answer at once."""

import argparse
from pathlib import Path, PurePath
from typing import Any

from fer.architecture import PAPER
from fer.errors import InputError, shorten
from fer.image_format import GREY, SMALL, format_levels
from study.arguments import LONGEST_SHOWN, check_path, check_storage, check_study_name
from study.command_parser import Parser
from study.declared_options import add_options, declared, options_from_values, read_options
from study.options import StudyOptions
from study.program import program
from study.study_path import find_study_folder

LIST_STRATEGIES = "--list-strategies"
DATA_OPTIONS = ("data", "data_kind", "expressions", "equalise", "image_size", "colour", "keep_duplicates")


# The command `study.run`.


def parse_options(arguments: list[str] | None = None) -> StudyOptions:
    """Returns the options of a command line of `python -m study.run`.

    Args:
        arguments: Words of the command line; None are the process's own.

    Raises:
        InputError: A value is one that no study can have, or options contradict each other.
    """
    options = read_options(StudyOptions, build_parser(), arguments)
    check_combinations(options)
    return options


def parse_options_beside_list(arguments: list[str]) -> StudyOptions:
    """Returns the options that a command line has beside `LIST_STRATEGIES`; none of them is required.

    Raises:
        InputError: A value is one that no study can have, or the paper's network does not take such images.
    """
    parser = build_parser()
    with parser.requiring_nothing():
        options = read_options(StudyOptions, parser, [word for word in arguments if word != LIST_STRATEGIES])
    _check_images(options)
    return options


def build_parser() -> Parser:
    """Returns the parser of `python -m study.run`."""
    parser = Parser(
        program("run"),
        "Adapts a facial-expression network to a small dataset so that it forgets the large one least. The same "
        "command again goes on where it stopped.",
        [
            ("--target tfeid", "the whole job"),
            ("--target tfeid --preset tiny --trials 6", "a minute"),
            ("--target mine --data DIR --confirm 5", "your faces"),
        ],
        everyday=[name for name, declaration in declared(StudyOptions).items() if declaration.everyday],
    )
    add_options(parser, StudyOptions)
    parser.endings.add_argument(
        LIST_STRATEGIES,
        action="store_true",
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="print the known methods and their hyperparameters, of --network where it is given, and end",
    )
    return parser


def check_combinations(options: StudyOptions) -> None:
    """Raises InputError for options that contradict each other."""
    if options.target == options.source:
        raise InputError("--target and --source are two datasets", options.target, "Choose another target.")
    _check_images(options)
    if options.baseline and options.baseline_epochs:
        raise InputError(
            "--baseline is used as it is, which contradicts --baseline-epochs",
            options.baseline,
            "Leave one of them out.",
        )
    if options.baseline and options.pretrained:
        raise InputError(
            "--baseline is a trained network and --pretrained what one is trained from",
            f"{options.baseline} and {options.pretrained}",
            "Give one of them.",
        )
    if options.classes and not options.baseline:
        raise InputError("--classes says what the logits of --baseline stand for", "no --baseline", "Leave it out.")
    if options.space == "paper" and options.amount != 1.0:
        raise InputError(
            "--space paper has both amounts in its grid, so --amount contradicts it", options.amount, "Leave it out."
        )
    if options.sampler == "grid" and options.space != "paper":
        raise InputError(
            "--sampler grid needs a space without continuous hyperparameters",
            f"--space {options.space}",
            "Use --space paper, or another sampler.",
        )
    if options.ray and not options.storage:
        raise InputError(
            "--ray needs a storage that every node reaches",
            "no --storage",
            "Give --storage postgresql://… or grpc://….",
        )
    if options.outer is not None:
        _check_outer(options)
    if options.data_kind == "real" and options.data is None:
        raise InputError("--data-kind real needs a place to look", "no --data and no FER_DATA", "Give --data DIR.")


def _check_images(options: StudyOptions) -> None:
    """Raises InputError for images that the paper's network does not take."""
    if options.network != PAPER:
        return
    usual = {"image_size": SMALL, "colour": GREY, "mean": None, "std": None}
    for name, value in usual.items():
        asked = getattr(options, name)
        if asked not in (None, value):
            shown = format_levels(asked) if isinstance(asked, tuple) else asked
            raise InputError(
                f"{PAPER} takes grey images of {SMALL} rows and columns, scaled as it was built for",
                f"--{name.replace('_', '-')} {shown}",
                "Leave it out, or take another network, such as --network resnet18.",
            )


def _check_outer(options: StudyOptions) -> None:
    """Raises InputError for options that nested cross-validation contradicts."""
    if options.confirm:
        raise InputError(
            "--outer tests what each of its searches recommends, once, which contradicts --confirm",
            options.confirm,
            "Leave one of them out.",
        )
    if options.warm_start:
        raise InputError(
            "--outer tests each search with people whom it never saw, but an earlier study may have seen them",
            f"--warm-start {options.warm_start}",
            "Leave one of them out.",
        )
    if options.register:
        raise InputError(
            "--outer judges the search and hands over no network of its own, so there is none to register",
            f"--register {options.register}",
            "Leave it out, and register the networks of a study without --outer.",
        )


# The options from Python.


def options_from(**values: Any) -> StudyOptions:  # noqa: ANN401  # each option has a type of its own
    """Returns the options of a study that is started from Python, read and checked as those of a command line.

    Args:
        **values: By the names of the command line's options, with underscores; what is left out has its default.

    Raises:
        InputError: An option is unknown, its value is one that no study can have, or options contradict each other.
    """
    options = options_from_values(StudyOptions, values)
    check_combinations(options)
    return options


# Options that several commands share.


def build_data_parent() -> argparse.ArgumentParser:
    """Returns the options about data."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser, StudyOptions, DATA_OPTIONS)
    return parser


def build_place_parent() -> argparse.ArgumentParser:
    """Returns the options of every command for an existing study: where it is."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser, StudyOptions, ("storage", "out"), grouped=False)
    return parser


def build_joining_parent() -> argparse.ArgumentParser:
    """Returns the options of the commands that compute for an existing study."""
    parser = argparse.ArgumentParser(add_help=False, parents=[build_place_parent()])
    add_options(parser, StudyOptions, ("data",), grouped=False)
    parser.add_argument("--device", default=None, metavar="DEVICE", help="cpu, cuda, cuda:1 (default: the study's)")
    return parser


def settle_places(args: argparse.Namespace) -> None:
    """Checks the values of `build_place_parent`; a study that is called by a path gets its name, and --out the folder.

    Args:
        args: The values of a command line, with the study as the user called it.

    Raises:
        InputError: No study can have such a name, path or URL, or the path and --out contradict each other.
    """
    folder = find_study_folder(args.study)
    if folder is not None:
        _check_same_place(args.study, folder, args.out)
        args.study = folder.name
        args.out = str(folder.parent)

    _check_no_path(args.study)
    check_study_name(args.study)
    check_storage(args.storage)
    check_path("--out", args.out)
    check_path("--data", getattr(args, "data", None))


def _check_same_place(study: str, folder: Path, out: str) -> None:
    """Raises InputError where --out was given and is not the folder that a study's path says."""
    is_given = out != StudyOptions.out
    if is_given and Path(out).absolute() != folder.parent.absolute():
        raise InputError(
            "a study is called by its path, or by its name and --out",
            f"{shorten(study, LONGEST_SHOWN)} with --out {shorten(out, LONGEST_SHOWN)}",
            "Leave --out out.",
        )


def _check_no_path(study: str) -> None:
    """Raises InputError for a path that leads to no study."""
    folder = PurePath(study)
    if folder.name and folder.name != study:
        raise InputError(
            "a study is called by its name, with --out for the folder that holds it, or by the path of its own folder",
            f"{shorten(study, LONGEST_SHOWN)!r}, where no study is",
            f"Give {shorten(folder.name, LONGEST_SHOWN)} --out {shorten(str(folder.parent), LONGEST_SHOWN)}.",
        )
