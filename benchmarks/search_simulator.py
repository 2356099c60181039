"""Replays a search over the table of real trainings: any sampler, early stopping and number of workers, no training.

What a configuration would reach is asked of a forest fitted to the table (`Surrogate`): its mean, plus noise. The noise
is how far one real row from the configuration's own neighbourhood lay from what a forest that had not seen it expected,
at all shares of the budget together, so rungs relate to ends as they really do; it is scaled so that two trainings of
one configuration differ as much as the table's repeated rows do.
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

from benchmarks.search_table import KNOBS, MEASURED, OBJECTIVES, SAMPLES, SHARES
from fer.adaptation import ALL, NATURAL, AdaptationConfig
from fer.expressions import CHANCE
from fer.seeding import seed_from
from study.front import hypervolume, non_dominated

CATEGORIES = {
    "optimiser": ("sgd", "adamw"),
    "bn": ("train", "frozen", "recompute"),
    "anchor": ("none", "weights", "fisher", "mas", "features", "logits", "replay"),
}
LOGARITHMIC = ("lr", "weight_decay", "anchor_weight")
SOURCE_IMAGES, TARGET_IMAGES = 5000, 784
STEPS = np.array([200, 98])  # validation images: accuracies are multiples of one of them
ENOUGH_PAIRS = 10  # of a row and its repetition, to tell noise from

Rule = Callable[[Any, float, Sequence[float], Sequence[Sequence[float]]], bool]
"""From the trial's handle, share, vector and the vectors that were at this rung before to whether the trial stops."""


@dataclass(frozen=True)
class Course:
    """What a simulated trial goes through: vectors (shares, 2) and CPU seconds (shares,) since its start."""

    vectors: np.ndarray
    seconds: np.ndarray
    failed: bool = False


def features(knobs: Mapping[str, Any]) -> list[float]:
    """Returns a configuration as numbers: categories as indicators, rates and weights as logarithms."""
    numbers: list[float] = []
    for name in KNOBS:
        value = knobs[name]
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
    """A forest over the table, which answers what a configuration reaches.

    Args:
        table: Of `benchmarks.search_table.read`.
        trees: In the forest.
        leaf: Rows in a leaf, at least.
    """

    def __init__(self, table: pd.DataFrame, trees: int = 60, leaf: int = 2) -> None:
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.model_selection import cross_val_predict
        from sklearn.preprocessing import StandardScaler

        self.inputs = np.array([features(row) for row in table.to_dict("records")], np.float32)
        self.outputs = outputs(table)
        self.failed = (table["state"] == "failed").to_numpy()
        forest = ExtraTreesRegressor(trees, min_samples_leaf=leaf, random_state=0)
        # Each measurement in its own standard deviations: a forest splits by the sum of their variances, and in the
        # logarithms of seconds that is a hundred times what it is in accuracies.
        self.units = StandardScaler().fit(self.outputs)
        standard = self.units.transform(self.outputs)
        # In order, so that a repeated row is seen or unseen together with the one before, but at four edges.
        expected = cross_val_predict(forest, self.inputs, standard, cv=5)
        self.residuals = self.outputs - self.units.inverse_transform(expected)
        self.scale = np.ones(self.outputs.shape[1])
        found = noise(table)
        if found["pairs"] >= ENOUGH_PAIRS:
            ends = np.sqrt((self.residuals[~self.failed, -3:-1] ** 2).mean(0))
            self.scale = np.tile([*np.minimum(1, [found["source"], found["target"]] / ends), 1.0], len(SHARES))
        forest.fit(self.inputs, standard)
        self.trees = [tree.tree_ for tree in forest.estimators_]
        self.members = [_by_leaf(tree.apply(self.inputs)) for tree in self.trees]

    def answer(self, config: AdaptationConfig, seed: int) -> Course:
        """Returns the course of a configuration; another seed is another training of it."""
        inputs = np.array([features(vars(config))], np.float32)
        leaves = [int(tree.apply(inputs)[0]) for tree in self.trees]
        means = [tree.value[leaf, :, 0] for tree, leaf in zip(self.trees, leaves, strict=True)]
        mean = self.units.inverse_transform([np.mean(means, axis=0)])[0]
        rng = np.random.default_rng(seed_from("simulated", seed, inputs.tobytes().hex()))
        tree = int(rng.integers(len(self.trees)))
        neighbour = int(rng.choice(self.members[tree][leaves[tree]]))
        return course(mean + self.scale * self.residuals[neighbour], bool(self.failed[neighbour]))

    def errors(self) -> dict[str, float]:
        """Returns how far the forest is off on rows that it did not see, and the share of the variance it explains."""
        sound = ~self.failed
        found = {}
        for index, name in enumerate(MEASURED):
            truth, off = self.outputs[sound, index], self.residuals[sound, index]
            found[f"{name} rmse"] = float(np.sqrt(np.mean(off**2)))
            found[f"{name} r2"] = float(1 - np.mean(off**2) / max(np.var(truth), 1e-12))
        return found


def noise(rows: pd.DataFrame) -> dict[str, float]:
    """Returns the standard deviation of trainings of one configuration, over the repeated rows."""
    first = rows.set_index("number")
    again = rows[(rows["seed"] == 1) & (rows["state"] == "finished")]["number"]
    pairs = [(number - 1, number) for number in again if first["state"].get(number - 1) == "finished"]
    found: dict[str, float] = {"pairs": len(pairs)}
    for side in OBJECTIVES:
        off = [first[f"{side}@1"][one] - first[f"{side}@1"][other] for one, other in pairs]
        found[side] = float(np.sqrt(np.mean(np.square(off)) / 2)) if off else float("nan")
    return found


def outputs(table: pd.DataFrame) -> np.ndarray:
    """Returns the table's measurements (rows, 3 x shares), seconds as logarithms.

    What trains nothing, or several networks, has no rungs: it is there what it is at its end. What failed is at chance.
    """
    found = table[list(MEASURED)].copy()
    sound = table["state"] == "finished"
    for column in found:
        end = found[f"{column.partition('@')[0]}@1"]
        if column.startswith("seconds"):
            found[column] = np.log(found[column].fillna(end))
        else:
            found[column] = found[column].fillna(end.where(sound)).fillna(CHANCE)
    return found.to_numpy(float)


def course(values: np.ndarray, failed: bool) -> Course:
    """Turns a row of `outputs` into a course: accuracies that are multiples of an image, seconds that never go back."""
    values = values.reshape(len(SHARES), len(OBJECTIVES) + 1)
    vectors = np.round(np.clip(values[:, :2], 0, 1) * STEPS) / STEPS
    return Course(vectors, np.maximum.accumulate(np.exp(values[:, 2])), failed)


def _by_leaf(leaves: np.ndarray) -> dict[int, np.ndarray]:
    return {int(leaf): np.flatnonzero(leaves == leaf) for leaf in np.unique(leaves)}


@dataclass
class Search:
    """What a simulated search did.

    Attributes:
        ends: A row per trial in the order of their ends: clock, CPU seconds of all trials so far, those of the trials
            that still run included, state, vector.
        spent: CPU seconds of all trials that ended.
        rungs: Vectors at each rung, in the order of the clock.
    """

    ends: list[tuple[float, float, str, tuple[float, float]]] = field(default_factory=list)
    spent: float = 0.0
    rungs: dict[float, list[tuple[float, float]]] = field(default_factory=dict)

    def hypervolumes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns CPU seconds (trials,) and the hypervolume of the finished trials by then."""
        best, current, cost, volumes = np.empty((0, 2)), 0.0, [], []
        for _, spent, state, vector in self.ends:
            if state == "finished":
                grown = np.vstack([best, vector])
                mask = non_dominated(grown)
                if mask[-1]:
                    best, current = grown[mask], hypervolume(grown[mask])
            cost.append(spent)
            volumes.append(current)
        return np.array(cost), np.array(volumes)


def simulate(
    answer: Callable[[AdaptationConfig, int], Course],
    ask: Callable[[int], tuple[Any, AdaptationConfig]],
    tell: Callable[[Any, tuple[float, float] | None, str, float], None],
    trials: int,
    seed: int,
    workers: int = 1,
    rule: Rule | None = None,
    rungs: Sequence[float] = (0.5,),
    kept: int = 0,
) -> Search:
    """Runs a search in simulated time.

    Args:
        answer: From configuration and seed to its course.
        ask: From the trial's index to a handle and its configuration.
        tell: Takes the handle, the vector (None when it has none), the state and the seconds that the trial took.
        trials: How many in all.
        seed: Of the trainings.
        workers: How many trials run at once.
        rule: Of early stopping; None lets every trial end.
        rungs: Shares of the budget at which it is asked.
        kept: The first trials, which the rule never stops.
    """
    search, begun = Search(rungs={share: [] for share in rungs}), 0
    events: list[tuple[float, int, int, Any]] = []

    def start(clock: float) -> None:
        nonlocal begun
        handle, config = ask(begun)
        found = answer(config, seed)
        heapq.heappush(events, (clock + found.seconds[0], begun, 0, (clock, handle, found)))
        begun += 1

    for _ in range(min(workers, trials)):
        start(0.0)
    while events:
        clock, number, step, (begin, handle, found) = heapq.heappop(events)
        vector, state = tuple(found.vectors[step].tolist()), ""
        if found.failed and step == len(SHARES) - 1:
            state = "failed"
        elif step == len(SHARES) - 1:
            state = "finished"
        elif SHARES[step] in search.rungs and not found.failed:
            before = search.rungs[SHARES[step]]
            if rule is not None and number >= kept and rule(handle, SHARES[step], vector, before):
                state = "stopped"
            before.append(vector)
        if not state:
            heapq.heappush(events, (begin + found.seconds[step + 1], number, step + 1, (begin, handle, found)))
            continue
        search.spent += found.seconds[step]
        running = sum(clock - others_begin for *_, (others_begin, _, _) in events)
        search.ends.append((clock, search.spent + running, state, vector))
        tell(handle, vector if state == "finished" else None, state, float(found.seconds[step]))
        if begun < trials:
            start(clock)
    return search


def base() -> AdaptationConfig:
    """Returns the knobs that the table's space starts from."""
    return AdaptationConfig(epochs=SAMPLES / TARGET_IMAGES)


def slots(named_first: bool) -> Iterator[dict[str, Any]]:
    """Yields what each trial of a study of the space `full` is enqueued with."""
    from search_spaces import full

    index = 0
    while True:
        yield full.slot(base(), index) if named_first else {"params": {}}
        index += 1
