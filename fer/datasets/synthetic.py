"""Synthetic datasets: drawn grey faces for every dataset, so that a study runs where no data is.

Facial action units (Ekman and Friesen's FACS) move the brows, lids, nose, lips and jaw of a parametric face; the seven
expressions are mixtures of EMFACS-like prototypes, with a style, an intensity and stray movements per image. People
differ in geometry, tone and expressiveness. The source is a wide domain (pose, light, occlusion, degradation, wrong
labels); every target is a narrow one with its own people, studio and way of posing. Nothing here says anything about
the real datasets, and whatever is computed from it is labelled synthetic.
"""

from functools import partial

import numpy as np

from fer.datasets.arrays import SPLITS, Split
from fer.datasets.synthetic_domains import DOMAINS, MISTAKEN, PERSON, PROTOTYPES, UNITS, Domain
from fer.datasets.synthetic_parameters import FaceParameters
from fer.datasets.synthetic_pictures import render
from fer.expressions import EXPRESSIONS
from fer.seeding import generator
from fer.told_progress import tell_progress

VERSION = "2"  # part of the data's digest: raise it whenever a pixel changes

_SEED_NAME = "stand-in"  # part of every seed: another word would give other faces


def draw(name: str, seed: int = 0, scale: float = 1.0) -> dict[str, Split]:
    """Draws a synthetic dataset in place of a real one.

    Args:
        name: A dataset's name; one without a row in `DOMAINS` gets a small generic target.
        seed: Another seed is another sample from the same domain: other people, other pictures.
        scale: Factor on the number of images; every split keeps at least seven.

    Returns:
        The splits train, validation and test, whose people differ. Every split holds every expression.
    """
    domain = DOMAINS.get(name, Domain())

    # Sizes of the splits, and the people in each of them.
    sizes = [max(len(EXPRESSIONS), round(size * scale)) for size in domain.sizes]
    counts = _people_per_split(sizes, domain.subjects)
    people = _draw_people(domain, sum(counts), generator(_SEED_NAME, VERSION, name, seed, "people"))

    # The pictures, split by split.
    splits = {}
    first_person = 0
    drawn = 0
    for split, size, count in zip(SPLITS, sizes, counts, strict=True):
        rng = generator(_SEED_NAME, VERSION, name, seed, split)
        subjects = first_person + rng.permutation(np.arange(size) % count)
        truth = _draw_expressions(domain, size, rng)
        parameters = _draw_parameters(domain, people, subjects, truth, rng)
        images = render(parameters, rng, partial(_tell_drawn, drawn, sum(sizes)))
        drawn += size
        labels = _mislabel(truth, domain.wrong, rng)
        splits[split] = Split(images, labels, subjects.astype(np.int64))
        first_person += count
    return splits


def _tell_drawn(before: int, total: int, count: int) -> None:
    """Tells how many pictures are drawn: those of a split so far, and those of the splits before."""
    tell_progress(before + count, total)


def _people_per_split(sizes: list[int], people: int) -> list[int]:
    """Shares people out over the splits, in proportion to their sizes; at least one, and at most one per image.

    Args:
        sizes: Number of images of training, validation and test.
        people: Number of all people.
    """
    shares = [round(people * size / sum(sizes)) for size in sizes]
    validation = min(sizes[1], max(1, shares[1]))
    test = min(sizes[2], max(1, shares[2]))
    train = min(sizes[0], max(1, people - validation - test))
    return [train, validation, test]


def _draw_expressions(domain: Domain, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the expression that each image shows, int64 (size,); the first seven images show one each."""
    shares = np.asarray(domain.mix) / sum(domain.mix)
    one_each = np.arange(len(shares))

    # Even quantiles in a random order rather than free draws, so that the frequencies hold in small splits.
    count = size - len(shares)
    quantiles = (np.arange(count) + 0.5) / max(1, count)
    others = np.searchsorted(np.cumsum(shares)[:-1], rng.permutation(quantiles))
    return np.concatenate([one_each, others])


def _mislabel(truth: np.ndarray, wrong: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the labels that hurried annotators give, int64 (n,).

    Args:
        truth: int64 (n,), the expressions that the images show.
        wrong: The chance of a wrong label; those of the first seven images are right.
        rng: Of the mistakes.
    """
    mistakes = []
    for expression in EXPRESSIONS:
        mistakes.append([EXPRESSIONS.index(name) for name in MISTAKEN[expression]])
    taken_for = np.array(mistakes)[truth, rng.integers(0, 3, len(truth))]

    is_right = rng.random(len(truth)) >= wrong
    is_right[: len(EXPRESSIONS)] = True
    return np.where(is_right, truth, taken_for).astype(np.int64)


def _draw_people(domain: Domain, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws what persons keep from picture to picture.

    Args:
        domain: What makes the dataset's faces its own.
        count: Number of persons.
        rng: Of all draws; their order is part of what the pictures depend on.

    Returns:
        Arrays (count,) by name, those of `FaceParameters` among them; and "habits", (count, units): how strongly a
        person moves each action unit, as a factor.
    """
    # The shape of the face, around what is usual in the dataset.
    people = {}
    for name, (mean, deviation) in PERSON.items():
        usual = mean + domain.person.get(name, 0.0)
        people[name] = usual + domain.variety * deviation * _bell(rng, count)

    # Tones of skin and hair, neither black nor white; hair is darker than skin.
    for name, (mean, deviation) in {"skin": domain.skin, "hair": domain.hair}.items():
        people[name] = np.clip(mean + deviation * _bell(rng, count), 0.05, 0.92)
    people["hair"] = np.minimum(people["hair"], people["skin"] - 0.2)

    # How dark a beard is and how dark glasses are, 0 where there are none; and how a person moves.
    people["bearded"] = (rng.random(count) < domain.beard) * rng.uniform(0.15, 0.5, count)
    people["glasses"] = (rng.random(count) < domain.glasses) * rng.uniform(0.4, 0.9, count)
    people["habits"] = np.exp(0.25 * _bell(rng, count, len(UNITS)))
    return people


def _bell(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Returns normal numbers within two deviations, so that no face falls apart."""
    return np.clip(rng.standard_normal(shape), -2, 2)


def _prototype_table() -> np.ndarray:
    """Returns the strength of every action unit in every style of every expression, float64 (7, 3, units)."""
    table = np.zeros((len(EXPRESSIONS), 3, len(UNITS)))
    for label, expression in enumerate(EXPRESSIONS):
        for style, strengths in enumerate(PROTOTYPES[expression]):
            table[label, style] = [strengths.get(unit, 0.0) for unit in UNITS]
    return table


def _draw_action_units(
    domain: Domain, habits: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws how strongly each image shows every action unit.

    Args:
        domain: What makes the dataset's faces its own.
        habits: Each image's person's factors on the units, (n, units).
        truth: int (n,), which expression each image shows.
        rng: Of all draws.

    Returns:
        Strengths (n,), 0…1.25, by unit.
    """
    count = len(truth)
    units = len(UNITS)

    # The expression's prototype in a style, as strongly as image and person show it.
    style = np.searchsorted(np.cumsum(domain.styles)[:2], rng.random(count))
    mean, deviation = domain.intensity
    intensity = np.clip(mean + deviation * _bell(rng, count), 0.15, 1.2)
    prototypes = _prototype_table()[truth, style]
    strength = prototypes * intensity[:, None] * habits * np.exp(0.2 * _bell(rng, count, units))

    # Some movements are missing, and the population shows some more than others.
    strength *= rng.random(strength.shape) > 0.06
    strength *= [domain.gains.get(unit, 1.0) for unit in UNITS]

    # Movements that do not belong to the expression, and those that are always there.
    strength += domain.stray * np.abs(_bell(rng, count, units)) * (rng.random(strength.shape) < 0.4)
    strength += [domain.resting.get(unit, 0.0) for unit in UNITS]
    return dict(zip(UNITS, np.clip(strength, 0, 1.25).T, strict=True))


def _draw_parameters(
    domain: Domain, people: dict[str, np.ndarray], subjects: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> FaceParameters:
    """Draws everything that n pictures depend on.

    Args:
        domain: What makes the dataset's faces its own.
        people: What persons keep from picture to picture, see `_draw_people`.
        subjects: int (n,), whom each picture shows.
        truth: int (n,), which expression each picture shows.
        rng: Of all draws; their order is part of what the pictures depend on.
    """
    count = len(truth)
    person = {name: values[subjects] for name, values in people.items()}
    habits = person.pop("habits")
    columns = _draw_action_units(domain, habits, truth, rng) | person

    # Studio, framing and pose.
    for name in ("wall", "light", "exposure", "contrast", "zoom", "lift"):
        mean, deviation = getattr(domain, name)
        columns[name] = mean + deviation * _bell(rng, count)
    for name, deviation in zip(("yaw", "pitch", "roll"), domain.pose, strict=True):
        columns[name] = deviation * _bell(rng, count)
    columns["top_light"] = domain.top_light * (1 + 0.4 * _bell(rng, count))
    columns["shift"] = 0.5 * domain.lift[1] * _bell(rng, count)
    columns["gaze"] = 0.03 * _bell(rng, count)
    columns["wall_slope"] = 2 * domain.wall[1] * _bell(rng, count)
    columns["crooked"] = 0.25 * domain.stray * _bell(rng, count)

    # A hand, scarf or microphone before the face.
    columns["occluded"] = (rng.random(count) < domain.occluded) * 1.0
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = rng.uniform(0.45, 0.9, count)
    columns["cover_x"] = distance * np.cos(angle)
    columns["cover_y"] = distance * np.sin(angle)
    columns["cover_turn"] = angle
    columns["cover_width"] = rng.uniform(0.2, 0.5, count)
    columns["cover_height"] = rng.uniform(0.3, 0.8, count)
    columns["cover_tone"] = rng.uniform(0.05, 0.9, count)

    # Camera and file format.
    columns["blur"] = np.minimum(rng.exponential(domain.blur, count), 0.6) if domain.blur else np.zeros(count)
    columns["noise"] = domain.noise * rng.uniform(0.3, 1.7, count)
    columns["quantised"] = domain.quantised * rng.uniform(0, 2, count)

    return FaceParameters(**{name: values.astype(np.float32).reshape(-1, 1, 1) for name, values in columns.items()})
