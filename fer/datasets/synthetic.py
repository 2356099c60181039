"""Synthetic datasets: drawn grey faces for every dataset, so that the whole job runs where no data is.

Facial action units (Ekman and Friesen's FACS) move the brows, lids, nose, lips and jaw of a parametric face; the seven
expressions are mixtures of EMFACS-like prototypes, with a style, an intensity and stray movements per image. People
differ in geometry, tone and expressiveness. The source is a wide domain (pose, light, occlusion, degradation, wrong
labels); every target is a narrow one with its own people, studio and way of posing. Nothing here says anything about
the real datasets, and whatever is computed from it is labelled synthetic.
"""

import numpy as np

from fer.datasets.arrays import SPLITS, Split
from fer.datasets.synthetic_domains import DOMAINS, MISTAKEN, PERSON, PROTOTYPES, UNITS, Domain
from fer.datasets.synthetic_pictures import render
from fer.expressions import EXPRESSIONS
from fer.seeding import generator

VERSION = "2"  # part of the data's digest: raise it whenever a pixel changes


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
    sizes = [max(len(EXPRESSIONS), round(size * scale)) for size in domain.sizes]
    counts = _people_per_split(sizes, domain.subjects)
    people = _draw_people(domain, sum(counts), generator("stand-in", VERSION, name, seed, "people"))
    splits = {}
    first_person = 0
    for split, size, count in zip(SPLITS, sizes, counts, strict=True):
        rng = generator("stand-in", VERSION, name, seed, split)
        subjects = first_person + rng.permutation(np.arange(size) % count)
        truth = _draw_expressions(domain, size, rng)
        images = render(_draw_parameters(domain, people, subjects, truth, rng), rng)
        labels = _mislabel(truth, domain.wrong, rng)
        splits[split] = Split(images, labels, subjects.astype(np.int64))
        first_person += count
    return splits


def _people_per_split(sizes: list[int], people: int) -> list[int]:
    """Shares people out as the images are, at least one and at most one per image for each split."""
    validation, test = (min(size, max(1, round(people * size / sum(sizes)))) for size in sizes[1:])
    return [min(sizes[0], max(1, people - validation - test)), validation, test]


def _draw_expressions(domain: Domain, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the expression that each image shows, int64 (size,)."""
    share = np.asarray(domain.mix) / sum(domain.mix)
    # Even quantiles rather than free draws: the frequencies hold in small splits; the first seven are one of each.
    quantiles = (np.arange(size - len(share)) + 0.5) / max(1, size - len(share))
    rest = np.searchsorted(np.cumsum(share)[:-1], rng.permutation(quantiles))
    return np.concatenate([np.arange(len(share)), rest])


def _mislabel(truth: np.ndarray, wrong: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the labels of hurried annotators; a share of them is wrong, but not of the first seven images."""
    mistaken = [[EXPRESSIONS.index(name) for name in MISTAKEN[expression]] for expression in EXPRESSIONS]
    table = np.array(mistaken)
    taken_for = table[truth, rng.integers(0, 3, len(truth))]
    is_right = (rng.random(len(truth)) >= wrong) | (np.arange(len(truth)) < len(EXPRESSIONS))
    return np.where(is_right, truth, taken_for).astype(np.int64)


def _draw_people(domain: Domain, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws what a person keeps from picture to picture, one row each."""
    people = {}
    for name, (mean, deviation) in PERSON.items():
        people[name] = mean + domain.person.get(name, 0.0) + domain.variety * deviation * _bell(rng, count)
    for name, (mean, deviation) in {"skin": domain.skin, "hair": domain.hair}.items():
        people[name] = np.clip(mean + deviation * _bell(rng, count), 0.05, 0.92)
    people["hair"] = np.minimum(people["hair"], people["skin"] - 0.2)
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
    """Draws the strength of every action unit for each image of the given expression."""
    n = len(truth)
    table = _prototype_table()
    style = np.searchsorted(np.cumsum(domain.styles)[:2], rng.random(n))
    intensity = np.clip(domain.intensity[0] + domain.intensity[1] * _bell(rng, n), 0.15, 1.2)
    moved = table[truth, style] * intensity[:, None] * habits * np.exp(0.2 * _bell(rng, n, len(UNITS)))
    moved *= rng.random(moved.shape) > 0.06
    moved *= [domain.gains.get(unit, 1.0) for unit in UNITS]
    moved += domain.stray * np.abs(_bell(rng, n, len(UNITS))) * (rng.random(moved.shape) < 0.4)
    moved += [domain.resting.get(unit, 0.0) for unit in UNITS]
    return dict(zip(UNITS, np.clip(moved, 0, 1.25).T, strict=True))


def _draw_parameters(
    domain: Domain, people: dict[str, np.ndarray], subjects: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws everything that a picture depends on, as float32 columns (n, 1, 1)."""
    n = len(truth)
    person = {name: values[subjects] for name, values in people.items()}
    p = _draw_action_units(domain, person.pop("habits"), truth, rng) | person

    # Studio, framing and pose.
    for name in ("wall", "light", "exposure", "contrast", "zoom", "lift"):
        mean, deviation = getattr(domain, name)
        p[name] = mean + deviation * _bell(rng, n)
    for name, deviation in zip(("yaw", "pitch", "roll"), domain.pose, strict=True):
        p[name] = deviation * _bell(rng, n)
    p["top_light"] = domain.top_light * (1 + 0.4 * _bell(rng, n))
    p["shift"] = 0.5 * domain.lift[1] * _bell(rng, n)
    p["gaze"] = 0.03 * _bell(rng, n)
    p["wall_slope"] = 2 * domain.wall[1] * _bell(rng, n)
    p["crooked"] = 0.25 * domain.stray * _bell(rng, n)

    # A hand, scarf or microphone before the face.
    p["occluded"] = (rng.random(n) < domain.occluded) * 1.0
    angle = rng.uniform(0, 2 * np.pi, n)
    distance = rng.uniform(0.45, 0.9, n)
    p["cover_x"] = distance * np.cos(angle)
    p["cover_y"] = distance * np.sin(angle)
    p["cover_turn"] = angle
    p["cover_w"] = rng.uniform(0.2, 0.5, n)
    p["cover_h"] = rng.uniform(0.3, 0.8, n)
    p["cover_tone"] = rng.uniform(0.05, 0.9, n)

    # Camera and file format.
    p["blur"] = np.minimum(rng.exponential(domain.blur, n), 0.6) if domain.blur else np.zeros(n)
    p["noise"] = domain.noise * rng.uniform(0.3, 1.7, n)
    p["quantised"] = domain.quantised * rng.uniform(0, 2, n)
    return {name: values.astype(np.float32).reshape(n, 1, 1) for name, values in p.items()}
