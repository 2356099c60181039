"""Answers of planted networks, drawn from latent margins of people, images, networks and trainings.

A network is right on an image where its margin is above 0. Margins are normal, so what a network is expected to reach
with other people, images and trainings has a closed form.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from study.tuning.answers import Comparison, Evaluation, SourceImages, TargetImages

POINTS = (1.0, 0.67, 0.33)
"""The shares of an adapted network in it and its interpolated ones."""

SOURCE_IMAGES = 1000


@dataclass(frozen=True)
class Noise:
    """Standard deviations of margins; one unit of margin is some 35 points of accuracy.

    Attributes:
        person: Of people, the same for all networks.
        image: Of images, the same for all networks.
        adapted_person: Of people, the same for all adapted networks.
        adapted_image: Of images, the same for all adapted networks.
        own_person: Of people for one trial, or for the baseline.
        own_image: Of images for one trial, or for the baseline.
        seed_image: Of images for one training.
        training: Of one training of a trial, on all images.
        source_training: The same on the source.
    """

    person: float = 0.35
    image: float = 0.8
    adapted_person: float = 0.25
    adapted_image: float = 0.3
    own_person: float = 0.2
    own_image: float = 0.45
    seed_image: float = 0.3
    training: float = 0.12
    source_training: float = 0.05


def plant(rng: np.random.Generator, trials: int, equal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Returns by how much each trial's mean margins on source and target differ from the baseline's, (trials,) each.

    What learns more forgets more, with luck of its own. Equal trials have the baseline's accuracy, see `World`.
    """
    if equal:
        return np.full(trials, np.nan), np.full(trials, np.nan)
    strength = rng.random(trials)
    target = rng.uniform(0.3, 1.0) * strength**0.7 + rng.normal(0, 0.15, trials)
    source = -rng.uniform(0.2, 0.9) * strength**2 + rng.normal(0, 0.08, trials)
    return source, target


class World:
    """A target with people, a baseline, and trials whose networks can be trained on any fold with any seed.

    Args:
        seed: Of everything.
        people: Their number; images are divided unevenly among them.
        images: The number of images.
        trials: The number of trials; each has a network per point.
        folds: The number of folds, at most as many as people.
        points: Shares of the adapted network.
        equal: Whether all networks are as good as the baseline.
        noise: Of the margins.
    """

    def __init__(  # noqa: PLR0913  # each argument is a property of the world
        self,
        seed: int,
        people: int,
        images: int,
        trials: int,
        folds: int = 5,
        points: tuple[float, ...] = POINTS,
        equal: bool = False,
        noise: Noise | None = None,
    ) -> None:
        self.seed, self.points, self.trials = seed, points, trials
        self.known: dict[tuple[int, int, int], list[Evaluation]] = {}
        rng = np.random.default_rng(seed)
        self.noise = noise or replace(Noise(), training=rng.uniform(0.05, 0.2), source_training=rng.uniform(0.02, 0.1))
        self.folds = min(folds, people)

        shares = rng.dirichlet(np.full(people, 8.0))
        extra = rng.choice(people, max(0, images - people), p=shares)
        self.subjects = np.sort(np.concatenate([np.arange(people), extra]))
        fold_of_person = rng.permutation(people) % self.folds
        self.fold_of_image = fold_of_person[self.subjects]
        labels = rng.integers(0, 7, len(self.subjects))

        size = self.noise
        count = len(self.subjects)
        self.person = rng.normal(0, size.person, people)
        self.common = self.person[self.subjects] + rng.normal(0, size.image, count)
        self.adapted = rng.normal(0, size.adapted_person, people)[self.subjects]
        self.adapted += rng.normal(0, size.adapted_image, count)
        own = rng.normal(0, size.own_person, people)[self.subjects] + rng.normal(0, size.own_image, count)
        self.source_common = rng.normal(0, size.image, SOURCE_IMAGES)
        self.source_adapted = rng.normal(0, size.adapted_image, SOURCE_IMAGES)
        source_own = rng.normal(0, size.own_image, SOURCE_IMAGES)
        self.level = {"source": rng.uniform(0.1, 0.5), "target": rng.uniform(-0.4, 0.3)}
        self.baseline = self.level["target"] + self.common + own
        self.source_baseline = self.level["source"] + self.source_common + source_own

        source_gain, target_gain = plant(rng, trials, equal)
        self.mean = {"source": self.level["source"] + source_gain, "target": self.level["target"] + target_gain}
        if equal:
            for domain, level in self.level.items():
                alone = self._spread(domain, 0.0)
                self.mean[domain] = np.full(trials, level / alone * self._spread(domain, 1.0))
        self.target = TargetImages(labels, self.subjects, self.fold_of_image, self.baseline > 0)
        self.source = SourceImages(rng.integers(0, 7, SOURCE_IMAGES), self.source_baseline > 0)
        self.trial_of = np.repeat(np.arange(trials), len(points))
        self.kind_of = np.tile(np.arange(len(points)), trials)
        self.truth = np.array([self._truth(trial, share) for trial in range(trials) for share in points])
        self.baseline_truth = np.array([ndtr(self.level[name] / self._spread(name, 0.0)) for name in self.level])

    def _spread(self, domain: str, share: float) -> float:
        """Returns the standard deviation of a network's margins over people, images and trainings."""
        size = self.noise
        shared = size.image**2
        of_baseline = size.own_image**2
        of_adapted = size.adapted_image**2 + size.own_image**2 + size.seed_image**2
        if domain == "target":
            shared += size.person**2
            of_baseline += size.own_person**2
            of_adapted += size.adapted_person**2 + size.own_person**2 + size.training**2
        else:
            of_adapted += size.source_training**2
        return float(np.sqrt(shared + (1 - share) ** 2 * of_baseline + share**2 * of_adapted))

    def _truth(self, trial: int, share: float) -> list[float]:
        """Returns expected source and target accuracy."""
        accuracies = []
        for domain, level in self.level.items():
            mean = (1 - share) * level + share * self.mean[domain][trial]
            accuracies.append(float(ndtr(mean / self._spread(domain, share))))
        return accuracies

    def train(self, trial: int, fold: int, seed: int = 0) -> list[Evaluation]:
        """Returns the evaluations of a trial's networks after one training; equal arguments give equal answers."""
        training = trial, fold, seed
        if training not in self.known:
            self.known[training] = self._draw_training(*training)
        return self.known[training]

    def train_on_every_fold(self, trial: int, seed: int = 0) -> list[Evaluation]:
        """Returns the evaluations of a trial's networks on all folds; the average of the folds answers the source."""
        margins = [self._draw_margins(trial, fold, seed) for fold in range(self.folds)]
        of_average = np.mean([source for _, source in margins], 0)
        return [
            replace(evaluation, repeats_source=fold > 0)
            for fold, (target, _) in enumerate(margins)
            for evaluation in self._answer(trial, fold, seed, target, of_average)
        ]

    def _draw_training(self, trial: int, fold: int, seed: int) -> list[Evaluation]:
        return self._answer(trial, fold, seed, *self._draw_margins(trial, fold, seed))

    def _draw_margins(self, trial: int, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the adapted network's margins on all images of the target and of the source."""
        size = self.noise
        of_trial = np.random.default_rng([self.seed, 1, trial])
        count = len(self.subjects)
        own = of_trial.normal(0, size.own_person, len(self.person))[self.subjects]
        own += of_trial.normal(0, size.own_image, count)
        source_own = of_trial.normal(0, size.own_image, SOURCE_IMAGES)
        of_training = np.random.default_rng([self.seed, 2, trial, fold, seed])
        own = own + of_training.normal(0, size.training) + of_training.normal(0, size.seed_image, count)
        source_own += of_training.normal(0, size.source_training)
        source_own += of_training.normal(0, size.seed_image, SOURCE_IMAGES)

        end = self.mean["target"][trial] + self.common + self.adapted + own
        return end, self.mean["source"][trial] + self.source_common + self.source_adapted + source_own

    def _answer(self, trial: int, fold: int, seed: int, end: np.ndarray, source_end: np.ndarray) -> list[Evaluation]:
        """Returns the evaluations of networks whose ends have these margins."""
        images = self.fold_of_image == fold
        evaluations = []
        for place, share in enumerate(self.points):
            right = (1 - share) * self.baseline[images] + share * end[images] > 0
            source_right = (1 - share) * self.source_baseline + share * source_end > 0
            evaluations.append(Evaluation(trial * len(self.points) + place, fold, seed, right, source_right))
        return evaluations

    def compare(self, trainings: list[tuple[int, int, int]]) -> Comparison:
        """Returns what is known after trainings of trial, fold and seed."""
        evaluations = [evaluation for training in trainings for evaluation in self.train(*training)]
        return Comparison(self.target, self.source, self.trial_of, self.kind_of, evaluations)

    def compare_every_fold(self) -> Comparison:
        """Returns what is known after one training of each trial on every fold."""
        evaluations = [each for trial in range(self.trials) for each in self.train_on_every_fold(trial)]
        return Comparison(self.target, self.source, self.trial_of, self.kind_of, evaluations)

    def one_fold_each(self) -> list[tuple[int, int, int]]:
        """Returns a training per trial, on the folds in turn."""
        return [(trial, trial % self.folds, 0) for trial in range(self.trials)]


def margin_of(accuracy: float) -> float:
    """Returns the margin, in its standard deviations, that an accuracy stands for."""
    return float(ndtri(accuracy))
