"""Replays a search over the table of real trainings: any sampler, early stopping and number of workers, no training.

What a configuration reaches is predicted by a forest fitted to the table (`Surrogate`): its mean, plus noise. The noise
is the residual of one real row from the configuration's own neighbourhood, against a forest that had not seen the row,
at all shares of the budget together. So rungs relate to ends as they do in reality. The noise is scaled so that two
trainings of one configuration differ as much as the repeated rows of the table do.

Time is simulated: workers start a trial when they are free, and rungs are written in the order in which the clock
reaches them.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from benchmarks.search_table import KNOBS, MEASURED, OBJECTIVES, SAMPLES, SHARES, rows_of
from fer.config import ALL, NATURAL, AdaptationConfig
from fer.expressions import CHANCE
from fer.seeding import seed_from
from search_spaces import full
from search_spaces.initial_trials import InitialTrial
from study.pareto import hypervolume, non_dominated

CATEGORIES = {
    "optimiser": ("sgd", "adamw"),
    "bn": ("train", "frozen", "recompute"),
    "anchor": ("none", "weights", "fisher", "mas", "features", "logits", "replay"),
}
LOGARITHMIC = ("lr", "weight_decay", "anchor_weight")
SOURCE_IMAGES, TARGET_IMAGES = 5000, 784

STEPS = np.array([200, 98])
"""Validation images of source and target: accuracies are multiples of one image."""

ENOUGH_PAIRS = 10
"""The fewest pairs of a row and its repetition that noise is estimated from."""

Rule = Callable[[Any, float, Sequence[float], Sequence[Sequence[float]]], bool]
"""Early stopping: from a trial's handle, the share of the budget, its vector and the vectors that were at this rung
before, to whether the trial stops."""


@dataclass(frozen=True)
class Course:
    """What a simulated trial goes through.

    Attributes:
        vectors: Source and target accuracy at each share of the budget, (shares, 2).
        seconds: CPU seconds since the trial's start at each share, (shares,).
        failed: Whether the trial fails at its end.
    """

    vectors: np.ndarray
    seconds: np.ndarray
    failed: bool = False


def features(hyperparameters: Mapping[str, Any]) -> list[float]:
    """Returns a configuration as numbers: categories as indicators, rates and weights as logarithms."""
    numbers: list[float] = []
    for name in KNOBS:
        value = hyperparameters[name]
        if name in CATEGORIES:
            numbers += [float(value == category) for category in CATEGORIES[name]]
        elif name in LOGARITHMIC:
            numbers.append(math.log10(value + 1e-6))
        elif name == "fusion_ratio" and value == NATURAL:
            numbers.append(SOURCE_IMAGES / (SOURCE_IMAGES + TARGET_IMAGES))
        elif name == "replay_size":
            numbers.append(math.log10(SOURCE_IMAGES if value == ALL else float(value)))
        else:
            numbers.append(float(value))
    return numbers


class Surrogate:
    """A forest over the table, which predicts what a configuration reaches.

    Args:
        table: The table of `benchmarks.search_table.read`.
        trees: The number of trees in the forest.
        leaf: The fewest rows in a leaf.
    """

    def __init__(self, table: pd.DataFrame, trees: int = 60, leaf: int = 2) -> None:

        self.inputs = np.array([features(row) for row in rows_of(table)], np.float32)
        self.outputs = outputs(table)
        self.failed = (table["state"] == "failed").to_numpy()

        # Each measurement in its own standard deviations: a forest splits by the sum of their variances, and in the
        # logarithms of seconds that is a hundred times what it is in accuracies.
        self.units = StandardScaler().fit(self.outputs)
        standardised = self.units.transform(self.outputs)

        # Residuals of rows that the forest has not seen. Rows are divided in their order, so that a repeated row is
        # seen or unseen together with the row before it, except at four edges.
        forest = ExtraTreesRegressor(trees, min_samples_leaf=leaf, random_state=0)
        predicted = cross_val_predict(forest, self.inputs, standardised, cv=5)
        self.residuals = self.outputs - self.units.inverse_transform(predicted)
        self.scale = self._noise_scale(table)

        forest.fit(self.inputs, standardised)
        self.trees = [tree.tree_ for tree in forest.estimators_]
        self.members = [_rows_by_leaf(tree.apply(self.inputs)) for tree in self.trees]

    def _noise_scale(self, table: pd.DataFrame) -> np.ndarray:
        """Returns factors (measurements,) that shrink residuals to the noise between two equal trainings."""
        repeated = noise(table)
        if repeated["pairs"] < ENOUGH_PAIRS:
            return np.ones(self.outputs.shape[1])
        at_end = self.residuals[~self.failed, -3:-1]
        rmse = np.sqrt((at_end**2).mean(0))
        source, target = np.minimum(1, [repeated["source"], repeated["target"]] / rmse)
        return np.tile([source, target, 1.0], len(SHARES))

    def answer(self, config: AdaptationConfig, seed: int) -> Course:
        """Returns the course of a configuration; another seed is another training of it."""
        inputs = np.array([features(vars(config))], np.float32)
        leaves = [int(tree.apply(inputs)[0]) for tree in self.trees]
        means = [tree.value[leaf, :, 0] for tree, leaf in zip(self.trees, leaves, strict=True)]
        mean = self.units.inverse_transform([np.mean(means, axis=0)])[0]

        # Noise: the residual of a row that shares a leaf with the configuration in some tree.
        rng = np.random.default_rng(seed_from("simulated", seed, inputs.tobytes().hex()))
        tree = int(rng.integers(len(self.trees)))
        neighbour = int(rng.choice(self.members[tree][leaves[tree]]))
        return make_course(mean + self.scale * self.residuals[neighbour], bool(self.failed[neighbour]))

    def errors(self) -> dict[str, float]:
        """Returns RMSE and R² of each measurement, on finished rows that the forest had not seen."""
        finished = ~self.failed
        errors = {}
        for index, name in enumerate(MEASURED):
            truth = self.outputs[finished, index]
            residual = self.residuals[finished, index]
            errors[f"{name} rmse"] = float(np.sqrt(np.mean(residual**2)))
            errors[f"{name} r2"] = float(1 - np.mean(residual**2) / max(np.var(truth), 1e-12))
        return errors


def noise(rows: pd.DataFrame) -> dict[str, float]:
    """Returns the standard deviation of trainings of one configuration, over the repeated rows.

    Keys: pairs, the number of repeated rows; source and target, the deviation of the accuracy, NaN without pairs.
    """
    by_number = rows.set_index("number")
    repetitions = rows[(rows["seed"] == 1) & (rows["state"] == "finished")]["number"]
    # A repetition follows the row that it repeats.
    pairs = [(number - 1, number) for number in repetitions if by_number["state"].get(number - 1) == "finished"]
    deviations: dict[str, float] = {"pairs": len(pairs)}
    for domain in OBJECTIVES:
        accuracy = by_number[f"{domain}@1"]
        differences = [accuracy[first] - accuracy[second] for first, second in pairs]
        deviations[domain] = float(np.sqrt(np.mean(np.square(differences)) / 2)) if pairs else float("nan")
    return deviations


def outputs(table: pd.DataFrame) -> np.ndarray:
    """Returns the table's measurements (rows, 3 x shares), seconds as logarithms.

    What trains nothing, or trains several networks, has no rungs: at each rung it is what it is at its end. What failed
    has the accuracy of chance.
    """
    measured = table[list(MEASURED)].copy()
    finished = table["state"] == "finished"
    for column in MEASURED:
        end = measured[f"{column.partition('@')[0]}@1"]
        if column.startswith("seconds"):
            measured[column] = np.log(measured[column].fillna(end))
        else:
            measured[column] = measured[column].fillna(end.where(finished)).fillna(CHANCE)
    return measured.to_numpy(float)


def make_course(values: np.ndarray, failed: bool) -> Course:
    """Turns a row of `outputs` into a course: accuracies that are multiples of an image, seconds that never go back."""
    by_share = values.reshape(len(SHARES), len(OBJECTIVES) + 1)
    accuracies = np.clip(by_share[:, :2], 0, 1)
    vectors = np.round(accuracies * STEPS) / STEPS
    seconds = np.maximum.accumulate(np.exp(by_share[:, 2]))
    return Course(vectors, seconds, failed)


def _rows_by_leaf(leaves: np.ndarray) -> dict[int, np.ndarray]:
    """Returns the indices of the rows in each leaf, from the leaf of each row (n,)."""
    return {int(leaf): np.flatnonzero(leaves == leaf) for leaf in np.unique(leaves)}


@dataclass
class Search:
    """What a simulated search did.

    Attributes:
        ends: A row per trial in the order of their ends: clock; CPU seconds of all trials so far, including those that
            still run; state; vector.
        spent: CPU seconds of all trials that ended.
        rungs: Vectors at each rung, in the order of the clock.
    """

    ends: list[tuple[float, float, str, tuple[float, float]]] = field(default_factory=list)
    spent: float = 0.0
    rungs: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    def hypervolumes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns CPU seconds (trials,) and the hypervolume (trials,) of the trials finished by then."""
        front = np.empty((0, 2))
        volume = 0.0
        costs, volumes = [], []
        for _, spent, state, vector in self.ends:
            if state == "finished":
                candidates = np.vstack([front, vector])
                mask = non_dominated(candidates)
                if mask[-1]:
                    front = candidates[mask]
                    volume = hypervolume(front)
            costs.append(spent)
            volumes.append(volume)
        return np.array(costs), np.array(volumes)


@dataclass(frozen=True)
class Plan:
    """How a search is simulated.

    Attributes:
        trials: How many trials the search has.
        seed: The seed of the trainings.
        workers: How many trials run at once.
        rule: Early stopping; None lets every trial end.
        rungs: Shares of the budget at which the rule is asked.
        unstoppable: How many of the first trials the rule never stops.
    """

    trials: int
    seed: int
    workers: int = 1
    rule: Rule | None = None
    rungs: Sequence[float] = (0.5,)
    unstoppable: int = 0


@dataclass(order=True)
class _Event:
    """A trial reaches a share of its budget; events are ordered by clock, then by trial."""

    clock: float
    number: int
    step: int
    begun: float = field(compare=False)
    handle: Any = field(compare=False)
    course: Course = field(compare=False)


def simulate(
    answer: Callable[[AdaptationConfig, int], Course],
    ask: Callable[[int], tuple[Any, AdaptationConfig]],
    tell: Callable[[Any, tuple[float, float] | None, str, float], None],
    plan: Plan,
) -> Search:
    """Runs a search in simulated time.

    Args:
        answer: From a configuration and a seed to its course.
        ask: From the trial's index to a handle and its configuration.
        tell: Takes the handle, the vector (None when it has none), the state and the seconds that the trial took.
        plan: Trials, workers and early stopping.
    """
    search = Search(rungs={share: [] for share in plan.rungs})
    events: list[_Event] = []

    def start(number: int, clock: float) -> None:
        handle, config = ask(number)
        course = answer(config, plan.seed)
        heapq.heappush(events, _Event(clock + course.seconds[0], number, 0, clock, handle, course))

    started = min(plan.workers, plan.trials)
    for number in range(started):
        start(number, 0.0)

    while events:
        event = heapq.heappop(events)
        vector = tuple(event.course.vectors[event.step].tolist())
        state = _end_state(event, vector, search, plan)

        # The trial goes on to its next share.
        if not state:
            step = event.step + 1
            clock = event.begun + event.course.seconds[step]
            heapq.heappush(events, _Event(clock, event.number, step, event.begun, event.handle, event.course))
            continue

        # The trial ended, and its worker starts another one.
        seconds = event.course.seconds[event.step]
        search.spent += seconds
        running = sum(event.clock - other.begun for other in events)
        search.ends.append((event.clock, search.spent + running, state, vector))
        tell(event.handle, vector if state == "finished" else None, state, float(seconds))
        if started < plan.trials:
            start(started, event.clock)
            started += 1
    return search


def _end_state(event: _Event, vector: tuple[float, float], search: Search, plan: Plan) -> str:
    """Returns how a trial ends at an event; empty where it goes on.

    Args:
        event: A trial that reached a share of its budget.
        vector: Its source and target accuracy there.
        search: The vectors at each rung, to which the trial's are added.
        plan: Early stopping.
    """
    if event.step == len(SHARES) - 1:
        return "failed" if event.course.failed else "finished"
    share = SHARES[event.step]
    if share not in search.rungs or event.course.failed:
        return ""

    before = search.rungs[share]
    stops = False
    if plan.rule is not None and event.number >= plan.unstoppable:
        stops = plan.rule(event.handle, share, vector, before)
    before.append(vector)
    return "stopped" if stops else ""


def base() -> AdaptationConfig:
    """Returns the hyperparameters that the table's space starts from."""
    return AdaptationConfig(epochs=SAMPLES / TARGET_IMAGES)


def slots(named_first: bool) -> Iterator[InitialTrial]:
    """Yields what each trial of a study of the space `full` is enqueued with.

    Args:
        named_first: Whether the named methods come first, as in a study; otherwise all is left to the sampler.
    """
    index = 0
    while True:
        yield full.initial_trial(base(), index) if named_first else InitialTrial()
        index += 1
