"""`python -m study.predict`: what a network that a study left behind sees in images; or the network as ONNX."""

import argparse
import csv
import re
import sys

from fer.errors import InputError, printable
from study.arguments import Parser
from study.cli import DONE, FAILED, leave, run_command


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.predict`."""
    parser = Parser(
        prog="python -m study.predict",
        description="Prints the expressions that a network sees in images, as CSV: a line for each, the likeliest "
        "expression and the probability of every one. The face is found as in the datasets. In an image's name, "
        "control characters are printed as escapes, and ' comes before what a spreadsheet would run as a formula.",
    )
    parser.add_argument("model", metavar="MODEL", help="a network of a front, such as runs/STUDY/models/*.safetensors")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="image files, one face each")
    parser.add_argument("--equalise", action="store_true", help="the study was run with --equalise")
    parser.add_argument("--export", metavar="FILE", help="write the network as ONNX (needs the extra onnx)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(lambda words: predict(build_parser().parse_args(words)), arguments)


def predict(args: argparse.Namespace) -> int:
    """Prints a line per image; an image that cannot be read is told on stderr, and the others go on."""
    if not args.images and not args.export:
        raise InputError("study.predict needs images, or --export", "neither", "Give image files.")
    from fer.expressions import EXPRESSIONS
    from fer.predict import UnusableNetwork, export_onnx, load_network, predict_image

    network = load_network(args.model)
    if args.export:
        print(f"written: {printable(export_onnx(network, args.export, args.model))}", file=sys.stderr)
    if not args.images:
        return DONE

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["image", "expression", *EXPRESSIONS])
    missed = 0
    for image in args.images:
        try:
            found = predict_image(network, image, args.equalise, args.model)
        except UnusableNetwork:
            raise
        except InputError as error:
            missed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        likeliest = max(found, key=lambda name: found[name])
        out.writerow([spreadsheet_text(image), likeliest, *(f"{share:.4f}" for share in found.values())])
    return FAILED if missed else DONE


def spreadsheet_text(name: str) -> str:
    """Returns a name that neither a terminal obeys nor a spreadsheet runs.

    Spreadsheets run a cell that begins with = + - or @ as a formula, and some begin cells after a semicolon or a bar
    as well (owasp.org, "CSV injection"); there ' comes before it, which they take for text.
    """
    return _FORMULA.sub(r"\1'\2", printable(name))


_FORMULA = re.compile(r"(^|[;,|])(\s*[=+\-@＝＋－＠])")


if __name__ == "__main__":
    leave(main())
