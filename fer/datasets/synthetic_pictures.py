"""Pictures of the synthetic faces: from the parameters of faces to grey 48×48 images."""

from collections.abc import Callable

import numpy as np

from fer.datasets.arrays import SIZE
from fer.datasets.synthetic_brushes import paint, shade, soft_mask
from fer.datasets.synthetic_features import draw_brows, draw_eyes, draw_mouth, draw_nose
from fer.datasets.synthetic_parameters import FaceParameters

_CHUNK = 64  # faces drawn at once: their planes stay in the second-level cache

_FEATURES = (
    (draw_eyes, slice(4, 36)),
    (draw_brows, slice(0, 32)),
    (draw_nose, slice(10, 42)),
    (draw_mouth, slice(20, SIZE)),
)
"""Each feature is drawn in its own rows only, which are enough for every framing and pose."""


def render(
    faces: FaceParameters, rng: np.random.Generator, on_drawn: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """Draws n faces.

    Args:
        faces: What the pictures depend on.
        rng: Of the grain.
        on_drawn: Called with how many are drawn.

    Returns:
        uint8 (n, 48, 48).
    """
    images = np.empty((len(faces), SIZE, SIZE), np.uint8)
    for start in range(0, len(faces), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = faces.select(rows)
        grain = rng.standard_normal((len(chunk), SIZE, SIZE), dtype=np.float32)
        images[rows] = _degrade(_compose(chunk), chunk, grain)
        on_drawn(start + len(chunk))
    return images


def _compose(face: FaceParameters) -> np.ndarray:
    """Composes wall, head, features, light and cover, from back to front; float32 (n, 48, 48), tones from 0 to 1."""
    # Where in the picture each pixel lies, from -1 to 1, and where in the plane of the face, which is tilted by roll.
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
    across = (line[None, None, :] - face.shift) / face.zoom
    down = (line[None, :, None] - face.lift) / face.zoom
    cos = np.cos(face.roll)
    sin = np.sin(face.roll)
    x = cos * across + sin * down
    y = cos * down - sin * across

    # The features lie on a sphere that turns under the outline by yaw and pitch.
    depth_across = np.sqrt(np.maximum(1 - 0.7 * x * x, 0.1))
    depth_down = np.sqrt(np.maximum(1 - 0.7 * y * y, 0.1))
    u = x * np.cos(face.yaw) + depth_across * np.sin(face.yaw)
    v = y * np.cos(face.pitch) + depth_down * np.sin(face.pitch)

    # The wall, and the head with its features before it.
    image = face.wall + face.wall_slope * x
    head = _draw_head(image, x, y, v, face)
    for draw_feature, rows in _FEATURES:
        draw_feature(image[:, rows], u[:, rows], v[:, rows], face)

    # Light falls on the head alone.
    light = face.light * x / face.face_width - face.top_light * y
    image *= 1 + light * head

    _draw_cover(image, x, y, face)
    return image


def _draw_head(image: np.ndarray, x: np.ndarray, y: np.ndarray, v: np.ndarray, face: FaceParameters) -> np.ndarray:
    """Draws hair, neck, head and beard over the wall.

    Args:
        image: float32 (n, 48, 48), which is changed.
        x: Each pixel's distance from the middle line, (n, 48, 48).
        y: Each pixel's distance downwards from the middle of the face, (n, 48, 48).
        v: The same on the turned sphere, see `_compose`.
        face: What the pictures depend on.

    Returns:
        The mask of the head, (n, 48, 48).
    """
    from_middle = np.abs(x)

    # Hair behind the head: an ellipse above the middle of the face, straight below it.
    hair_width = face.face_width + face.hair_volume
    hair_top = face.face_top + 0.5 * face.hair_volume
    above = np.sqrt((x / hair_width) ** 2 + (y / hair_top) ** 2) - 1
    below = from_middle / hair_width - 1
    outline = np.where(y > 0, below, above)
    paint(image, soft_mask(np.maximum(outline, y - face.hair_length), 0.08), face.hair)

    # Neck.
    neck = np.maximum(from_middle - 0.6 * face.face_width, 0.5 - y)
    paint(image, soft_mask(neck), 0.72 * face.skin)

    # Head: half an ellipse to the top, and another to the chin, which narrows and which the jaw lowers.
    chin = face.chin + 0.10 * face.jaw
    sideways = (x * (1 + face.jaw_taper * np.maximum(y, 0)) / face.face_width) ** 2
    upright = np.where(y > 0, y / chin, y / face.face_top) ** 2
    radius = np.sqrt(sideways + upright)
    head = soft_mask(radius - 1, 0.07)
    paint(image, head, face.skin * (1.06 - 0.22 * radius * radius))

    # Hair on the head, and the beard.
    cap = soft_mask(y - face.hairline - face.hair_curve * x * x, 0.08) * head
    paint(image, cap, face.hair)
    beard = soft_mask(0.34 + 0.25 * (1 - from_middle) - v, 0.2) * head
    shade(image, beard, face.bearded)
    return head


def _draw_cover(image: np.ndarray, x: np.ndarray, y: np.ndarray, face: FaceParameters) -> None:
    """Lays a hand, scarf or microphone, a tilted soft ellipse, over part of the face; changes the image.

    Args:
        image: float32 (n, 48, 48).
        x: See `_draw_head`.
        y: See `_draw_head`.
        face: What the pictures depend on.
    """
    x = x - face.cover_x
    y = y - face.cover_y
    cos = np.cos(face.cover_turn)
    sin = np.sin(face.cover_turn)
    radius = ((cos * x + sin * y) / face.cover_width) ** 2 + ((cos * y - sin * x) / face.cover_height) ** 2
    paint(image, soft_mask(radius - 1, 0.3) * face.occluded, face.cover_tone)


def _block_cosines() -> np.ndarray:
    """Returns the matrix of six 8-point cosine transforms (DCT-II), orthogonal and block-diagonal, float32 (48, 48)."""
    # One transform: a row for each frequency, scaled to length 1.
    frequency, place = np.mgrid[0:8, 0:8]
    scale = np.where(frequency == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    block = np.cos(np.pi * (place + 0.5) * frequency / 8) * scale

    # The same for each eight points of a line.
    return np.kron(np.eye(SIZE // 8), block).astype(np.float32)


def _second_difference() -> np.ndarray:
    """Returns the matrix of the second difference along a line whose ends are repeated, float32 (48, 48)."""
    matrix = np.eye(SIZE, k=1) + np.eye(SIZE, k=-1) - 2 * np.eye(SIZE)
    matrix[0, 0] = -1
    matrix[-1, -1] = -1
    return matrix.astype(np.float32)


_COSINES = _block_cosines()
_DIFFERENCE = _second_difference()
_FREQUENCY = np.add.outer(np.arange(SIZE) % 8, np.arange(SIZE) % 8).astype(np.float32) / 7
"""The sum of both frequencies of each coefficient, from 0 to 2."""


def _degrade(image: np.ndarray, face: FaceParameters, grain: np.ndarray) -> np.ndarray:
    """Does to a picture what cameras and file formats do: blur, exposure, grain and compression.

    Args:
        image: float32 (n, 48, 48), tones from 0 to 1.
        face: What the pictures depend on.
        grain: Standard normal numbers, float32 (n, 48, 48).

    Returns:
        uint8 (n, 48, 48).
    """
    # Lens blur, as heat diffuses.
    for _ in range(2):
        image = image + 0.5 * face.blur * (_DIFFERENCE @ image)
        image = image + 0.5 * face.blur * (image @ _DIFFERENCE)

    # Contrast, exposure and grain.
    image = (image - 0.5) * face.contrast + 0.5 + face.exposure
    image += face.noise * grain

    # Compression as in JPEG: coefficients of 8×8 blocks are rounded, those of high frequencies more coarsely.
    step = np.float32(1e-3) + face.quantised * (1 + 2 * _FREQUENCY)
    coefficients = np.rint(_COSINES @ image @ _COSINES.T / step) * step
    image = _COSINES.T @ coefficients @ _COSINES
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
