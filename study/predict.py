"""`python -m study.predict`: the expressions that a network of a study sees in images, or the network as ONNX."""

import argparse
import csv
import re
import sys
from pathlib import Path

from fer.errors import InputError, printable
from study.cli import leave, run_command
from study.command_parser import Parser
from study.exit_code import ExitCode
from study.program import program

ABOUT_SYNTHETIC = "learned from drawn faces: what it says of a photograph means nothing"
"""What is said of a network of synthetic faces, after its name."""

# A formula's first character, where a spreadsheet may begin a cell.
_FORMULA = re.compile(r"(^|[;,|])(\s*[=+\-@＝＋－＠])")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.predict`."""
    parser = Parser(
        program("predict"),
        "Prints the expressions that a network sees in images, as CSV: a line for each, the likeliest "
        "expression and the probability of every one. The face is found as in the datasets; where none is found, the "
        "whole image is taken for one. In an image's name, "
        "control characters are printed as escapes, and ' comes before what a spreadsheet would run as a formula.",
        [
            ("runs/STUDY/models/MODEL.safetensors face.png", "which expression"),
            ("MODEL --export MODEL.onnx", "as ONNX"),
        ],
    )
    parser.add_argument("model", metavar="MODEL", help="a network of a front, such as runs/STUDY/models/*.safetensors")
    parser.add_argument(
        "--network", metavar="NAME", default="", help="the function package.module:function of your own network, "
        "which is run (default: the file names its network)",
    )  # fmt: skip
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files, one face each")
    parser.add_argument(
        "--equalise", action="store_true", help="the study was run with --equalise (default: it was not)"
    )
    parser.add_argument(
        "--export", metavar="FILE", help="write the network as ONNX (needs the extra onnx; default: do not)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(lambda words: predict(build_parser().parse_args(words)), arguments)


def predict(args: argparse.Namespace) -> int:
    """Prints a line per image, and writes the network as ONNX if it is asked for.

    An image that cannot be read becomes a line on stderr, and the next one follows.

    Returns:
        The exit code: `ExitCode.FAILED` if an image could not be read.

    Raises:
        InputError: There is neither an image nor a file to export to, or the network cannot be used.
    """
    if not args.images and not args.export:
        raise InputError("study.predict needs images, or --export", "neither", "Give image files.")

    # torch: not for --help.
    from fer.model.weights import learned_from_synthetic_faces, origin_of  # noqa: PLC0415
    from fer.predict import UnusableNetwork, export_onnx, load_network, predict_image  # noqa: PLC0415

    # The network, and its copy as ONNX.
    network = load_network(args.model, args.network)
    if learned_from_synthetic_faces(Path(args.model)):
        print(f"warning: {printable(args.model)} {ABOUT_SYNTHETIC}", file=sys.stderr)
    origin = origin_of(Path(args.model))
    if origin:
        print(f"{printable(args.model)} comes from {origin}", file=sys.stderr)
    if args.export:
        path = export_onnx(network, args.export, args.model)
        print(f"written: {printable(path)}", file=sys.stderr)
    if not args.images:
        return ExitCode.DONE

    # A line per image, the head before the first.
    out = csv.writer(sys.stdout, lineterminator="\n")
    has_head = False
    unreadable = 0
    for image in args.images:
        try:
            probabilities = predict_image(network, image, args.equalise, args.model)
        except UnusableNetwork:
            raise
        except InputError as error:
            unreadable += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        likeliest = max(probabilities, key=lambda name: probabilities[name])
        columns = [f"{probability:.4f}" for probability in probabilities.values()]
        if not has_head:
            out.writerow(["image", "expression", *network.names])
            has_head = True
        out.writerow([spreadsheet_text(image), likeliest, *columns])
    return ExitCode.FAILED if unreadable else ExitCode.DONE


def spreadsheet_text(name: str) -> str:
    """Returns a name without what a terminal obeys or a spreadsheet runs.

    A spreadsheet runs a cell that begins with = + - or @ as a formula, and some spreadsheets begin a cell after a
    semicolon or a bar as well (owasp.org, "CSV injection"). A ' before it makes the cell a text.
    """
    return _FORMULA.sub(r"\1'\2", printable(name))


if __name__ == "__main__":
    leave(main())
