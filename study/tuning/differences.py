"""Paired differences between networks and the baseline, and how images and people make them vary.

A network is compared with the baseline on the same images. The difference of an image is 1 where the network alone is
right, -1 where the baseline alone is, 0 where both or none are. Networks that change many answers vary more than those
that change few, so differences are counted in a unit of each network's own: the root of the share of answers that it
changed, which is the root mean square of its differences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.tuning.answers import Comparison, Evaluation

_PSEUDO_IMAGES = 200
"""How many images' worth a network's share of changed answers is drawn to that of all networks of its kind."""

_PSEUDO_IMAGES_OF_KIND = 20
"""How many images' worth a kind's share of changed answers is drawn to that of all networks."""

_PSEUDO_CONTRASTS = 4.0
"""Degrees of freedom with which images' noise is drawn to what it is if no two networks err alike."""


@dataclass(frozen=True)
class Contrast:
    """How much people differ within folds, where folds have several: a mean square and what it is expected to be.

    It is expected to be the variance between people plus `noise`.

    Attributes:
        mean_square: Of the differences between people of one fold.
        freedom: Its degrees of freedom; 0 where no fold has two people.
        noise: What images alone contribute to it.
    """

    mean_square: float
    freedom: float
    noise: float


@dataclass(frozen=True)
class Differences:
    """Mean differences to the baseline on one domain, in units of each network, with what is known of their noise.

    Attributes:
        networks: (evaluations,) index of the network.
        folds: (evaluations,) the fold.
        seeds: (evaluations,) the seed.
        values: (evaluations,) mean difference over the images, in units of the network.
        units: (networks,) the unit, as an accuracy.
        images: (folds,) the images of each fold, at least 1.
        people_weight: (folds,) sum of the squared shares that people have in a fold: the variance of a fold's mean
            between people in units of that of one person; 0 on the source, where people are unknown.
        fold_noise: (folds,) what a fold's images add to the variance of one network's value, apart from the common.
        common_noise: (folds,) what a fold's images add to the variance of all networks' values together.
        lasting_noise: What images that are the same in all folds add to the variance of one network's value, apart
            from the common.
        lasting_common: What they add to the variance of all networks' values together.
        image_likeness: Correlation on an image of networks that come from one training, apart from the common.
        interaction: How differently people take to single networks.
        common: How differently people take to all networks together.
    """

    networks: np.ndarray
    folds: np.ndarray
    seeds: np.ndarray
    values: np.ndarray
    units: np.ndarray
    images: np.ndarray
    people_weight: np.ndarray
    fold_noise: np.ndarray
    common_noise: np.ndarray
    lasting_noise: float
    lasting_common: float
    image_likeness: float
    interaction: Contrast
    common: Contrast


def target_differences(comparison: Comparison) -> Differences:
    """Returns the differences on the target's images, fold by fold."""
    target = comparison.target
    evaluations = comparison.evaluations
    folds = int(target.folds.max(initial=-1)) + 1
    networks, fold_of, seeds = _indices(evaluations)
    images = [target.images_of(fold) for fold in range(folds)]
    raw = [
        evaluation.target_right.astype(float) - target.baseline_right[images[evaluation.fold]]
        for evaluation in evaluations
    ]
    units = _units(comparison, networks, raw)
    scaled = [difference / units[network] for difference, network in zip(raw, networks, strict=True)]

    # Each fold's networks beside each other: what images and people have in common, and what is left.
    by_fold = []
    for fold in range(folds):
        rows = np.flatnonzero(fold_of == fold)
        trainings = len(np.unique(comparison.trials[networks[rows]]))
        if trainings:
            answers = np.stack([scaled[row] for row in rows])
            training_of = _training_of(comparison, networks[rows], fold_of[rows], seeds[rows])
            by_fold.append(_FoldSums.of(answers, target.people[images[fold]], trainings, training_of))
    image_noise = _image_noise(by_fold)
    common_variance = _common_image_variance(by_fold, image_noise)

    sizes = np.array([max(1, len(index)) for index in images], float)
    weights = [_people_weight(target.people[index]) for index in images]
    return Differences(
        networks=networks,
        folds=fold_of,
        seeds=seeds,
        values=np.array([difference.mean() for difference in scaled]),
        units=units,
        images=sizes,
        people_weight=np.array(weights),
        fold_noise=image_noise / sizes,
        common_noise=common_variance / sizes,
        lasting_noise=0.0,
        lasting_common=0.0,
        image_likeness=_likeness(sum(fold.kin_product for fold in by_fold), sum(fold.kin_square for fold in by_fold)),
        interaction=_pool([fold.interaction(image_noise) for fold in by_fold]),
        common=_pool([fold.common(image_noise, common_variance) for fold in by_fold]),
    )


def source_differences(comparison: Comparison) -> Differences:
    """Returns the differences on the source's images, which are the same in all folds."""
    baseline = comparison.source.baseline_right
    folds = int(comparison.target.folds.max(initial=-1)) + 1
    evaluations = comparison.source_evaluations
    networks, fold_of, seeds = _indices(evaluations)
    raw = [evaluation.source_right.astype(float) - baseline for evaluation in evaluations]
    units = _units(comparison, networks, raw)
    nothing = np.zeros(folds)
    none = Contrast(0.0, 0.0, 0.0)

    # What all networks have in common on an image says nothing of their order.
    image_noise = 1.0
    common_variance = 0.0
    likeness = _likeness(0.0, 0.0)
    if len(raw) > 1:
        scaled = np.stack([difference / units[network] for difference, network in zip(raw, networks, strict=True)])
        residual = scaled - scaled.mean(0) - scaled.mean(1, keepdims=True) + scaled.mean()
        image_noise = float(np.square(residual).sum() / (len(raw) - 1) / max(1, len(baseline) - 1))
        common_variance = float(scaled.mean(0).var())
        training_of = _training_of(comparison, networks, fold_of, seeds)
        likeness = _likeness(*_kin_products(residual, training_of))
    return Differences(
        networks=networks,
        folds=fold_of,
        seeds=seeds,
        values=np.array([difference.mean() for difference in raw]) / units[networks],
        units=units,
        images=np.full(folds, float(max(1, len(baseline)))),
        people_weight=nothing,
        fold_noise=nothing,
        common_noise=nothing,
        lasting_noise=image_noise / len(baseline),
        lasting_common=common_variance / len(baseline),
        image_likeness=likeness,
        interaction=none,
        common=none,
    )


def _indices(evaluations: Sequence[Evaluation]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns network, fold and seed of each evaluation."""
    rows = [(evaluation.network, evaluation.fold, evaluation.seed) for evaluation in evaluations]
    table = np.array(rows, int).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _units(comparison: Comparison, networks: np.ndarray, raw: Sequence[np.ndarray]) -> np.ndarray:
    """Returns each network's unit: the root of its share of changed answers, drawn to that of its kind."""
    changed = np.bincount(networks, [np.abs(difference).sum() for difference in raw], comparison.networks)
    images = np.bincount(networks, [len(difference) for difference in raw], comparison.networks)
    kinds = comparison.kinds

    # Of each kind, itself drawn to all networks with half an image changed among all, so that no unit is 0.
    overall = (changed.sum() + 0.5) / (images.sum() + 1)
    of_kind = np.bincount(kinds, changed) + _PSEUDO_IMAGES_OF_KIND * overall
    of_kind /= np.bincount(kinds, images) + _PSEUDO_IMAGES_OF_KIND
    shares = (changed + _PSEUDO_IMAGES * of_kind[kinds]) / (images + _PSEUDO_IMAGES)
    return np.sqrt(shares)


def _people_weight(people: np.ndarray) -> float:
    """Returns the sum of the squared shares of images that people have; 1 for one person."""
    if not len(people):
        return 1.0
    counts = np.unique(people, return_counts=True)[1]
    return float(np.square(counts / counts.sum()).sum())


@dataclass(frozen=True)
class _FoldSums:
    """One fold's answers taken apart into people, images and what is left."""

    trainings: int
    evaluations: int
    inverse_images: float
    person_means: np.ndarray  # (evaluations, people)
    residual_square: float
    residual_freedom: float
    common_square: float
    common_freedom: float
    kin_product: float
    kin_square: float

    @classmethod
    def of(cls, answers: np.ndarray, people: np.ndarray, trainings: int, training_of: np.ndarray) -> "_FoldSums":
        """Returns the sums of answers (evaluations, images) of people (images,) from trainings (evaluations,)."""
        names, person = np.unique(people, return_inverse=True)
        counts = np.bincount(person).astype(float)
        is_person = (person[:, None] == np.arange(len(names))).astype(float)
        person_means = answers @ is_person / counts
        within = answers - person_means[:, person]
        common = within.mean(0)
        evaluations = len(answers)
        kin_product, kin_square = _kin_products(within - common, training_of)
        return cls(
            trainings=trainings,
            evaluations=evaluations,
            inverse_images=float(np.mean(1 / counts)),
            person_means=person_means,
            residual_square=float(np.square(within - common).sum()),
            residual_freedom=float((evaluations - 1) * (len(people) - len(names))),
            common_square=float(np.square(common).sum()),
            common_freedom=float(len(people) - len(names)),
            kin_product=kin_product,
            kin_square=kin_square,
        )

    def interaction(self, image_noise: float) -> Contrast:
        """Returns how people differ for single networks; networks of one trial count as one."""
        people = self.person_means.shape[1]
        freedom = (self.trainings - 1) * (people - 1)
        if not freedom:
            return Contrast(0.0, 0.0, 0.0)
        means = self.person_means
        residual = means - means.mean(0) - means.mean(1, keepdims=True) + means.mean()
        mean_square = float(np.square(residual).sum() / ((self.evaluations - 1) * (people - 1)))
        return Contrast(mean_square, freedom, image_noise * self.inverse_images)

    def common(self, image_noise: float, common_variance: float) -> Contrast:
        """Returns how people differ for all networks together."""
        people = self.person_means.shape[1]
        if people == 1:
            return Contrast(0.0, 0.0, 0.0)
        mean_square = float(self.person_means.mean(0).var(ddof=1))
        noise = (common_variance + image_noise / self.trainings) * self.inverse_images
        return Contrast(mean_square, people - 1, noise)


def _training_of(comparison: Comparison, networks: np.ndarray, folds: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Returns the index (evaluations,) of the training that each evaluation comes from."""
    trainings = np.stack([comparison.trials[networks], folds, seeds], 1)
    return np.unique(trainings, axis=0, return_inverse=True)[1].ravel()


def _kin_products(residual: np.ndarray, training_of: np.ndarray) -> tuple[float, float]:
    """Returns the sum of products of residuals (evaluations, images) over pairs of one training, and of squares.

    There are as many squares as products, so their ratio is a correlation, also after adding both over folds.
    """
    order = np.argsort(training_of, kind="stable")
    counts = np.bincount(training_of)
    sums = np.add.reduceat(residual[order], np.cumsum(counts) - counts, axis=0)
    squares = np.bincount(training_of, np.square(residual).sum(1))
    products = np.square(sums).sum(1) - squares
    return float(products.sum()), float((squares * (counts - 1)).sum())


def _likeness(product: float, square: float) -> float:
    """Returns the correlation on an image of networks of one training; half where there are none."""
    return float(np.clip(product / square, 0, 0.99)) if square > 0 else 0.5


def _image_noise(folds: Sequence[_FoldSums]) -> float:
    """Returns the variance of one network's difference on an image, apart from what is common to all networks."""
    square = sum(fold.residual_square for fold in folds)
    freedom = sum(fold.residual_freedom for fold in folds)
    return (square + _PSEUDO_CONTRASTS) / (freedom + _PSEUDO_CONTRASTS)


def _common_image_variance(folds: Sequence[_FoldSums], image_noise: float) -> float:
    """Returns the variance of the networks' common difference on an image of one person."""
    square = sum(fold.common_square for fold in folds) + _PSEUDO_CONTRASTS / 2
    freedom = sum(fold.common_freedom for fold in folds) + _PSEUDO_CONTRASTS
    networks = np.mean([fold.trainings for fold in folds]) if folds else 1.0
    return max(0.0, float(square / freedom - image_noise / networks))


def _pool(contrasts: Sequence[Contrast]) -> Contrast:
    """Returns the mean of contrasts, weighted by their degrees of freedom."""
    freedom = sum(contrast.freedom for contrast in contrasts)
    if not freedom:
        return Contrast(0.0, 0.0, 0.0)
    mean_square = sum(contrast.mean_square * contrast.freedom for contrast in contrasts) / freedom
    noise = sum(contrast.noise * contrast.freedom for contrast in contrasts) / freedom
    return Contrast(mean_square, freedom, noise)
