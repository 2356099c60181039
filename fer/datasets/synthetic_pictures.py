"""Pictures of the synthetic faces: from the parameters of faces to grey 48×48 images."""

import numpy as np

from fer.datasets.arrays import SIZE

_CHUNK = 64  # faces drawn at once: their planes stay in the second-level cache


def render(p: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draws the faces of parameters (n, 1, 1), as uint8 (n, 48, 48)."""
    n = len(p["zoom"])
    images = np.empty((n, SIZE, SIZE), np.uint8)
    for start in range(0, n, _CHUNK):
        part = {name: values[start : start + _CHUNK] for name, values in p.items()}
        grain = rng.standard_normal((len(part["zoom"]), SIZE, SIZE), dtype=np.float32)
        images[start : start + _CHUNK] = _degrade(_picture(part), part, grain)
    return images


def _soft(distance: np.ndarray, edge: float = 0.05) -> np.ndarray:
    """Returns a mask from a signed distance, 1 inside, with an edge about a pixel wide."""
    mask = distance * np.float32(-1 / edge)
    mask += np.float32(0.5)
    return np.clip(mask, 0, 1, out=mask)


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    """Returns a bump of the given half width about zero distance: (1 - d²/w²)², cheaper than a Gaussian."""
    bump = distance * np.float32(1 / width)
    bump *= bump
    np.subtract(1, bump, out=bump)
    np.maximum(bump, 0, out=bump)
    bump *= bump
    return bump


def _paint(image: np.ndarray, mask: np.ndarray, tone: np.ndarray | float) -> None:
    """Lays a tone over the image where the mask is."""
    image += mask * (tone - image)


def _shade(image: np.ndarray, mask: np.ndarray, amount: np.ndarray | float) -> None:
    """Darkens the image by a share where the mask is."""
    image *= 1 - mask * amount


def _picture(p: dict[str, np.ndarray]) -> np.ndarray:
    """Composes wall, head, features, cover and light, from back to front."""
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
    across = (line[None, None, :] - p["shift"]) / p["zoom"]
    down = (line[None, :, None] - p["lift"]) / p["zoom"]
    cos = np.cos(p["roll"])
    sin = np.sin(p["roll"])
    x = cos * across + sin * down
    y = cos * down - sin * across
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
    up = -open_up * lens
    low = open_down * lens
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
    smile = p["corner_up"]
    frown = p["corner_down"]
    jaw = p["jaw"]
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
    x = x - p["cover_x"]
    y = y - p["cover_y"]
    cos = np.cos(p["cover_turn"])
    sin = np.sin(p["cover_turn"])
    radius = ((cos * x + sin * y) / p["cover_w"]) ** 2 + ((cos * y - sin * x) / p["cover_h"]) ** 2
    _paint(image, _soft(radius - 1, 0.3) * p["occluded"], p["cover_tone"])
    return image


def _block_cosines() -> np.ndarray:
    """Returns the orthogonal block-diagonal matrix of six 8-point cosine transforms."""
    k, t = np.mgrid[0:8, 0:8]
    block = np.cos(np.pi * (t + 0.5) * k / 8) * np.where(k == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return np.kron(np.eye(SIZE // 8), block).astype(np.float32)


def _second_difference() -> np.ndarray:
    """Returns the matrix of the second difference along a line whose ends are repeated."""
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
