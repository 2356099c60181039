"""The figures of `benchmarks.real`: what outcomes say together, which targets they miss, and the table of README."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.checking import misses
from benchmarks.real_contenders import CONTENDERS, DEFAULT, FACTORS, OLD, RANDOM, RANDOM_AT_4, SCRIPT, SHORT_DEFAULT
from benchmarks.real_outcomes import Outcome
from study.pareto import hypervolume
from study.record import DOMAINS

GAIN = 1.15
"""How much larger the default's hypervolume on test images is to be than the old default's."""

FIVE = tuple(f"five at {factor}" for factor in FACTORS)

LEAST_RATIOS = {OLD: GAIN, **dict.fromkeys(FIVE, 1.0), RANDOM: 1.0}
"""How many times another contender's mean hypervolume the default's is to be, at least."""

LEAST_DIVISIONS = 3

LEAST_TIME = 0.95
"""The share of the default's time on processors that random configurations are to have had, at least."""

SCRIPT_TIME = 10
"""How many times a default study's time on processors the script is to need, at least, for that study's hypervolume."""

LOST_SHARE = 0.02
"""How much less of the baseline's source accuracy the recommended network may keep than its study expects."""

MOST_OPTIMISM = 2.0
"""Points by which the expected target accuracy of recommended networks may be too high, on average."""

LEAST_COVERAGE = 0.8
"""In how many cases an interval of 90 % is to hold the accuracy on test images, at least."""

NEVER = "not reached"

Figures = dict[str, Any]


def summarise(outcomes: Sequence[Outcome]) -> Figures:
    """Returns all figures of some outcomes by name; what was not measured has none."""
    figures: Figures = {}
    for target in targets_of(outcomes):
        here = [outcome for outcome in outcomes if outcome.target == target]
        figures |= summarise_contenders(target, here)
        figures |= compare_default(target, here)
        figures |= compare_script(target, here)
    return figures | summarise_recommended(outcomes)


def targets_of(outcomes: Iterable[Outcome]) -> list[str]:
    """Returns the targets of some outcomes, each once, in their order."""
    return list(dict.fromkeys(outcome.target for outcome in outcomes))


def by_division(outcomes: Iterable[Outcome], contender: str) -> dict[int, Outcome]:
    """Returns the outcomes of a contender by division. All are of one target."""
    return {outcome.division: outcome for outcome in outcomes if outcome.contender == contender}


def summarise_contenders(target: str, outcomes: Sequence[Outcome]) -> Figures:
    """Returns for each contender of one target how large its hypervolume is and what it took, over divisions."""
    figures: Figures = {}
    for contender in CONTENDERS:
        chosen = list(by_division(outcomes, contender).values())
        if not chosen:
            continue
        volumes = [outcome.hypervolume for outcome in chosen]
        figures |= {
            f"{target}, {contender}: divisions": len(chosen),
            f"{target}, {contender}: hypervolume": round(statistics.mean(volumes), 4),
            f"{target}, {contender}: hypervolume, least": min(volumes),
            f"{target}, {contender}: hypervolume, most": max(volumes),
            f"{target}, {contender}: processor seconds": round(
                statistics.mean(outcome.processor_seconds for outcome in chosen)
            ),
        }
    return figures


def compare_default(target: str, outcomes: Sequence[Outcome]) -> Figures:
    """Returns how many times another contender's mean hypervolume the default's is, over the divisions of both."""
    figures: Figures = {}
    default = by_division(outcomes, DEFAULT)
    for contender in (*LEAST_RATIOS, RANDOM_AT_4):
        other = by_division(outcomes, contender)
        divisions = [division for division in default if division in other]
        if not divisions:
            continue
        refuse_mixture(outcome for division in divisions for outcome in (default[division], other[division]))
        ours = statistics.mean(default[division].hypervolume for division in divisions)
        theirs = statistics.mean(other[division].hypervolume for division in divisions)
        name = f"{target}: default against {contender}"
        figures[name] = round(ours / theirs, 4)
        figures[f"{name}, divisions"] = len(divisions)
        if CONTENDERS[contender].after == DEFAULT:
            spent = sum(other[division].processor_seconds for division in divisions)
            allowed = sum(default[division].processor_seconds for division in divisions)
            figures[f"{name}, time of the other"] = round(spent / allowed, 3)
    return figures


def refuse_mixture(outcomes: Iterable[Outcome]) -> None:
    """Ends the command where outcomes of one target and division have other baselines, presets or test images."""
    settings: dict[tuple[str, int], dict[str, str]] = {}
    for outcome in outcomes:
        place = (outcome.target, outcome.division)
        if settings.setdefault(place, outcome.setting) != outcome.setting:
            raise SystemExit(f"{outcome.contender}, {place}: measured with another baseline, preset or test images")


def compare_script(target: str, outcomes: Sequence[Outcome]) -> Figures:
    """Returns for how many times a study's time the script ran, and after how many it was as good on test."""
    figures: Figures = {}
    for division, script in by_division(outcomes, SCRIPT).items():
        study = by_division(outcomes, CONTENDERS[SCRIPT].after).get(division)
        if study is None:
            continue
        refuse_mixture([script, study])
        reached = [seconds for seconds, volume in script.course if volume >= study.hypervolume]
        name = f"{target}, {division}: the script"
        figures[f"{name}, times the study's time"] = (
            round(reached[0] / study.processor_seconds, 2) if reached else NEVER
        )
        figures[f"{name}, ran for"] = round(script.processor_seconds / study.processor_seconds, 2)
        figures[f"{name}, hypervolume at its end against the study's"] = round(
            script.hypervolume / study.hypervolume, 3
        )
    return figures


# Recommended networks.


def summarise_recommended(outcomes: Sequence[Outcome]) -> Figures:
    """Returns how well what the default says of its recommended networks holds on test images, over all divisions."""
    recommending = [each for each in outcomes if each.contender == DEFAULT and each.recommended is not None]
    if not recommending:
        return {}
    figures: Figures = {"recommended: cases": len(recommending)}
    figures["recommended: least margin over the promised share, points"] = round(
        100 * min(margin_of_share(outcome) for outcome in recommending), 2
    )
    figures["recommended: least gain on the target, points"] = round(
        100 * min(gain_on_target(outcome) for outcome in recommending), 2
    )
    for index, domain in enumerate(DOMAINS):
        optimism = statistics.mean(optimism_of(outcome, index) for outcome in recommending)
        figures[f"recommended: optimism on the {domain}, points"] = round(100 * optimism, 2)
        of_gains = statistics.mean(optimism_of_gain(outcome, index) for outcome in recommending)
        figures[f"recommended: optimism of the gain on the {domain}, points"] = round(100 * of_gains, 2)
        held = [holds for outcome in recommending if (holds := interval_holds(outcome, index)) is not None]
        if held:
            figures[f"recommended: intervals that hold on the {domain}"] = round(statistics.mean(held), 3)
            figures[f"recommended: intervals on the {domain}"] = len(held)
    return figures


def margin_of_share(outcome: Outcome) -> float:
    """Returns by how much the share of source accuracy that a recommended network keeps on test exceeds its promise."""
    assert outcome.recommended is not None
    return outcome.recommended.tested[0] / outcome.baseline[0] - outcome.recommended.promised_share


def gain_on_target(outcome: Outcome) -> float:
    """Returns by how much a recommended network is better on the target's test images than the baseline."""
    assert outcome.recommended is not None
    return outcome.recommended.tested[1] - outcome.baseline[1]


def optimism_of(outcome: Outcome, index: int) -> float:
    """Returns by how much the expected accuracy exceeds that on test images; index 0 is the source, 1 the target."""
    assert outcome.recommended is not None
    return outcome.recommended.expected[index] - outcome.recommended.tested[index]


def optimism_of_gain(outcome: Outcome, index: int) -> float:
    """Returns the same of the gain over the baseline, which depends less on how hard the people of test are."""
    assert outcome.recommended is not None
    of_baseline = outcome.recommended.baseline[index] - outcome.baseline[index]
    return optimism_of(outcome, index) - of_baseline


def interval_holds(outcome: Outcome, index: int) -> bool | None:
    """Returns whether the accuracy on test images lies in the interval that the study states; None: it states none."""
    recommended = outcome.recommended
    assert recommended is not None
    if recommended.lower is None or recommended.upper is None:
        return None
    return recommended.lower[index] <= recommended.tested[index] <= recommended.upper[index]


# Targets.


def shortfalls(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a line for every target that outcomes miss; what was not measured misses its target."""
    figures = summarise(outcomes)
    lines = []
    wanted: dict[str, tuple[str, float]] = {}
    for target in targets_of(outcomes):
        for contender, ratio in LEAST_RATIOS.items():
            name = f"{target}: default against {contender}"
            wanted[name] = ("at least", ratio)
            wanted[f"{name}, divisions"] = ("at least", LEAST_DIVISIONS)
        wanted[f"{target}: default against {RANDOM}, time of the other"] = ("at least", LEAST_TIME)
        lines += script_shortfalls(target, figures)

    wanted["recommended: optimism on the target, points"] = ("at most", MOST_OPTIMISM)
    for domain in DOMAINS:
        wanted[f"recommended: intervals that hold on the {domain}"] = ("at least", LEAST_COVERAGE)
    return misses(figures.get, wanted) + lines + recommended_shortfalls(outcomes)


def script_shortfalls(target: str, figures: Figures) -> list[str]:
    """Returns lines for a script that was as good too soon, or was not given the time to show that it is not."""
    reached = {name: value for name, value in figures.items() if is_script_time(name, target)}
    if not reached:
        return [f"{target}: the script was not measured"]
    lines = []
    for name, times in reached.items():
        if times == NEVER:
            ran_for = figures[name.replace("times the study's time", "ran for")]
            if ran_for < SCRIPT_TIME:
                lines.append(f"{name}: {NEVER}, but it ran for {ran_for} only, {SCRIPT_TIME} wanted")
        elif times < SCRIPT_TIME:
            lines.append(f"{name} is {times}, at least {SCRIPT_TIME} wanted")
    return lines


def is_script_time(name: str, target: str) -> bool:
    """Returns whether a figure tells when a target's script was as good as the study."""
    return name.startswith(f"{target}, ") and name.endswith("the script, times the study's time")


def recommended_shortfalls(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns lines for the default's studies that recommend no network, or one that does not keep its promise."""
    rules: list[tuple[str, Callable[[Outcome], float], Callable[[float], bool]]] = [
        ("keeps more than its promised share by", margin_of_share, lambda margin: margin < -LOST_SHARE),
        ("gains on the target", gain_on_target, lambda gain: gain <= 0),
    ]
    lines = []
    for outcome in outcomes:
        if outcome.contender != DEFAULT:
            continue
        place = f"{outcome.target}, {outcome.division}"
        if outcome.recommended is None:
            lines.append(f"{place}: no network is recommended")
            continue
        for words, measure, falls_short in rules:
            value = measure(outcome)
            if falls_short(value):
                lines.append(f"{place}: the recommended network {words} {100 * value:.1f} points")
    return lines


# The table.

LABELS = {
    DEFAULT: "**the default study**",
    OLD: "the default study before trials had several budgets",
    **{f"five at {factor}": f"the paper's five strategies, {factor} × the budget" for factor in FACTORS},
    RANDOM: "random configurations, equal time",
    RANDOM_AT_4: "random configurations at 4 × the budget, equal time",
    SHORT_DEFAULT: "the default study with 40 trials",
    SCRIPT: "a hand-written Optuna script, TPE, 16 × the budget",
}
"""What the table calls the contenders."""


def markdown_table(outcomes: Sequence[Outcome]) -> str:
    """Returns what README shows: hypervolumes by contender and target, then each division's recommended network."""
    figures = summarise(outcomes)
    targets = targets_of(outcomes)
    lines = [
        f"| hypervolume on test images, mean (least to most) | {' | '.join(targets)} |",
        "|---|" + "---|" * len(targets),
        f"| the baseline alone | {' | '.join(baseline_cell(outcomes, target) for target in targets)} |",
    ]
    for contender, label in LABELS.items():
        cells = [contender_cell(figures, f"{target}, {contender}") for target in targets]
        if any(cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")

    lines += [
        "",
        "| source / target accuracy, per cent | baseline on test | recommended, expected | recommended, on test |",
        "|---|---|---|---|",
    ]
    lines += [recommended_row(outcome) for outcome in outcomes if outcome.contender == DEFAULT]
    return "\n".join(lines)


def baseline_cell(outcomes: Iterable[Outcome], target: str) -> str:
    """Returns the mean hypervolume of a target's baseline over divisions."""
    by_place = {outcome.division: outcome.baseline for outcome in outcomes if outcome.target == target}
    return f"{statistics.mean(hypervolume([accuracies]) for accuracies in by_place.values()):.3f}"


def contender_cell(figures: Figures, name: str) -> str:
    """Returns a contender's hypervolume and minutes on processors on one target; "" where it was not measured."""
    if f"{name}: hypervolume" not in figures:
        return ""
    mean = figures[f"{name}: hypervolume"]

    # How far divisions differ, and what one took.
    divisions = figures[f"{name}: divisions"]
    extent = f"n = {divisions}"
    if divisions > 1:
        least, most = figures[f"{name}: hypervolume, least"], figures[f"{name}: hypervolume, most"]
        extent = f"{least:.3f} to {most:.3f}, {extent}"
    minutes = figures[f"{name}: processor seconds"] / 60
    return f"{mean:.3f} ({extent}); {minutes:.0f} min"


def recommended_row(outcome: Outcome) -> str:
    """Returns the row of a default study: accuracies in per cent, those of the baseline on test images."""
    cells = [f"{outcome.target}, {outcome.division}", percent_pair(outcome.baseline)]
    recommended = outcome.recommended
    if recommended is None:
        cells += ["none", ""]
    else:
        cells += [with_intervals(recommended.expected, recommended.lower, recommended.upper)]
        cells += [percent_pair(recommended.tested)]
    return f"| {' | '.join(cells)} |"


def percent_pair(accuracies: Sequence[float]) -> str:
    """Returns source and target accuracy in per cent."""
    return " / ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)


def with_intervals(expected: Sequence[float], lower: Sequence[float] | None, upper: Sequence[float] | None) -> str:
    """Returns source and target accuracy in per cent, each with its interval where there is one."""
    if lower is None or upper is None:
        return percent_pair(expected)
    cells = []
    for value, low, high in zip(expected, lower, upper, strict=True):
        cells.append(f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    return " / ".join(cells)
