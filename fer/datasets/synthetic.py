"""The stand-in: drawn grey faces for every dataset, so that the whole job runs where no data is.

Facial action units (Ekman and Friesen's FACS) move the brows, lids, nose, lips and jaw of a parametric face; the seven
expressions are mixtures of EMFACS-like prototypes, with a style, an intensity and stray movements per image. People
differ in geometry, tone and expressiveness. The source is a wide domain (pose, light, occlusion, degradation, wrong
labels); every target is a narrow one with its own people, studio and way of posing. Nothing here says anything about
the real datasets, and whatever is computed from it is labelled synthetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fer.datasets.arrays import SIZE, SPLITS, Split
from fer.expressions import EXPRESSIONS
from fer.seeding import generator

VERSION = "2"  # part of the data's digest: raise it whenever a pixel changes
_CHUNK = 64  # faces drawn at once: their planes stay in the second-level cache

# FACS numbers, in words: 1 2 4 | 5 6 7 43 | 9 10 | 12 15 17 20 24 | 25 26.
UNITS = (
    "inner_up", "outer_up", "brow_down", "lid_up", "cheek_up", "lid_tight", "lid_droop", "nose_wrinkle", "lip_up",
    "corner_up", "corner_down", "chin_up", "stretch", "press", "part", "jaw",
)  # fmt: skip

# Each expression in three styles of action units with their intensities: closed or guarded, usual, open or full.
PROTOTYPES: dict[str, tuple[dict[str, float], dict[str, float], dict[str, float]]] = {
    "anger": (
        {"brow_down": 0.9, "lid_tight": 0.8, "press": 0.5, "chin_up": 0.6, "corner_down": 0.3},
        {"brow_down": 1.0, "lid_up": 0.6, "lid_tight": 0.5, "press": 1.0},
        {"brow_down": 1.0, "lid_up": 0.6, "lip_up": 0.5, "stretch": 0.3, "part": 1.0, "jaw": 0.5},
    ),
    "disgust": (
        {"nose_wrinkle": 0.7, "corner_down": 0.6, "chin_up": 0.8, "lid_tight": 0.6, "brow_down": 0.4},
        {"nose_wrinkle": 1.0, "lip_up": 0.8, "lid_tight": 0.5, "brow_down": 0.5, "part": 0.2},
        {"nose_wrinkle": 0.8, "lip_up": 1.0, "lid_tight": 0.7, "part": 0.8, "jaw": 0.3, "corner_down": 0.4},
    ),
    "fear": (
        {"inner_up": 0.9, "brow_down": 0.6, "lid_up": 0.6, "stretch": 0.5},
        {"inner_up": 0.9, "outer_up": 0.5, "brow_down": 0.6, "lid_up": 0.9, "stretch": 0.9, "part": 0.6},
        {"inner_up": 1.0, "outer_up": 0.8, "brow_down": 0.4, "lid_up": 1.0, "stretch": 0.5, "part": 0.9, "jaw": 0.6},
    ),
    "happiness": (
        {"cheek_up": 0.5, "corner_up": 0.8},
        {"cheek_up": 0.7, "corner_up": 1.0, "part": 0.7},
        {"cheek_up": 1.0, "corner_up": 1.0, "part": 1.0, "jaw": 0.5},
    ),
    "sadness": (
        {"inner_up": 0.6, "corner_down": 0.4, "lid_droop": 0.6},
        {"inner_up": 0.9, "brow_down": 0.5, "corner_down": 0.9, "chin_up": 0.5},
        {"inner_up": 0.8, "brow_down": 0.8, "cheek_up": 0.5, "corner_down": 0.6, "stretch": 0.4, "part": 0.6},
    ),
    "surprise": (
        {"inner_up": 0.9, "outer_up": 0.9, "lid_up": 0.5},
        {"inner_up": 1.0, "outer_up": 1.0, "lid_up": 0.8, "part": 0.8, "jaw": 0.5},
        {"inner_up": 1.0, "outer_up": 1.0, "lid_up": 1.0, "part": 1.0, "jaw": 1.0},
    ),
    "neutral": ({"press": 0.2}, {}, {"part": 0.3}),
}

# Whom a hurried annotator takes an expression for.
_MISTAKEN = {
    "anger": ("disgust", "sadness", "neutral"),
    "disgust": ("anger", "sadness", "anger"),
    "fear": ("surprise", "sadness", "surprise"),
    "happiness": ("neutral", "surprise", "neutral"),
    "sadness": ("neutral", "fear", "anger"),
    "surprise": ("fear", "happiness", "fear"),
    "neutral": ("sadness", "anger", "sadness"),
}

# A person: mean and standard deviation; lengths in half image widths, y downwards from the middle of the face.
_PERSON = {
    "face_w": (0.80, 0.05), "face_top": (1.05, 0.05), "chin": (0.98, 0.04), "jaw_taper": (0.16, 0.09),
    "hairline": (-0.80, 0.08), "hair_curve": (0.35, 0.15), "hair_length": (0.2, 0.5), "hair_volume": (0.16, 0.06),
    "eye_x": (0.35, 0.025), "eye_y": (-0.20, 0.03), "eye_w": (0.185, 0.014), "eye_h": (0.085, 0.010),
    "eye_tilt": (0.02, 0.02), "crease": (0.3, 0.15), "socket": (0.14, 0.07),
    "brow_gap": (0.24, 0.022), "brow_t": (0.046, 0.010), "brow_w": (0.22, 0.018), "brow_arch": (0.04, 0.018),
    "brow_slope": (0.0, 0.02), "brow_tone": (0.75, 0.12),
    "nose_y": (0.20, 0.035), "nose_w": (0.13, 0.02), "nose_shade": (0.22, 0.06),
    "mouth_y": (0.52, 0.03), "mouth_w": (0.30, 0.025), "lip_t": (0.066, 0.013), "lip_tone": (0.32, 0.08),
    "rest_corner": (0.0, 0.012), "age": (0.25, 0.18), "iris": (0.22, 0.08),
}  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """What makes a dataset's faces its own. Pairs are mean and standard deviation.

    Attributes:
        sizes: Images per split at scale 1.
        subjects: People over all splits.
        mix: Relative frequency of the expressions, in their order.
        styles: Chances of the closed, usual and open style of an expression.
        intensity: Of the whole expression.
        stray: Strength of movements that do not belong to the expression.
        gains: Factors on single action units: how this population poses.
        resting: Action units that are always on.
        person: Shifts of `_PERSON` means; `variety` scales its deviations.
        variety: See `person`.
        wrong: Share of wrong labels.
        skin, hair, wall: Tones between black 0 and white 1.
        light: Strength of the directed light, from the left if negative.
        top_light: Light from above.
        exposure, contrast: Of the finished picture.
        zoom, lift: Framing: size of the face, and its shift downwards.
        pose: Deviations of yaw, pitch and roll, radians.
        glasses, beard, occluded: Chances.
        blur, noise, quantised: Mean strengths of the degradations.
    """

    sizes: tuple[int, int, int] = (800, 100, 100)
    subjects: int = 60
    mix: tuple[float, ...] = (1, 1, 1, 1, 1, 1, 1)
    styles: tuple[float, float, float] = (0.6, 0.3, 0.1)
    intensity: tuple[float, float] = (0.75, 0.15)
    stray: float = 0.06
    gains: Mapping[str, float] = field(default_factory=dict)
    resting: Mapping[str, float] = field(default_factory=dict)
    person: Mapping[str, float] = field(default_factory=dict)
    variety: float = 0.8
    wrong: float = 0.02
    skin: tuple[float, float] = (0.66, 0.05)
    hair: tuple[float, float] = (0.20, 0.08)
    wall: tuple[float, float] = (0.55, 0.03)
    light: tuple[float, float] = (0.0, 0.05)
    top_light: float = 0.1
    exposure: tuple[float, float] = (0.0, 0.03)
    contrast: tuple[float, float] = (1.0, 0.05)
    zoom: tuple[float, float] = (1.0, 0.03)
    lift: tuple[float, float] = (0.0, 0.03)
    pose: tuple[float, float, float] = (0.05, 0.05, 0.03)
    glasses: float = 0.0
    beard: float = 0.0
    occluded: float = 0.0
    blur: float = 0.03
    noise: float = 0.008
    quantised: float = 0.01


DOMAINS: dict[str, Domain] = {
    "fer2013": Domain(
        sizes=(5000, 625, 625), subjects=1250, mix=(14, 6, 14, 21, 17, 11, 17),
        styles=(0.12, 0.48, 0.40), intensity=(1.0, 0.2), stray=0.07, variety=0.9, wrong=0.13,
        skin=(0.68, 0.08), hair=(0.24, 0.10), wall=(0.45, 0.18), light=(0.0, 0.15), exposure=(0.0, 0.05),
        contrast=(1.0, 0.12), zoom=(1.22, 0.05), lift=(-0.06, 0.03), pose=(0.12, 0.08, 0.07),
        glasses=0.10, beard=0.10, occluded=0.10, blur=0.07, noise=0.01, quantised=0.025,
    ),
    # Ten women of one laboratory, long black hair, soft light from above, guarded and subtle faces.
    "jaffe": Domain(
        sizes=(131, 15, 67), subjects=10, styles=(0.70, 0.25, 0.05), intensity=(0.8, 0.12), stray=0.05,
        gains={"brow_down": 0.7, "lid_up": 0.7, "nose_wrinkle": 0.6, "stretch": 0.6},
        person={"eye_h": -0.022, "eye_tilt": 0.03, "hair_length": 0.6, "brow_gap": 0.03, "crease": -0.25,
                "brow_t": -0.012, "nose_shade": -0.06},
        skin=(0.72, 0.03), hair=(0.08, 0.03), wall=(0.35, 0.02), light=(0.05, 0.03), top_light=0.2,
        contrast=(1.15, 0.05), zoom=(1.07, 0.03),
    ),
    # Posed by a director before a white wall: closed mouths, tight lids, little movement of the brows.
    "tfeid": Domain(
        sizes=(405, 47, 58), subjects=40, styles=(0.80, 0.18, 0.02), intensity=(0.9, 0.1),
        gains={"part": 0.7, "corner_down": 0.6, "inner_up": 0.7, "outer_up": 0.7, "lid_up": 0.8},
        resting={"lid_tight": 0.2},
        person={"eye_h": -0.020, "eye_tilt": 0.03, "crease": -0.2, "brow_gap": 0.03, "nose_y": -0.02},
        skin=(0.76, 0.03), hair=(0.07, 0.03), wall=(0.85, 0.02), exposure=(0.06, 0.02), zoom=(0.98, 0.02),
    ),
    # Frames of sequences before a dark curtain, lit from one side; many beards, heavy low brows, half-way faces.
    "mug": Domain(
        sizes=(5877, 741, 734), subjects=52, styles=(0.6, 0.33, 0.07), intensity=(0.75, 0.2),
        gains={"inner_up": 0.7, "outer_up": 0.7}, resting={"brow_down": 0.15},
        person={"brow_gap": -0.025, "brow_t": 0.012, "rest_corner": 0.015, "age": 0.2},
        skin=(0.58, 0.05), wall=(0.18, 0.03), light=(0.30, 0.05), exposure=(0.04, 0.02),
        beard=0.4, zoom=(1.07, 0.02),
    ),
    # Last frames of sequences on flat grey video: mouths tell more than brows do.
    "ckplus": Domain(
        sizes=(780, 100, 101), subjects=118, mix=(14, 18, 8, 21, 8, 25, 6), styles=(0.40, 0.35, 0.25),
        intensity=(0.9, 0.12), gains={"brow_down": 0.6, "inner_up": 0.6, "corner_up": 0.7, "press": 1.3},
        person={"brow_gap": -0.03, "mouth_y": -0.03}, skin=(0.62, 0.10), wall=(0.60, 0.08),
        light=(-0.15, 0.08), contrast=(0.8, 0.05), zoom=(0.98, 0.03), noise=0.015,
    ),
    # Rehearsed actors, lit from below: chins, lips and narrow lids, little of the brows.
    "kdef": Domain(
        sizes=(784, 98, 98), subjects=70, styles=(0.40, 0.50, 0.10), intensity=(0.95, 0.1),
        gains={"inner_up": 0.6, "outer_up": 0.6, "lip_up": 1.2, "chin_up": 1.4}, resting={"lid_tight": 0.25},
        person={"brow_gap": -0.02},
        skin=(0.70, 0.05), hair=(0.35, 0.15), wall=(0.50, 0.02), top_light=-0.1, contrast=(1.2, 0.04),
        zoom=(0.92, 0.02),
    ),
    # Posed unit by unit after FACS, even studio light, models of two tones.
    "rafd": Domain(
        sizes=(750, 94, 94), subjects=67, styles=(0.70, 0.28, 0.02), intensity=(0.8, 0.06), stray=0.02,
        gains={"part": 0.6, "cheek_up": 0.6, "inner_up": 0.7}, person={"crease": 0.1, "nose_y": 0.03},
        skin=(0.74, 0.08), hair=(0.40, 0.18),
        wall=(0.92, 0.01), contrast=(0.85, 0.03), zoom=(0.93, 0.02), noise=0.004,
    ),
    # Two collections from the web again: other people and annotators, sharper pictures than the source's.
    "rafdb": Domain(
        sizes=(800, 100, 100), subjects=300, mix=(6, 6, 3, 39, 16, 11, 19), styles=(0.50, 0.35, 0.15),
        intensity=(0.7, 0.2), stray=0.08, gains={"corner_down": 0.6, "lid_up": 0.7},
        person={"eye_h": -0.018, "brow_gap": 0.02}, wrong=0.06,
        skin=(0.70, 0.08), wall=(0.40, 0.15), light=(0.0, 0.2), contrast=(1.15, 0.1), zoom=(0.95, 0.04),
        pose=(0.16, 0.10, 0.03), glasses=0.05, beard=0.1, occluded=0.06, quantised=0.01,
    ),
    "affectnet": Domain(
        sizes=(800, 100, 100), subjects=700, styles=(0.35, 0.40, 0.25), intensity=(0.75, 0.2), stray=0.1,
        gains={"brow_down": 0.8}, resting={"part": 0.2}, variety=1.0, wrong=0.10, skin=(0.66, 0.10),
        wall=(0.50, 0.20), light=(0.0, 0.2), contrast=(0.9, 0.12), zoom=(1.0, 0.05), pose=(0.16, 0.10, 0.08),
        glasses=0.1, beard=0.15, occluded=0.06,
    ),
    # Strong, weak and dark rooms, a coarse camera, half the people with glasses.
    "oulu": Domain(
        sizes=(800, 100, 100), subjects=80, styles=(0.60, 0.33, 0.07), intensity=(0.8, 0.15),
        gains={"outer_up": 0.7, "jaw": 0.8}, person={"eye_h": -0.01}, skin=(0.52, 0.06), hair=(0.15, 0.08),
        wall=(0.30, 0.10), light=(0.1, 0.15), exposure=(-0.06, 0.06), contrast=(0.75, 0.1), zoom=(1.05, 0.03),
        glasses=0.45, blur=0.12, noise=0.015,
    ),
}  # fmt: skip


def draw(name: str, seed: int = 0, scale: float = 1.0) -> dict[str, Split]:
    """Draws the stand-in of a dataset.

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
    splits, first = {}, 0
    for split, size, count in zip(SPLITS, sizes, counts, strict=True):
        rng = generator("stand-in", VERSION, name, seed, split)
        subjects = first + rng.permutation(np.arange(size) % count)
        truth = _expressions(domain, size, rng)
        images = _render(_parameters(domain, people, subjects, truth, rng), rng)
        splits[split] = Split(images, _mislabel(truth, domain.wrong, rng), subjects.astype(np.int64))
        first += count
    return splits


def _people_per_split(sizes: list[int], people: int) -> list[int]:
    """Shares people out as the images are, at least one and at most one per image for each split."""
    validation, test = (min(size, max(1, round(people * size / sum(sizes)))) for size in sizes[1:])
    return [min(sizes[0], max(1, people - validation - test)), validation, test]


def _expressions(domain: Domain, size: int, rng: np.random.Generator) -> np.ndarray:
    share = np.asarray(domain.mix) / sum(domain.mix)
    # Even quantiles rather than free draws: the frequencies hold in small splits; the first seven are one of each.
    quantiles = (np.arange(size - len(share)) + 0.5) / max(1, size - len(share))
    rest = np.searchsorted(np.cumsum(share)[:-1], rng.permutation(quantiles))
    return np.concatenate([np.arange(len(share)), rest])


def _mislabel(truth: np.ndarray, wrong: float, rng: np.random.Generator) -> np.ndarray:
    table = np.array([[EXPRESSIONS.index(other) for other in _MISTAKEN[name]] for name in EXPRESSIONS])
    taken_for = table[truth, rng.integers(0, 3, len(truth))]
    keep = (rng.random(len(truth)) >= wrong) | (np.arange(len(truth)) < len(EXPRESSIONS))
    return np.where(keep, truth, taken_for).astype(np.int64)


def _draw_people(domain: Domain, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws what a person keeps from picture to picture, one row each."""
    people = {}
    for name, (mean, deviation) in _PERSON.items():
        people[name] = mean + domain.person.get(name, 0.0) + domain.variety * deviation * _bell(rng, count)
    for name, (mean, deviation) in {"skin": domain.skin, "hair": domain.hair}.items():
        people[name] = np.clip(mean + deviation * _bell(rng, count), 0.05, 0.92)
    people["hair"] = np.minimum(people["hair"], people["skin"] - 0.2)
    people["bearded"] = (rng.random(count) < domain.beard) * rng.uniform(0.15, 0.5, count)
    people["glasses"] = (rng.random(count) < domain.glasses) * rng.uniform(0.4, 0.9, count)
    people["habits"] = np.exp(0.25 * _bell(rng, count, len(UNITS)))
    return people


def _bell(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers within two deviations: no face falls apart."""
    return np.clip(rng.standard_normal(shape), -2, 2)


def _action_units(
    domain: Domain, habits: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws the strength of every action unit for each image of the given expression."""
    n = len(truth)
    table = np.array([[[style.get(unit, 0.0) for unit in UNITS] for style in PROTOTYPES[name]] for name in EXPRESSIONS])
    style = np.searchsorted(np.cumsum(domain.styles)[:2], rng.random(n))
    intensity = np.clip(domain.intensity[0] + domain.intensity[1] * _bell(rng, n), 0.15, 1.2)
    moved = table[truth, style] * intensity[:, None] * habits * np.exp(0.2 * _bell(rng, n, len(UNITS)))
    moved *= rng.random(moved.shape) > 0.06
    moved *= [domain.gains.get(unit, 1.0) for unit in UNITS]
    moved += domain.stray * np.abs(_bell(rng, n, len(UNITS))) * (rng.random(moved.shape) < 0.4)
    moved += [domain.resting.get(unit, 0.0) for unit in UNITS]
    return dict(zip(UNITS, np.clip(moved, 0, 1.25).T, strict=True))


def _parameters(
    domain: Domain, people: dict[str, np.ndarray], subjects: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draws everything that a picture depends on, as float32 columns (n, 1, 1)."""
    n = len(truth)
    person = {name: values[subjects] for name, values in people.items()}
    p = _action_units(domain, person.pop("habits"), truth, rng) | person
    for name in ("wall", "light", "exposure", "contrast", "zoom", "lift"):
        mean, deviation = getattr(domain, name)
        p[name] = mean + deviation * _bell(rng, n)
    for name, deviation in zip(("yaw", "pitch", "roll"), domain.pose, strict=True):
        p[name] = deviation * _bell(rng, n)
    p["top_light"] = domain.top_light * (1 + 0.4 * _bell(rng, n))
    p["shift"], p["gaze"] = 0.5 * domain.lift[1] * _bell(rng, n), 0.03 * _bell(rng, n)
    p["wall_slope"] = 2 * domain.wall[1] * _bell(rng, n)
    p["crooked"] = 0.25 * domain.stray * _bell(rng, n)
    p["occluded"] = (rng.random(n) < domain.occluded) * 1.0
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.45, 0.9, n)
    p["cover_x"], p["cover_y"], p["cover_turn"] = distance * np.cos(angle), distance * np.sin(angle), angle
    p["cover_w"], p["cover_h"], p["cover_tone"] = (rng.uniform(*r, n) for r in ((0.2, 0.5), (0.3, 0.8), (0.05, 0.9)))
    p["blur"] = np.minimum(rng.exponential(domain.blur, n), 0.6) if domain.blur else np.zeros(n)
    p["noise"] = domain.noise * rng.uniform(0.3, 1.7, n)
    p["quantised"] = domain.quantised * rng.uniform(0, 2, n)
    return {name: values.astype(np.float32).reshape(n, 1, 1) for name, values in p.items()}


def _render(p: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draws the faces of parameters (n, 1, 1), as uint8 (n, 48, 48)."""
    n = len(p["zoom"])
    images = np.empty((n, SIZE, SIZE), np.uint8)
    for start in range(0, n, _CHUNK):
        part = {name: values[start : start + _CHUNK] for name, values in p.items()}
        grain = rng.standard_normal((len(part["zoom"]), SIZE, SIZE), dtype=np.float32)
        images[start : start + _CHUNK] = _degrade(_picture(part), part, grain)
    return images


def _soft(distance: np.ndarray, edge: float = 0.05) -> np.ndarray:
    """A mask from a signed distance, 1 inside, with an edge about a pixel wide."""
    mask = distance * np.float32(-1 / edge)
    mask += np.float32(0.5)
    return np.clip(mask, 0, 1, out=mask)


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    """A smooth bump of the given half width about zero distance: (1 - d²/w²)², which is cheaper than a Gaussian."""
    bump = distance * np.float32(1 / width)
    bump *= bump
    np.subtract(1, bump, out=bump)
    np.maximum(bump, 0, out=bump)
    bump *= bump
    return bump


def _paint(image: np.ndarray, mask: np.ndarray, tone: np.ndarray | float) -> None:
    image += mask * (tone - image)


def _shade(image: np.ndarray, mask: np.ndarray, amount: np.ndarray | float) -> None:
    image *= 1 - mask * amount


def _picture(p: dict[str, np.ndarray]) -> np.ndarray:
    """Composes wall, head, features, cover and light, from back to front."""
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
    across, down = (line[None, None, :] - p["shift"]) / p["zoom"], (line[None, :, None] - p["lift"]) / p["zoom"]
    cos, sin = np.cos(p["roll"]), np.sin(p["roll"])
    x, y = cos * across + sin * down, cos * down - sin * across
    # The features lie on a sphere that turns under the outline.
    front = np.sqrt(np.maximum(1 - 0.7 * x * x, 0.1))
    u = x * np.cos(p["yaw"]) + front * np.sin(p["yaw"])
    v = y * np.cos(p["pitch"]) + np.sqrt(np.maximum(1 - 0.7 * y * y, 0.1)) * np.sin(p["pitch"])
    image = p["wall"] + p["wall_slope"] * x
    head = _draw_head(image, x, y, v, p)
    # Features are drawn in their own rows only; wide enough for every framing and pose.
    for part, rows in ((_draw_eyes, slice(4, 36)), (_draw_brows, slice(0, 32)), (_draw_nose, slice(10, 42)),
                       (_draw_mouth, slice(20, SIZE))):  # fmt: skip
        part(image[:, rows], u[:, rows], v[:, rows], p)
    lit = p["light"] * x / p["face_w"] - p["top_light"] * y
    image *= 1 + lit * head
    return _cover(image, x, y, p)


def _draw_head(image: np.ndarray, x: np.ndarray, y: np.ndarray, v: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    wide = np.abs(x)
    volume = p["hair_volume"]
    outer = np.sqrt((x / (p["face_w"] + volume)) ** 2 + (y / (p["face_top"] + 0.5 * volume)) ** 2) - 1
    outer = np.where(y > 0, wide / (p["face_w"] + volume) - 1, outer)
    _paint(image, _soft(np.maximum(outer, y - p["hair_length"]), 0.08), p["hair"])
    neck = np.maximum(wide - 0.6 * p["face_w"], 0.5 - y)
    _paint(image, _soft(neck), 0.72 * p["skin"])
    chin = p["chin"] + 0.10 * p["jaw"]
    q = (x * (1 + p["jaw_taper"] * np.maximum(y, 0)) / p["face_w"]) ** 2
    radius = np.sqrt(q + np.where(y > 0, y / chin, y / p["face_top"]) ** 2)
    head = _soft(radius - 1, 0.07)
    _paint(image, head, p["skin"] * (1.06 - 0.22 * radius * radius))
    cap = _soft(y - p["hairline"] - p["hair_curve"] * x * x, 0.08) * head
    _paint(image, cap, p["hair"])
    beard = _soft(0.34 + 0.25 * (1 - wide) - v, 0.2) * head
    _shade(image, beard, p["bearded"])
    return head


def _draw_eyes(image: np.ndarray, u: np.ndarray, v: np.ndarray, p: dict[str, np.ndarray]) -> None:
    side = np.sign(u)
    wide = np.abs(u)
    e = (wide - p["eye_x"]) / p["eye_w"]
    y = v - p["eye_y"] + p["eye_tilt"] * e
    lens = 1 - e * e
    open_up = p["eye_h"] * np.maximum(1 + 0.9 * p["lid_up"] - 0.35 * p["lid_tight"] - 0.9 * p["lid_droop"], 0.1)
    closing = 1 + 0.3 * p["lid_up"] - 0.6 * p["cheek_up"] - 0.55 * p["lid_tight"]
    open_down = 0.75 * p["eye_h"] * np.maximum(closing, 0.1)
    up, low = -open_up * lens, open_down * lens
    _shade(image, _bump(e, 1.6) * _bump(y + 0.03, 0.2), p["socket"])
    # Cheek raising pushes a fold under the eye and crow's feet beside it.
    fold = _bump(e, 1.2) * _bump(y - low - 0.07, 0.06)
    _shade(image, fold, 0.05 + 0.15 * p["age"] + 0.25 * np.minimum(p["cheek_up"] + 0.6 * p["lid_tight"], 1))
    inside = _soft(np.maximum(up - y, y - low)) * (lens > 0)
    _paint(image, inside, 0.35 + 0.6 * p["skin"])
    x = wide - p["eye_x"] - p["gaze"] * side
    iris = np.sqrt(x * x + (v - p["eye_y"]) ** 2) - 0.43 * p["eye_w"]
    _paint(image, _soft(iris) * inside, p["iris"] * 0.6)
    lash = _bump(y - up, 0.055) * _soft(np.abs(e) - 1.05, 0.2)
    _shade(image, lash, 0.65)
    _shade(image, _bump(y - up + 0.07, 0.04) * _soft(np.abs(e) - 0.9, 0.3), np.maximum(p["crease"], 0))
    frame = np.abs(np.sqrt((wide - p["eye_x"]) ** 2 + (1.2 * y) ** 2) - 0.25)
    bridge = np.maximum(wide - 0.12, np.abs(y + 0.06))
    _shade(image, _soft(np.minimum(frame, bridge) - 0.015), p["glasses"])


def _draw_brows(image: np.ndarray, u: np.ndarray, v: np.ndarray, p: dict[str, np.ndarray]) -> None:
    wide = np.abs(u)
    base = p["eye_y"] - p["brow_gap"]
    b = (wide - p["eye_x"] + 0.02 + 0.035 * p["brow_down"]) / p["brow_w"]
    inner = 0.15 * p["inner_up"] - 0.13 * p["brow_down"] * (1 - 0.6 * p["inner_up"]) - 0.04 * p["nose_wrinkle"]
    outer = 0.14 * p["outer_up"] - 0.04 * p["brow_down"] + p["brow_slope"]
    centre = base - p["brow_arch"] * (1 - b * b) - 0.5 * (inner * (1 - b) + outer * (1 + b)) - p["crooked"] * u
    # Brow lowering gathers upright furrows between the brows, brow raising lays lines across the forehead.
    furrow = _bump(wide - 0.06, 0.05) * _bump(v - base, 0.17)
    _shade(image, furrow, 0.35 * np.minimum(p["brow_down"] + 0.3 * p["nose_wrinkle"], 1) + 0.08 * p["age"])
    rows = _bump(v - centre + 0.16, 0.045) + _bump(v - centre + 0.28, 0.045)
    raised = np.minimum(0.6 * p["inner_up"] + 0.5 * p["outer_up"], 1)
    _shade(image, rows * _soft(wide - 0.4, 0.3), 0.2 * raised * (0.6 + p["age"]))
    thick = p["brow_t"] * (1.1 - 0.35 * b)
    hairs = _soft(np.abs(v - centre) - thick, 0.06) * _soft(np.abs(b) - 1, 0.35)
    _paint(image, hairs * p["brow_tone"], 0.8 * p["hair"])


def _draw_nose(image: np.ndarray, u: np.ndarray, v: np.ndarray, p: dict[str, np.ndarray]) -> None:
    u = u + 0.12 * np.sin(p["yaw"])
    wide = np.abs(u)
    tip = p["nose_y"] - 0.05 * p["nose_wrinkle"]
    along = np.clip((v - p["eye_y"]) / (tip - p["eye_y"]), 0, 1)
    length = _soft(np.maximum(p["eye_y"] - v, v - tip), 0.15)
    _shade(image, _bump(wide - p["nose_w"] * (0.55 + 0.4 * along), 0.07) * length, 0.7 * p["nose_shade"])
    image += 0.07 * _bump(wide, 0.08) * length
    wing = p["nose_w"] * (1 + 0.15 * p["nose_wrinkle"] + 0.15 * p["corner_up"])
    hole = (wide - 0.55 * wing) ** 2 + (1.3 * (v - tip)) ** 2
    _shade(image, _soft(np.sqrt(hole) - 0.045, 0.06), 2.2 * p["nose_shade"])
    _shade(image, _bump(wide - wing, 0.05) * _bump(v - tip + 0.05, 0.1), p["nose_shade"] + 0.2 * p["nose_wrinkle"])
    ridges = np.cos((v + 0.8 * wide - p["eye_y"]) * np.float32(2 * np.pi / 0.13))
    bridge = _bump(wide, 0.26) * _bump(v - p["eye_y"] - 0.09, 0.2)
    _shade(image, np.maximum(ridges, 0) * bridge, 0.4 * p["nose_wrinkle"])


def _draw_mouth(image: np.ndarray, u: np.ndarray, v: np.ndarray, p: dict[str, np.ndarray]) -> None:
    wide = np.abs(u)
    smile, frown, jaw = p["corner_up"], p["corner_down"], p["jaw"]
    half = p["mouth_w"] * (1 + 0.28 * smile + 0.3 * p["stretch"] - 0.15 * p["press"] - 0.25 * jaw - 0.08 * p["chin_up"])
    s2 = (wide / half) ** 2
    arch = 1 - s2
    middle = p["mouth_y"] + 0.03 * smile - 0.06 * p["chin_up"] - 0.03 * p["lip_up"]
    corner = (p["rest_corner"] - 0.14 * smile) * s2 + (0.12 * frown + 0.05 * p["chin_up"]) * s2 * s2
    line = middle + corner + p["crooked"] * u
    gap = (0.07 * p["part"] + 0.24 * jaw * np.minimum(p["part"] + 0.3, 1)) * np.maximum(arch, 0)
    up = line - 0.3 * gap - 0.05 * p["lip_up"] * np.maximum(1 - s2 * s2, 0)
    low = line + 0.7 * gap
    thin = np.maximum(1 - 0.65 * p["press"] - 0.25 * smile - 0.2 * p["stretch"], 0.2)
    top = up - 0.75 * p["lip_t"] * thin * arch
    bottom = low + (1.1 + 0.3 * p["chin_up"]) * p["lip_t"] * thin * arch
    # Folds from the nose's wings to the corners deepen with smiling, sneering and wrinkling.
    start = p["nose_y"] - 0.04
    along = (v - start) / (p["mouth_y"] + 0.04 - start)
    path = p["nose_w"] + 0.05 + (half - p["nose_w"] + 0.05) * np.clip(along, 0, 1.2)
    depth = 0.1 * p["age"] + 0.22 * smile + 0.22 * p["lip_up"] + 0.2 * p["nose_wrinkle"]
    _shade(image, _bump(wide - path, 0.065) * _soft(np.abs(along - 0.5) - 0.5, 0.5), depth)
    _shade(image, _bump(v - bottom - 0.06, 0.07) * _bump(wide, 0.3), 0.12 + 0.2 * p["chin_up"])
    dimples = _bump(v - p["mouth_y"] - 0.27, 0.1) * _bump(wide - 0.09, 0.09)
    _shade(image, dimples, 0.15 * p["chin_up"])
    ends = _soft((s2 - 1) * half, 0.08)
    _paint(image, _soft(np.maximum(top - v, v - bottom)) * ends, p["skin"] * (1 - p["lip_tone"]))
    hollow = _soft(np.maximum(up - v, v - low), 0.04) * ends * np.minimum(gap * 30, 1)
    _paint(image, hollow, 0.07)
    shown = np.minimum(smile + 0.8 * p["stretch"] + 0.9 * p["lip_up"], 1) * 0.9
    teeth = _soft(np.maximum(up - v, v - up - 0.075), 0.04) * hollow
    _paint(image, teeth * shown, 0.55 + 0.4 * p["skin"])
    _shade(image, _bump(v - line, 0.045) * ends * (1 - np.minimum(gap * 20, 1)), 0.5 + 0.2 * p["press"])
    _shade(image, _bump(wide - half, 0.05) * _bump(v - line, 0.06), 0.25 + 0.2 * (smile + frown))


def _cover(image: np.ndarray, x: np.ndarray, y: np.ndarray, p: dict[str, np.ndarray]) -> np.ndarray:
    """Lays a hand, scarf or microphone, a tilted soft ellipse, over part of the face."""
    x, y = x - p["cover_x"], y - p["cover_y"]
    cos, sin = np.cos(p["cover_turn"]), np.sin(p["cover_turn"])
    radius = ((cos * x + sin * y) / p["cover_w"]) ** 2 + ((cos * y - sin * x) / p["cover_h"]) ** 2
    _paint(image, _soft(radius - 1, 0.3) * p["occluded"], p["cover_tone"])
    return image


def _block_cosines() -> np.ndarray:
    """The orthogonal block-diagonal matrix of six 8-point cosine transforms."""
    k, t = np.mgrid[0:8, 0:8]
    block = np.cos(np.pi * (t + 0.5) * k / 8) * np.where(k == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return np.kron(np.eye(SIZE // 8), block).astype(np.float32)


def _second_difference() -> np.ndarray:
    """The matrix of the second difference along a line whose ends are repeated."""
    matrix = np.eye(SIZE, k=1) + np.eye(SIZE, k=-1) - 2 * np.eye(SIZE)
    matrix[0, 0] = matrix[-1, -1] = -1
    return matrix.astype(np.float32)


_COSINES = _block_cosines()
_DIFFERENCE = _second_difference()
_FREQUENCY = np.add.outer(np.arange(SIZE) % 8, np.arange(SIZE) % 8).astype(np.float32) / 7


def _degrade(image: np.ndarray, p: dict[str, np.ndarray], grain: np.ndarray) -> np.ndarray:
    """Applies lens blur, exposure, grain and coarse block-cosine coefficients, as cameras and file formats do."""
    for _ in range(2):
        image = image + 0.5 * p["blur"] * (_DIFFERENCE @ image)
        image = image + 0.5 * p["blur"] * (image @ _DIFFERENCE)
    image = (image - 0.5) * p["contrast"] + 0.5 + p["exposure"]
    image += p["noise"] * grain
    step = np.float32(1e-3) + p["quantised"] * (1 + 2 * _FREQUENCY)
    image = _COSINES.T @ (np.rint(_COSINES @ image @ _COSINES.T / step) * step) @ _COSINES
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
