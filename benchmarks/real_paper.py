"""Does the paper's order of strategies hold on real faces, when each is trained to its own convergence?

`python -m benchmarks.real_paper --data DIR --baseline FILE --write` trains the paper's grid (`search_spaces.paper`) for
each target and each division of its people into test and rest, from one converged baseline, and answers the test
images. FC, FC+CL and RE start from the baseline and are trained until they learn no more; FU is trained from scratch on
both datasets, for as many passes as the baseline had. Nothing is chosen, so the test images tell no choice.

Every network and its answers are kept under `--out`; what was cut off goes on with the same command, and two commands
may work at once, each on a target. An FU takes some 35 minutes on one core.

`--check` compares the record with the paper's order: on the source FU is as the baseline and far above FC, FC+CL and
RE; on the target FU is with the best. `--table` prints the accuracies beside the published ones.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import code_in_use, recorded
from benchmarks.real_data import (
    BASELINE_DIVISION,
    SOURCE,
    Places,
    add_place_options,
    open_task,
    prepare_places,
    setting_of,
)
from benchmarks.real_outcomes import write_json
from benchmarks.real_run_log import commit_in_use
from fer import baseline as baselines
from fer.adaptation.evaluation import logits_on_test
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.baseline import FusedNetworks
from fer.config import AdaptationConfig
from fer.evaluation.intervals import Estimate, estimate, one_per_image
from fer.model import weights
from fer.seeding import seed_from
from search_spaces.paper import ADAPTING, AMOUNTS, named
from study.execution.study_baseline import baseline_config
from study.exit_code import ExitCode
from study.inputs import budget_epochs
from study.machine import hardware, versions
from study.options import cache_folder
from study.record import DOMAINS
from study.reporting.paper_table import PUBLISHED_FILE, column
from study.reporting.wording import count_of
from study.tuning.stored_answers import pack_answers, unpack_answers

RESULTS = Path(__file__).parent / "results" / "real_paper.json"

LEVEL = 0.95
"""Of the intervals: about other people, and other trainings as far as divisions show them."""

LEAST_DIVISIONS = 3

MOST_MINUTES = 24 * 60.0
"""Of one training from scratch, which ends by its passes."""

FAR = 0.05
"""By how much FU keeps more of the source than FC, FC+CL and RE, at least, to stand far above them."""

COMMON = ("baseline", "preset")
"""Entries of a setting that are the same in all divisions of all targets."""

COLUMNS = ["BL", *(column(strategy, amount) for strategy, amount in product(ADAPTING, AMOUNTS))]
"""The points of the paper's grid."""


@dataclass(frozen=True)
class Answers:
    """A network's answers on the test images of one division.

    Attributes:
        target: Name of the target.
        division: Seed of its division.
        column: The network: one of COLUMNS.
        setting: See `benchmarks.real_data.setting_of`.
        right: By domain, on which test images it is right, packed (`study.tuning.stored_answers`).
        subjects: Whose the target's test images are, (n,); -1 where nobody knows.
        source_images: The number of the source's test images.
        code: Hash of the code that trained it.
        commit: The commit of the same.
        hardware: The machine.
        versions: Of Python and packages.
    """

    target: str
    division: int
    column: str
    setting: dict[str, str]
    right: dict[str, str]
    subjects: list[int]
    source_images: int
    code: str
    commit: str
    hardware: dict[str, Any]
    versions: dict[str, str]

    def unpack(self, domain: str) -> np.ndarray:
        """Returns on which test images of a domain the network is right, bool (n,)."""
        count = self.source_images if domain == "source" else len(self.subjects)
        return unpack_answers(self.right[domain], count)


def main() -> int:
    args = parse_arguments()
    if args.check or args.table:
        record = recorded(RESULTS)
        if record is None:
            return 1
        answers = [Answers(**stored) for stored in record["answers"]]
        print(markdown_table(answers) if args.table else json.dumps(summarise(answers), indent=1))
        return 0 if args.table else report_shortfalls(answers)

    places = prepare_places(Places(args.data, args.out, args.preset, Path()), args.baseline)
    answers = list(answer_all(args, places))
    print(markdown_table(answers))
    if args.write:
        write_record(answers)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Returns the options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="compare the record with the paper's order")
    parser.add_argument("--table", action="store_true", help="print the record")
    add_place_options(parser)
    parser.add_argument("--write", action="store_true", help="merge the answers into the record")
    args = parser.parse_args()
    if args.write and args.data is None:
        parser.error("--write records real faces: give --data")
    return args


# Training.


def answer_all(args: argparse.Namespace, places: Places) -> Iterator[Answers]:
    """Yields the answers of each network of the grid, in each division of each target."""
    grid = [("BL", 1.0), *product(ADAPTING, AMOUNTS)]
    for division, target in product(args.divisions, args.targets):
        task = open_task(places, target, division)
        task = replace(task, find_fused=fused_networks(places, task).find_or_train)

        # The budget that a study in the paper's space has.
        options = places.options(target, division) | {"space": "paper"}
        budget = budget_epochs(options, len(task.target.open("train")))

        for strategy, amount in grid:
            config = named(strategy, AdaptationConfig(epochs=budget, amount=amount))
            yield find_or_answer(places, task, division, column(strategy, amount), config)


def fused_networks(places: Places, task: AdaptationTask) -> FusedNetworks:
    """Returns what trains the paper's FU: the baseline's recipe, for as many passes as the baseline had."""
    recipe = baseline_config(places.options(SOURCE, BASELINE_DIVISION), task.source, task.runtime, VGG13)
    course = baselines.course_of(places.baseline)
    passes = recipe.epochs if course is None else len(course.accuracies)
    recipe = replace(recipe, epochs=passes, processes=1, minutes=MOST_MINUTES)
    return FusedNetworks(recipe, cache_folder(places.out) / "baselines")


def find_or_answer(places: Places, task: AdaptationTask, division: int, name: str, config: AdaptationConfig) -> Answers:
    """Returns a network's answers that were kept, or trains it, answers the test images and keeps both."""
    folder = places.out / "paper" / f"{task.target.name}-{division}"
    file = folder / f"{name}.json"
    setting = setting_of(places, task)
    if file.exists():
        answers = Answers(**json.loads(file.read_text()))
        if answers.setting == setting:
            return answers

    seed = seed_from("the paper's table", task.target.name, division, name)
    adapted = adapt(task, config, seed, plan=EvaluationPlan(rungs=(1.0,)))
    folder.mkdir(parents=True, exist_ok=True)
    weights.save_network(adapted.network, folder / f"{name}.safetensors", {"width": str(task.baseline.width)})

    right = {}
    for domain in DOMAINS:
        labels = task.dataset(domain).open_test().labels
        logits = logits_on_test(task, adapted.network, domain)
        right[domain] = pack_answers(logits.argmax(1) == labels)
    answers = Answers(
        target=task.target.name,
        division=division,
        column=name,
        setting=setting,
        right=right,
        subjects=task.target.open_test().subjects.tolist(),
        source_images=len(task.source.open_test()),
        code=code_in_use(),
        commit=commit_in_use(),
        hardware=hardware(),
        versions=versions(),
    )
    write_json(file, asdict(answers))
    accuracies = " / ".join(f"{100 * answers.unpack(domain).mean():.1f}" for domain in DOMAINS)
    print(f"{task.target.name}, {division}, {name}: {accuracies}", flush=True)
    return answers


# Figures.


def summarise(answers: Sequence[Answers]) -> dict[str, Any]:
    """Returns for each target the accuracies of all networks, and the differences that the paper's order is about."""
    figures: dict[str, Any] = {}
    for target, of_target in by_target(answers).items():
        figures[f"{target}: divisions"] = len({each.division for each in of_target})
        for name, domain in product(COLUMNS, DOMAINS):
            accuracy = estimate_of(of_target, domain, name)
            if accuracy is not None:
                figures[f"{target}, {name}: {domain}"] = rounded(accuracy.mean, accuracy.interval_of_share(LEVEL))
        for one, other, domain in compared_pairs():
            difference = estimate_of(of_target, domain, one, other)
            if difference is not None:
                interval = difference.interval_of_difference(LEVEL)
                figures[f"{target}, {one} less {other}: {domain}"] = rounded(difference.mean, interval)
    return figures


def by_target(answers: Sequence[Answers]) -> dict[str, list[Answers]]:
    """Returns the answers by target, targets in the order in which they come."""
    targets: dict[str, list[Answers]] = {}
    for each in answers:
        targets.setdefault(each.target, []).append(each)
    return targets


def compared_pairs() -> Iterator[tuple[str, str, str]]:
    """Yields FU and what it is compared with, by domain, at both amounts."""
    for amount in AMOUNTS:
        fusion = column("FU", amount)
        yield fusion, "BL", "source"
        for strategy, domain in product((each for each in ADAPTING if each != "FU"), DOMAINS):
            yield fusion, column(strategy, amount), domain


def estimate_of(answers: Sequence[Answers], domain: str, name: str, less: str = "") -> Estimate | None:
    """Returns a network's mean accuracy over divisions, or by how much it exceeds another's; None without answers.

    The target's test images are other ones in each division, and a person may be tested in several: all images of one
    person vary together. The source's test images are the same, answered by a training for each division.

    Args:
        answers: Of one target.
        domain: "source" or "target".
        name: One of COLUMNS.
        less: The network whose accuracy is taken off; none where empty.
    """
    of_division = {(each.division, each.column): each for each in answers}
    values, subjects = [], []
    for division in sorted({each.division for each in answers}):
        networks = [of_division.get((division, each)) for each in (name, less) if each]
        if None in networks:
            continue
        right = [each.unpack(domain).astype(float) for each in networks if each is not None]
        values.append(right[0] - right[1] if less else right[0])
        subjects.append(np.array(of_division[division, name].subjects))
    if not values:
        return None
    if domain == "source":
        return estimate(np.stack(values), np.arange(values[0].size))
    return estimate(np.concatenate(values), one_per_image(np.concatenate(subjects)))


def rounded(mean: float, interval: tuple[float, float]) -> list[float]:
    """Returns a mean and the ends of its interval, in per cent or points."""
    return [round(100 * value, 2) for value in (mean, *interval)]


def report_shortfalls(answers: Sequence[Answers]) -> int:
    """Prints each point of the paper's order that the record does not show; returns the exit code."""
    lines = shortfalls(answers)
    print("\n".join(lines) or "nothing refutes the paper's order")
    return int(bool(lines))


def shortfalls(answers: Sequence[Answers]) -> list[str]:
    """Returns a line for each point of the paper's order that a record refutes or was not measured for."""
    figures = summarise(answers)
    lines = []
    for target in by_target(answers):
        divisions = figures[f"{target}: divisions"]
        if divisions < LEAST_DIVISIONS:
            lines.append(f"{target}: {divisions} divisions, {LEAST_DIVISIONS} wanted")
        for one, other, domain in compared_pairs():
            name = f"{target}, {one} less {other}: {domain}"
            if name not in figures:
                lines.append(f"{name}: not measured")
                continue
            mean, lower, upper = figures[name]
            is_far_above = domain == "source" and other != "BL"
            least = 100 * FAR if is_far_above else 0.0
            if upper < least:
                words = f"{least:.0f} or more" if is_far_above else "no loss"
                lines.append(f"{name} is {mean} ({lower} to {upper}) points, the paper's order wants {words}")
    return lines


def markdown_table(answers: Sequence[Answers]) -> str:
    """Returns for each target the accuracies on test images with their intervals, beside the published ones."""
    rows = pd.read_csv(PUBLISHED_FILE).to_dict("records")
    published: dict[tuple[str, str], dict[Any, Any]] = {(row["target"], row["dataset"]): row for row in rows}
    parts = []
    for target, of_target in by_target(answers).items():
        divisions = len({each.division for each in of_target})
        lines = [
            f"| {target}, {count_of(divisions, 'division')} | {SOURCE} | published | {target} | published |",
            "|---|---|---|---|---|",
        ]
        for name in COLUMNS:
            cells = []
            for domain, dataset in (("source", SOURCE), ("target", target)):
                cells.append(cell(estimate_of(of_target, domain, name)))
                row = published.get((target, dataset))
                cells.append("" if row is None else f"{row[name]:.1f}")
            lines.append(f"| {label_of(name)} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def label_of(name: str) -> str:
    """Returns "FC 50 %" for "FC_50"."""
    strategy, _, percent = name.partition("_")
    return f"{strategy} {percent} %" if percent else strategy


def cell(accuracy: Estimate | None) -> str:
    """Returns a mean accuracy with its interval, in per cent; "" where there is none."""
    if accuracy is None:
        return ""
    mean, lower, upper = (f"{value:.1f}" for value in rounded(accuracy.mean, accuracy.interval_of_share(LEVEL)))
    return f"{mean} ({lower} to {upper})"


# The record.


def write_record(new: Sequence[Answers]) -> None:
    """Merges answers into the record: a new one replaces that of its place.

    Of the others those stay that have the baseline and the preset of the new ones, and their division's test images.
    """
    stored: Mapping[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"answers": []}
    earlier = [Answers(**entry) for entry in stored["answers"]]

    # Which earlier answers can stand beside the new ones.
    new_common = [_common_setting(each) for each in new]
    new_setting = {(each.target, each.division): each.setting for each in new}
    comparable = []
    for each in earlier:
        of_division = new_setting.get((each.target, each.division), each.setting)
        if _common_setting(each) in new_common and each.setting == of_division:
            comparable.append(each)

    # One for each place, in the order of the table.
    by_place = {(each.target, each.division, COLUMNS.index(each.column)): each for each in (*comparable, *new)}
    answers = [by_place[place] for place in sorted(by_place)]
    write_json(RESULTS, {"figures": summarise(answers), "answers": [asdict(each) for each in answers]})


def _common_setting(answers: Answers) -> dict[str, str]:
    """Returns the entries of a setting that all divisions share."""
    return {name: answers.setting[name] for name in COMMON}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
