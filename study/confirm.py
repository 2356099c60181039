"""`python -m study.confirm`: trains the front and the named strategies again and reads the test sets, once.

The best of many trials on few validation images looks better than it is. Here every point of the front, and every
named strategy, is trained anew with several seeds, each with its own order, draw of views, new weights and division of
the target into training and validation, and judged on test images that nothing before has read. A second reading is
refused unless asked for with --again, and is then recorded.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.arguments import Parser, integer
from study.cli import DONE, leave, run_command
from study.config import check_places, joining_parent
from study.describe import SIDES
from study.machine import gpu_count, leave_with_parent, usual_workers, worker_environment
from study.retrain import ATTRIBUTE, answers_path, truth_path, work

if TYPE_CHECKING:
    import optuna

    from fer.adaptation import AdaptationConfig

SEEDS = 5
LEVEL = 0.95


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.confirm`."""
    parser = Parser(
        prog="python -m study.confirm",
        description=(__doc__ or "").split("\n\n")[1],
        parents=[joining_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    parser.add_argument(
        "--seeds", type=integer, default=SEEDS, metavar="K", help="trainings of each (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="open the test sets a second time, which is recorded")
    parser.add_argument("--workers", type=integer, metavar="N", help="processes (default: cores, 4 at most on a GPU)")
    parser.add_argument("--part", type=integer, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(confirm_or_part, arguments, resume="study.confirm")


def confirm_or_part(arguments: list[str] | None) -> int:
    """Confirms a study, or is one of the processes that train a part for it."""
    args = build_parser().parse_args(arguments)
    check_places(args)
    if args.parent:
        leave_with_parent(args.parent)
    if args.part is not None:
        return work(args)
    confirm(args)
    return DONE


def confirm(args: argparse.Namespace) -> None:
    """Confirms a study and writes its exports anew."""
    import rich

    from study.front import table
    from study.paper import for_terminal
    from study.report import export
    from study.storage import load_study, trials_of

    if args.seeds < 1 or (args.workers is not None and args.workers < 1):
        raise InputError("--seeds and --workers are at least 1", f"{args.seeds} and {args.workers}", "Give more.")
    study = load_study(args.study, Path(args.out), args.storage)
    record = study.user_attrs["study"]
    folder = Path(args.out) / args.study
    opening = begin(study, args.seeds, args.again)
    jobs = len(opening["jobs"])
    print(
        f"confirming {args.study}: {jobs} trainings with {args.seeds} seeds each; the test sets are opened", flush=True
    )
    device = args.device or record["baseline"]["device"]
    run_parts(args, args.workers or usual_workers("cuda" if device == "auto" and gpu_count() else device))
    opening |= {"finished": _now(), "results": results(opening, folder, record["options"]["seed"])}
    study.set_user_attr(ATTRIBUTE, opening)
    export(record | {ATTRIBUTE: opening}, trials_of(study), folder)
    rich.print(as_rich(record, opening))
    paper = for_terminal(record | {ATTRIBUTE: opening}, table(trials_of(study)))
    if paper is not None:
        rich.print(paper)
    print(f"report: {folder / 'report.html'}; for MLflow: python -m study.sync {args.study}")


def begin(study: "optuna.Study", seeds: int, again: bool) -> dict[str, Any]:
    """Records that the test sets are opened, and for what; goes on with an opening that was cut off."""
    known = study.user_attrs.get(ATTRIBUTE)
    if known and not known.get("finished") and known["seeds"] == seeds:
        return known
    if known and not again:
        raise InputError(
            "a study's test sets are opened once",
            f"opened {known['opened']} with {known['seeds']} seeds",
            "Read its report, or open them a second time with --again, which is recorded.",
        )
    jobs = plan(study)
    earlier = [*known.get("earlier", []), known["opened"]] if known else []
    opening = {"opened": _now(), "seeds": seeds, "jobs": jobs, "earlier": earlier}
    study.set_user_attr(ATTRIBUTE, opening)
    return opening


def plan(study: "optuna.Study") -> list[dict[str, Any]]:
    """Returns what is trained again: a job per configuration, with the places on its way that count.

    The baseline comes first, because all others are compared with it; then the front, then the named strategies that
    are not on it.
    """
    from fer.adaptation import fingerprint, from_knobs, knobs
    from study.front import front, models_of, points, table
    from study.storage import trials_of

    trials = trials_of(study)
    rows, configs = table(trials), {trial.number: trial.user_attrs.get("config") for trial in trials}
    leading = front(rows)
    if leading.empty:
        raise InputError("a study to confirm has a finished trial", study.study_name, "Let it go on with study.run.")
    end = {"alpha": 1.0, "slope": 0.0, "model": "", "front": False}
    jobs: dict[str, dict[str, Any]] = {}
    for name, strategy, config in references(study.user_attrs["study"]):
        jobs[fingerprint(config)] = {
            "name": name, "named": name, "strategy": strategy, "config": knobs(config), "ways": [end]
        }  # fmt: skip
    every = points(rows)
    every["model"] = models_of(every)
    for row in every[every["model"].isin(leading["model"])].to_dict("records"):
        number, config = row["number"], from_knobs(configs[row["number"]] or {})
        new = {"name": "", "named": "", "strategy": row["strategy"], "config": knobs(config), "ways": []}
        job = jobs.setdefault(fingerprint(config), new)
        job["name"] = job["name"] if job["name"].startswith("trial") else f"trial {number}"
        way = {"alpha": row["share"], "slope": row["slope"], "model": row["model"], "front": True}
        way |= {f"{domain}_val": row[f"{domain}_val"] for domain in SIDES}
        job["ways"] = [*(kept for kept in job["ways"] if kept is not end or way["alpha"] != 1), way]
    first, *others = jobs.values()
    others.sort(key=lambda job: not any(way["front"] for way in job["ways"]))
    return [first, *others]


def references(record: dict[str, Any]) -> list[tuple[str, str, "AdaptationConfig"]]:
    """Returns what every front is confirmed beside, as name, strategy, configuration: the paper's five.

    In the paper's space that is its whole table, with both shares of the target's training set.
    """
    from fer.adaptation import STRATEGIES, named
    from study.lab import base_config
    from study.paper import AMOUNTS

    base, found = base_config(record), []
    for strategy in STRATEGIES:
        if record["options"]["space"] == "paper" and strategy != "BL":
            shares = [(f"{strategy} {share:.0%}".replace("%", " %"), share) for share in AMOUNTS]
        else:
            shares = [(strategy, base.amount)]
        found += [(name, strategy, replace(named(strategy, base), amount=share)) for name, share in shares]
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_parts(args: argparse.Namespace, workers: int) -> None:
    """Lets one process per worker train its part."""
    words = [sys.executable, "-m", "study.confirm", args.study, "--out", args.out, "--workers", str(workers)]
    for name in ("data", "device"):
        words += [f"--{name}", getattr(args, name)] if getattr(args, name) else []
    words += ["--parent", str(os.getpid())]
    # By the environment and not by the command line, which everybody on the machine can read.
    environment = worker_environment() | ({"STUDY_STORAGE": args.storage} if args.storage else {})
    parts = [
        subprocess.Popen([*words, "--part", str(part)], env=environment, start_new_session=True)
        for part in range(workers)
    ]
    try:
        codes = [part.wait() for part in parts]
    finally:
        for part in parts:
            part.kill()
    if any(codes):
        raise RuntimeError("a process of the confirmation failed; its messages are above, and the same command goes on")


def results(opening: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """Turns the kept answers into what the report says; a pure function of the files."""
    import numpy as np

    from study.evidence import differences, judge, measured, predicted, within

    truth = dict(np.load(truth_path(folder)))
    labels, subjects = ({domain: truth[f"{domain}-{what}"] for domain in SIDES} for what in ("labels", "subjects"))
    points: list[dict[str, Any]] = []
    for index, job in enumerate(opening["jobs"]):
        files = [answers_path(folder, opening, index, k) for k in range(opening["seeds"])]
        kept = [dict(np.load(path)) for path in files if path.exists()]
        for place, way in enumerate(job["ways"]):
            logits = {domain: np.stack([found[f"{domain}-{place}"] for found in kept]) for domain in SIDES}
            right = {domain: predicted(logits[domain]) == labels[domain] for domain in SIDES}
            about = {"name": job["name"], "strategy": job["strategy"]} | way | {"logits": logits, "right": right}
            # A named strategy is the network at its end; those on the way to it are points of the front alone.
            about["named"] = job["named"] if (way["alpha"], way["slope"]) == (1.0, 0.0) else ""
            inside = {name: kept[0][f"{name}-{place}"] for name in ("cka", "probe") if f"{name}-{place}" in kept[0]}
            points.append(about | {"divisions": min(len(kept), int(truth["divisions"]))} | inside)
    found = judge(points, subjects, seed, LEVEL)
    more = measured(points, labels)
    found["points"] = [row | measures for row, measures in zip(found["points"], more, strict=True)]
    found["inside"] = [within(point, points[0], labels) for point in points]
    return found | {"differences": differences(points, subjects, seed, LEVEL)}


def as_rich(record: dict[str, Any], opening: dict[str, Any]) -> Any:
    """Returns the confirmed points as a table for the terminal."""
    from rich.table import Table

    from study.describe import SYNTHETIC, dataset_label, is_synthetic
    from study.evidence import interval_text

    mark = f" ({SYNTHETIC})" if is_synthetic(record) else ""
    shown = Table(title=f"test accuracy in per cent, {opening['seeds']} seeds{mark}", title_justify="left")
    for name in ("point", "strategy", "alpha"):
        shown.add_column(name)
    for domain in SIDES:
        shown.add_column(f"{dataset_label(record, domain)},\n{LEVEL:.0%} interval", justify="right", no_wrap=True)
    shown.add_column("target ≠ BL,\np (Holm)", justify="right")
    for point in opening["results"]["points"]:
        cells = [interval_text(point, domain) for domain in SIDES]
        shown.add_row(point["name"], point["strategy"], point["alpha"], *cells, f"{point['target_p']:.3g}")
    return shown


if __name__ == "__main__":
    leave(main())
