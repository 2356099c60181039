"""Does the search's answer hold on test images of real faces?

`python -m benchmarks.real --data DIR --write` measures, for each target and each division of its people into test and
rest (`--divisions`, seeds of studies), all from one baseline:

- `default`: the default study; its recommended network as well, against what the study expects of it.
- `old`: the default study of the commit before trials had several budgets.
- `five at 1`, `at 4`, `at 16`: the paper's five strategies, each trained once with so many times the base budget.
- `random`: the old study with random configurations and the default study's time; `random at 4`: the same at
  four times the budget.
- `script`: a hand-written Optuna script, for ten times the time of a default study of 40 trials, or until its
  front is as good; in the first division alone.

Times that limit a contender are those on processors, and a fifth is added to them: other work on the machine then
changes nothing, and a study's workers that wait for one another are no handicap of the others.

What counts is the hypervolume on test images of a contender's front, as it was chosen and saved, the baseline counted.
Nothing chooses by these images. Every outcome is kept under `--out` as soon as it is measured, and what was cut off
goes on with the same command, on another day too. `--write` merges outcomes into benchmarks/results/real.json, and
keeps the recorded ones whose contender and baseline are the same. To measure later code, give another `--out`.

`--check` compares the record with the targets, `--table` prints it for README, `--quick` measures a little with the
smallest preset, on synthetic faces unless there is `--data`, and writes nothing.

Decisions about the search are made on other divisions than those whose figures are quoted: `--divisions 1 2 3` are
quoted, 11 and above are free.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.checking import code_in_use, recorded
from benchmarks.real_contenders import CONTENDERS, Contender, Job, measure_five, measure_study
from benchmarks.real_data import Places, add_place_options, open_task, prepare_places, setting_of
from benchmarks.real_figures import markdown_table, shortfalls, summarise
from benchmarks.real_outcomes import Outcome, find_outcome, merge_outcomes, save_outcome, write_json
from benchmarks.real_script import measure_script
from study.exit_code import ExitCode

RESULTS = Path(__file__).parent / "results" / "real.json"

MEASURES = {"study": measure_study, "five": measure_five, "script": measure_script}
"""How each kind of contender is measured."""


def main() -> int:
    args = parse_arguments()
    if args.check or args.table:
        record = recorded(RESULTS)
        if record is None:
            return 1
        outcomes = outcomes_in(record)
        if args.check:
            return check(outcomes)
        print(markdown_table(outcomes))
        return 0

    places = prepare_places(Places(args.data, args.out, args.preset, Path(), workers=args.workers), args.baseline)
    outcomes = list(measure_all(args, places))
    print(json.dumps(summarise(outcomes), indent=1))
    if args.write:
        write_record(outcomes)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Returns the options of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare the record with its targets")
    parser.add_argument("--table", action="store_true", help="print the record as README shows it")
    parser.add_argument("--quick", action="store_true", help="a little, in minutes; writes nothing")
    add_place_options(parser)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS, metavar="NAME")
    parser.add_argument("--workers", default="auto", help="processes of a study (default: %(default)s)")
    parser.add_argument("--trials", type=int, help="most of a study, to try this command; not for the record")
    parser.add_argument("--write", action="store_true", help="merge the outcomes into the record")
    args = parser.parse_args()

    if args.quick:
        args.preset = "tiny"
        args.trials = args.trials or 6
        args.divisions = [0]  # the synthetic source is drawn by the seed, and the baseline is that of seed 0
        args.targets = args.targets[:1]
    if args.write and args.trials:
        parser.error("--write records the contenders as they are defined: leave out --trials and --quick")
    needs_data = not (args.check or args.table or args.quick)
    if needs_data and args.data is None:
        parser.error("--data is needed to measure")
    return args


# Measuring.


def measure_all(args: argparse.Namespace, places: Places) -> Iterator[Outcome]:
    """Yields the outcome of each contender in each division of each target, measured now or before."""
    contenders = {name: with_trials(contender, args.trials) for name, contender in CONTENDERS.items()}
    for target in args.targets:
        for division in args.divisions:
            for name in args.contenders:
                is_first = division == args.divisions[0]
                if is_first or not contenders[name].first_division_only:
                    yield find_or_measure(places, contenders, target, division, name)


def with_trials(contender: Contender, most: int | None) -> Contender:
    """Returns a contender whose studies have no more trials than `most`; the same where that is None."""
    return contender if most is None else replace(contender, trials=min(most, contender.trials))


def find_or_measure(
    places: Places, contenders: Mapping[str, Contender], target: str, division: int, name: str
) -> Outcome:
    """Returns an outcome that was kept, or measures and keeps it, after the contender that it is limited by."""
    contender = contenders[name]
    after = None
    if contender.after:
        after = find_or_measure(places, contenders, target, division, contender.after)

    setting = setting_of(places, open_task(places, target, division))
    outcome = find_outcome(places.out, (target, division, name), contender.definition, setting)
    if outcome is None:
        job = Job(places, target, division, name, contender, after)
        outcome = MEASURES[contender.kind](job)
        save_outcome(places.out, outcome)
        print(outcome_line(outcome), flush=True)
    return outcome


def outcome_line(outcome: Outcome) -> str:
    """Returns an outcome in a line."""
    target, division, contender = outcome.key
    text = f"{target}, {division}, {contender}: hypervolume {outcome.hypervolume} after {outcome.seconds:.0f} s, "
    text += f"{outcome.processor_seconds:.0f} s on processors"
    recommended = outcome.recommended
    if recommended is not None:
        text += f"; recommended: expected {recommended.expected}, on test {recommended.tested}"
    return f"{text}; baseline {outcome.baseline}"


# The record.


def outcomes_in(record: Mapping[str, Any]) -> list[Outcome]:
    """Returns the outcomes of a record."""
    return [Outcome.from_json(stored) for stored in record["outcomes"]]


def write_record(new: list[Outcome]) -> None:
    """Merges outcomes into the record."""
    earlier = outcomes_in(json.loads(RESULTS.read_text())) if RESULTS.exists() else []
    definitions = {name: contender.definition for name, contender in CONTENDERS.items()}
    merged = merge_outcomes(earlier, new, definitions)
    write_json(RESULTS, {"figures": summarise(merged), "outcomes": [outcome.to_json() for outcome in merged]})


def check(outcomes: list[Outcome]) -> int:
    """Prints the figures, which contenders are of earlier code, and each target that is missed."""
    print(json.dumps(summarise(outcomes), indent=1))
    for line in notes_on_code(outcomes):
        print(line)
    lines = shortfalls(outcomes)
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


def notes_on_code(outcomes: list[Outcome]) -> list[str]:
    """Returns a line for each contender that was measured with other code than the present one, or with several."""
    present = code_in_use()
    lines = []
    for name, contender in CONTENDERS.items():
        chosen = [outcome for outcome in outcomes if outcome.contender == name]
        wanted = [contender.commit[:12] or present]
        differing = [outcome for outcome in chosen if outcome.code != wanted]
        if differing:
            lines.append(f"{name}: {len(differing)} of {len(chosen)} outcomes are of earlier code, or of several")
    return lines


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
