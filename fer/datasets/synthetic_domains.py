"""Tables of the synthetic faces: expressions as action units, people, and what makes each dataset's faces its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


# The expressions that a hurried annotator takes an expression for.
MISTAKEN = {
    "anger": ("disgust", "sadness", "neutral"),
    "disgust": ("anger", "sadness", "anger"),
    "fear": ("surprise", "sadness", "surprise"),
    "happiness": ("neutral", "surprise", "neutral"),
    "sadness": ("neutral", "fear", "anger"),
    "surprise": ("fear", "happiness", "fear"),
    "neutral": ("sadness", "anger", "sadness"),
}


# A person's parameters, see `fer.datasets.synthetic_parameters.FaceParameters`: mean and standard deviation.
PERSON = {
    "face_width": (0.80, 0.05), "face_top": (1.05, 0.05), "chin": (0.98, 0.04), "jaw_taper": (0.16, 0.09),
    "hairline": (-0.80, 0.08), "hair_curve": (0.35, 0.15), "hair_length": (0.2, 0.5), "hair_volume": (0.16, 0.06),
    "eye_x": (0.35, 0.025), "eye_y": (-0.20, 0.03), "eye_width": (0.185, 0.014), "eye_height": (0.085, 0.010),
    "eye_tilt": (0.02, 0.02), "crease": (0.3, 0.15), "socket": (0.14, 0.07),
    "brow_gap": (0.24, 0.022), "brow_thickness": (0.046, 0.010), "brow_width": (0.22, 0.018),
    "brow_arch": (0.04, 0.018), "brow_slope": (0.0, 0.02), "brow_tone": (0.75, 0.12),
    "nose_y": (0.20, 0.035), "nose_width": (0.13, 0.02), "nose_shade": (0.22, 0.06),
    "mouth_y": (0.52, 0.03), "mouth_width": (0.30, 0.025), "lip_thickness": (0.066, 0.013), "lip_tone": (0.32, 0.08),
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
        intensity: Factor on all action units of an image.
        stray: Strength of movements that do not belong to the expression.
        gains: Factors on single action units: how this population poses.
        resting: Strengths of action units that are always on.
        person: Shifts of the means of `PERSON`.
        variety: Factor on the deviations of `PERSON`.
        wrong: Share of wrong labels.
        skin: Tone of the skin.
        hair: Tone of the hair.
        wall: Tone of the wall behind the head.
        light: Strength of the directed light, from the left if negative.
        top_light: Strength of the light from above, from below if negative.
        exposure: What is added to all tones of the picture.
        contrast: Factor on the difference of all tones from middle grey.
        zoom: Size of the face.
        lift: Shift of the face downwards.
        pose: Standard deviations of yaw, pitch and roll, radians.
        glasses: Chance that a person wears glasses.
        beard: Chance that a person has a beard.
        occluded: Chance that something covers a part of the face.
        blur: Mean strength of the lens blur.
        noise: Mean standard deviation of the grain, as a tone.
        quantised: Mean coarseness of the compression.
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
        person={"eye_height": -0.022, "eye_tilt": 0.03, "hair_length": 0.6, "brow_gap": 0.03, "crease": -0.25,
                "brow_thickness": -0.012, "nose_shade": -0.06},
        skin=(0.72, 0.03), hair=(0.08, 0.03), wall=(0.35, 0.02), light=(0.05, 0.03), top_light=0.2,
        contrast=(1.15, 0.05), zoom=(1.07, 0.03),
    ),
    # Posed by a director before a white wall: closed mouths, tight lids, little movement of the brows.
    "tfeid": Domain(
        sizes=(405, 47, 58), subjects=40, styles=(0.80, 0.18, 0.02), intensity=(0.9, 0.1),
        gains={"part": 0.7, "corner_down": 0.6, "inner_up": 0.7, "outer_up": 0.7, "lid_up": 0.8},
        resting={"lid_tight": 0.2},
        person={"eye_height": -0.020, "eye_tilt": 0.03, "crease": -0.2, "brow_gap": 0.03, "nose_y": -0.02},
        skin=(0.76, 0.03), hair=(0.07, 0.03), wall=(0.85, 0.02), exposure=(0.06, 0.02), zoom=(0.98, 0.02),
    ),
    # Frames of sequences before a dark curtain, lit from one side; many beards, heavy low brows, half-way faces.
    "mug": Domain(
        sizes=(5877, 741, 734), subjects=52, styles=(0.6, 0.33, 0.07), intensity=(0.75, 0.2),
        gains={"inner_up": 0.7, "outer_up": 0.7}, resting={"brow_down": 0.15},
        person={"brow_gap": -0.025, "brow_thickness": 0.012, "rest_corner": 0.015, "age": 0.2},
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
        person={"eye_height": -0.018, "brow_gap": 0.02}, wrong=0.06,
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
        gains={"outer_up": 0.7, "jaw": 0.8}, person={"eye_height": -0.01}, skin=(0.52, 0.06), hair=(0.15, 0.08),
        wall=(0.30, 0.10), light=(0.1, 0.15), exposure=(-0.06, 0.06), contrast=(0.75, 0.1), zoom=(1.05, 0.03),
        glasses=0.45, blur=0.12, noise=0.015,
    ),
}  # fmt: skip
