"""How far a study's search is, as the terminal shows it: networks, rungs, workers, the part of the course."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from fer.errors import shorten
from study.execution.time_left import Course, expected_on_rungs, is_handed_over, is_raced
from study.pareto import hypervolume, non_dominated
from study.presets import budget_factor
from study.record import DOMAINS, StudyRecord
from study.reporting.wording import count_of, dataset_label, format_percent, format_points, network_name
from study.storage.slots import is_of_search, rung_of
from study.trial_attributes import TrialAttributes
from study.trials import objectives_by_interpolation, parse_interpolation_name
from study.tuning.fold_effects import target_effects
from study.tuning.plan import SearchPlan

LONGEST_STRATEGY = 16
"""Characters of a strategy's name in the line of a worker."""
SEARCH, RACE, HAND_OVER = "search", "race", "hand-over"
"""The parts of a study's course, by which the display is titled."""


@dataclass(frozen=True)
class Baseline:
    """What networks are compared with.

    Attributes:
        accuracies: The baseline's on source and target; None where they are not known.
        labels: The printed names of source and target.
    """

    accuracies: tuple[float, float] | None = None
    labels: tuple[str, str] = DOMAINS

    @classmethod
    def of(cls, record: StudyRecord) -> "Baseline":
        """Returns the baseline of a study."""
        source, target = (dataset_label(record, domain) for domain in DOMAINS)
        return cls(record.baseline.accuracies, (source, target))


@dataclass(frozen=True)
class Network:
    """A network that competes.

    Attributes:
        trial: The number of its trial.
        strategy: The trial's.
        alpha: Where its first block lies between the baseline and the trial's end.
        slope: How much further its last block lies.
        source: Its accuracy on the source.
        target: Its accuracy on the target, without what its fold adds.
    """

    trial: int
    strategy: str
    alpha: float
    slope: float
    source: float
    target: float


@dataclass(frozen=True)
class Front:
    """What the networks of a search have come to.

    Attributes:
        size: How many networks no other betters.
        recipes: How many trainings these come from.
        hypervolume: Of the front.
        since: How many trainings have ended since the hypervolume grew.
        best: The best on the target of those that keep enough of the source; None where there is none.
    """

    size: int = 0
    recipes: int = 0
    hypervolume: float = 0.0
    since: int = 0
    best: Network | None = None


def measure_front(
    ended: Sequence[FrozenTrial], plan: SearchPlan, baseline: Baseline, reference: tuple[float, float] | None
) -> Front:
    """Returns what the networks of a search have come to.

    Args:
        ended: The trials that count, in the order in which they ended.
        plan: The course of the search.
        baseline: What is kept of the source is a share of its accuracy.
        reference: Source and target accuracy from which the hypervolume is measured; None for the plan's.
    """
    corner = reference or plan.reference
    finished = [trial for trial in ended if trial.state.name == "COMPLETE" and is_of_search(trial)]
    effects = target_effects(finished, plan)

    # Training by training, so that it shows when the hypervolume grew.
    front: list[Network] = []
    networks: list[Network] = []
    volume = 0.0
    last_growth = None
    for trial in finished:
        of_trial = networks_of(trial, effects)
        networks += of_trial
        candidates = [*front, *of_trial]
        points = [(network.source, network.target) for network in candidates]
        leading = np.flatnonzero(non_dominated(points))
        if (leading < len(front)).all():
            continue
        front = [candidates[index] for index in leading]
        now = hypervolume([points[index] for index in leading], corner)
        if now > volume:
            volume = now
            last_growth = trial.number

    numbers = [trial.number for trial in ended]
    since = 0 if last_growth is None else len(numbers) - 1 - numbers.index(last_growth)
    recipes = len({network.trial for network in front})
    return Front(len(front), recipes, volume, since, find_best(networks, plan, baseline))


def networks_of(trial: FrozenTrial, effects: Mapping[int, float]) -> list[Network]:
    """Returns the networks of a finished trial, with target accuracies from 0 to 1 whatever their fold adds.

    Args:
        trial: The trial.
        effects: What its fold adds to the target accuracy of each trial, by the trial's number.
    """
    strategy = TrialAttributes.of(trial).strategy or "unknown"
    networks = []
    for interpolation, (source, target) in objectives_by_interpolation(trial).items():
        alpha, slope = parse_interpolation_name(interpolation)
        without_effect = min(max(target - effects[trial.number], 0.0), 1.0)
        networks.append(Network(trial.number, strategy, alpha, slope, source, without_effect))
    return networks


def find_best(networks: Sequence[Network], plan: SearchPlan, baseline: Baseline) -> Network | None:
    """Returns the network with the best target accuracy of those that keep what a recommended one must keep.

    Args:
        networks: All that compete.
        plan: Says which share of the baseline's source accuracy is kept.
        baseline: Has that accuracy.
    """
    least = plan.keep * baseline.accuracies[0] if baseline.accuracies else 0.0
    keeping = [network for network in networks if network.source >= least]
    return max(keeping, key=lambda network: network.target, default=None)


# In words.


def describe_best(network: Network | None, baseline: Baseline) -> str:
    """Returns what the best network gains on the target and keeps of the source, and its name."""
    source_label, target_label = baseline.labels
    if network is None:
        return "none that keeps enough of the source yet"
    name = network_name(network.trial, network.strategy, network.alpha, network.slope)
    target = f"{format_percent(network.target)} % on {target_label}"
    if baseline.accuracies is None:
        return f"{format_percent(network.source)} % on {source_label}, {target}: {name}"
    source_accuracy, target_accuracy = baseline.accuracies
    kept = format_percent(network.source / source_accuracy, 0) if source_accuracy else "–"
    gain = network.target - target_accuracy
    if gain <= 0:
        return "none better than the baseline yet"
    return f"{target} ({format_points(gain)} points), {kept} % of {source_label} kept: {name}"


def describe_baseline(baseline: Baseline) -> str:
    """Returns what the baseline reaches: "65.7 % on FER2013, 67.3 % on CK+"; nothing where that is not known."""
    if baseline.accuracies is None:
        return ""
    parts = zip(baseline.accuracies, baseline.labels, strict=True)
    return ", ".join(f"{format_percent(accuracy)} % on {label}" for accuracy, label in parts)


def describe_front(front: Front) -> str:
    """Returns the front's hypervolume, when it grew last, and its size."""
    networks = f"{count_of(front.size, 'network')} on the front"
    if not front.hypervolume:
        return f"{front.hypervolume:.4f}; {networks}"
    grown = "grew just now" if not front.since else f"grew {count_of(front.since, 'training')} ago"
    return f"{front.hypervolume:.4f}, {grown}; {networks}"


def describe_rungs(course: Course) -> str:
    """Returns how many configurations were trained on each rung, of how many: "rung 1: 84 of 200, rung 2: …"."""
    parts = []
    for rung, expected in enumerate(expected_on_rungs(course.total, course.plan.rungs), start=1):
        ended = sum(rung_of(trial) == rung and is_of_search(trial) for trial in course.ended)
        wanted = "" if course.search_is_over else f" of {expected}"
        parts.append(f"{rung}: {ended}{wanted}")
    return ", ".join(parts)


def describe_ends(ended: Sequence[FrozenTrial]) -> str:
    """Returns how trainings ended: "59 finished, 60 stopped early, 0 failed"."""
    states = [trial.state.name for trial in ended if not is_handed_over(trial)]
    finished, stopped, failed = (states.count(state) for state in ("COMPLETE", "PRUNED", "FAIL"))
    return f"{finished} finished, {stopped} stopped early, {failed} failed"


def describe_course(course: Course) -> str:
    """Returns what a search has trained: "200 configurations tried, 88 promoted, 18 trainings of a race, …"."""
    of_search = [trial for trial in course.ended if is_of_search(trial)]
    tried = sum(rung_of(trial) == 1 for trial in of_search)
    raced = sum(map(is_raced, course.ended))
    handed_over = sum(map(is_handed_over, course.ended))
    parts = [f"{count_of(tried, 'configuration')} tried"]
    if course.plan.rungs > 1:
        parts.append(f"{len(of_search) - tried} promoted")
    if raced:
        parts.append(f"{count_of(raced, 'training')} in the race")
    if handed_over:
        parts.append(f"{handed_over} handed over")
    return f"{', '.join(parts)}: {describe_ends(course.ended)}"


def describe_worker(trial: FrozenTrial, seconds: str) -> str:
    """Returns what a worker does now: its trial, strategy, rung, and how long.

    Args:
        trial: The trial that runs.
        seconds: How long it has run, in words.
    """
    strategy = shorten(TrialAttributes.of(trial).strategy or "starts", LONGEST_STRATEGY)
    work = f"rung {rung_of(trial)}"
    if is_handed_over(trial):
        work = "hand-over"
    elif is_raced(trial):
        work += ", race"
    return f"trial {trial.number:<5} {strategy:<{LONGEST_STRATEGY}} {work:<12}  {seconds:>7}"


# Parts of the course.


def part_of(course: Course) -> str:
    """Returns which part of its course a study is at."""
    everything = [*course.ended, *(each.trial for each in course.open_trials)]
    if any(map(is_handed_over, everything)):
        return HAND_OVER
    is_searching = any(is_of_search(each.trial) for each in course.open_trials)
    counts = [0] * course.plan.rungs
    for trial in course.ended:
        if is_of_search(trial) and rung_of(trial) <= len(counts):
            counts[rung_of(trial) - 1] += 1
    expected = expected_on_rungs(course.total, course.plan.rungs)
    is_missing = any(count < wanted for count, wanted in zip(counts, expected, strict=True))
    if is_searching or (is_missing and not course.search_is_over and not any(map(is_raced, everything))):
        return SEARCH
    return RACE if course.plan.race_share and not course.race_is_over else HAND_OVER


def count_part(course: Course, part: str) -> tuple[float, float | None, str]:
    """Returns how much of a part is done, how much there is to do, and the former in words.

    Args:
        course: How far the study is.
        part: SEARCH, RACE or HAND_OVER.
    """
    if part == HAND_OVER:
        done = sum(map(is_handed_over, course.ended))
        total = done + sum(is_handed_over(each.trial) for each in course.open_trials)
        return done, total or None, f"{done}/{total} trainings" if total else ""

    of_search = [trial for trial in course.ended if is_of_search(trial)]
    if part == RACE:
        # As the race counts it, in budgets of the first rung.
        raced = [trial for trial in course.ended if is_raced(trial)]
        budget = course.plan.race_share * sum(budget_factor(rung_of(trial)) for trial in of_search)
        spent = sum(budget_factor(rung_of(trial)) for trial in raced)
        share = min(1.0, spent / budget) if budget else 1.0
        return share, 1.0, f"{count_of(len(raced), 'training')}, {format_percent(share, 0)} % of what it may cost"

    expected = sum(expected_on_rungs(course.total, course.plan.rungs))
    noun = "configurations" if course.plan.rungs == 1 else "trainings"
    return len(of_search), expected, f"{len(of_search)}/{expected} {noun}"
