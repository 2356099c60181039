"""The features of the synthetic faces: eyes, brows, nose and mouth, moved by action units.

Every function draws one feature of n faces over n images of the skin, which it changes. Its arguments are

- image: float32 (n, height, width), tones from 0 to 1;
- u, v: float32 (n, height, width), where on the face each pixel lies: u to the right from the middle line, v downwards
  from the middle of the face, in half image widths;
- face: What the faces depend on.

Both halves of a face are drawn at once, by the distance |u| from the middle line. Numbers without a name are what made
the faces look right.
"""

import numpy as np

from fer.datasets.synthetic_brushes import bump, paint, shade, soft_mask
from fer.datasets.synthetic_parameters import FaceParameters


def draw_eyes(image: np.ndarray, u: np.ndarray, v: np.ndarray, face: FaceParameters) -> None:
    """Draws sockets, eyes, the lines around them, and glasses."""
    from_middle = np.abs(u)
    along = (from_middle - face.eye_x) / face.eye_width  # from -1, the inner corner, to 1, the outer one
    y = v - face.eye_y + face.eye_tilt * along

    # The lids are two arcs between the corners; units open and close them.
    arc = 1 - along * along
    opening = 1 + 0.9 * face.lid_up - 0.35 * face.lid_tight - 0.9 * face.lid_droop
    height_up = face.eye_height * np.maximum(opening, 0.1)
    opening_down = 1 + 0.3 * face.lid_up - 0.6 * face.cheek_up - 0.55 * face.lid_tight
    height_down = 0.75 * face.eye_height * np.maximum(opening_down, 0.1)
    upper_lid = -height_up * arc
    lower_lid = height_down * arc

    # The socket, and the fold that cheek raising pushes under the eye, with crow's feet beside it.
    shade(image, bump(along, 1.6) * bump(y + 0.03, 0.2), face.socket)
    fold = bump(along, 1.2) * bump(y - lower_lid - 0.07, 0.06)
    raised = np.minimum(face.cheek_up + 0.6 * face.lid_tight, 1)
    shade(image, fold, 0.05 + 0.15 * face.age + 0.25 * raised)

    # The eyeball, and the iris on it.
    eyeball = soft_mask(np.maximum(upper_lid - y, y - lower_lid)) * (arc > 0)
    paint(image, eyeball, 0.35 + 0.6 * face.skin)
    iris_x = from_middle - face.eye_x - face.gaze * np.sign(u)
    iris = np.sqrt(iris_x * iris_x + (v - face.eye_y) ** 2) - 0.43 * face.eye_width
    paint(image, soft_mask(iris) * eyeball, face.iris * 0.6)

    # The lashes, and the crease above them.
    lashes = bump(y - upper_lid, 0.055) * soft_mask(np.abs(along) - 1.05, 0.2)
    shade(image, lashes, 0.65)
    crease = bump(y - upper_lid + 0.07, 0.04) * soft_mask(np.abs(along) - 0.9, 0.3)
    shade(image, crease, np.maximum(face.crease, 0))

    # Glasses.
    frame = np.abs(np.sqrt((from_middle - face.eye_x) ** 2 + (1.2 * y) ** 2) - 0.25)
    bridge = np.maximum(from_middle - 0.12, np.abs(y + 0.06))
    shade(image, soft_mask(np.minimum(frame, bridge) - 0.015), face.glasses)


def draw_brows(image: np.ndarray, u: np.ndarray, v: np.ndarray, face: FaceParameters) -> None:
    """Draws the brows, the furrows between them, and the lines of the forehead."""
    from_middle = np.abs(u)
    rest_y = face.eye_y - face.brow_gap
    # From -1, the inner end, to 1, the outer one.
    along = (from_middle - face.eye_x + 0.02 + 0.035 * face.brow_down) / face.brow_width

    # How far units raise the inner and the outer end, and where the brow's middle line then lies.
    lowered = 0.13 * face.brow_down * (1 - 0.6 * face.inner_up)
    inner = 0.15 * face.inner_up - lowered - 0.04 * face.nose_wrinkle
    outer = 0.14 * face.outer_up - 0.04 * face.brow_down + face.brow_slope
    arched = rest_y - face.brow_arch * (1 - along * along)
    line = arched - 0.5 * (inner * (1 - along) + outer * (1 + along)) - face.crooked * u

    # Brow lowering gathers upright furrows between the brows, brow raising lays lines across the forehead.
    furrow = bump(from_middle - 0.06, 0.05) * bump(v - rest_y, 0.17)
    gathered = np.minimum(face.brow_down + 0.3 * face.nose_wrinkle, 1)
    shade(image, furrow, 0.35 * gathered + 0.08 * face.age)
    forehead_lines = bump(v - line + 0.16, 0.045) + bump(v - line + 0.28, 0.045)
    raised = np.minimum(0.6 * face.inner_up + 0.5 * face.outer_up, 1)
    shade(image, forehead_lines * soft_mask(from_middle - 0.4, 0.3), 0.2 * raised * (0.6 + face.age))

    # The brows, thinner towards the outer end.
    thickness = face.brow_thickness * (1.1 - 0.35 * along)
    hairs = soft_mask(np.abs(v - line) - thickness, 0.06) * soft_mask(np.abs(along) - 1, 0.35)
    paint(image, hairs * face.brow_tone, 0.8 * face.hair)


def draw_nose(image: np.ndarray, u: np.ndarray, v: np.ndarray, face: FaceParameters) -> None:
    """Draws the nose's ridge, wings and nostrils, and the wrinkles on its bridge."""
    # The nose stands out, so it moves further than the face when the head turns.
    u = u + 0.12 * np.sin(face.yaw)
    from_middle = np.abs(u)
    tip_y = face.nose_y - 0.05 * face.nose_wrinkle

    # The ridge: shadows on both sides, which draw apart towards the tip, and a light between them.
    along = np.clip((v - face.eye_y) / (tip_y - face.eye_y), 0, 1)
    length = soft_mask(np.maximum(face.eye_y - v, v - tip_y), 0.15)
    sides = bump(from_middle - face.nose_width * (0.55 + 0.4 * along), 0.07)
    shade(image, sides * length, 0.7 * face.nose_shade)
    image += 0.07 * bump(from_middle, 0.08) * length

    # The nostrils and the wings.
    wing_x = face.nose_width * (1 + 0.15 * face.nose_wrinkle + 0.15 * face.corner_up)
    from_nostril = (from_middle - 0.55 * wing_x) ** 2 + (1.3 * (v - tip_y)) ** 2
    shade(image, soft_mask(np.sqrt(from_nostril) - 0.045, 0.06), 2.2 * face.nose_shade)
    wings = bump(from_middle - wing_x, 0.05) * bump(v - tip_y + 0.05, 0.1)
    shade(image, wings, face.nose_shade + 0.2 * face.nose_wrinkle)

    # Wrinkles across the bridge.
    ridges = np.cos((v + 0.8 * from_middle - face.eye_y) * np.float32(2 * np.pi / 0.13))
    bridge = bump(from_middle, 0.26) * bump(v - face.eye_y - 0.09, 0.2)
    shade(image, np.maximum(ridges, 0) * bridge, 0.4 * face.nose_wrinkle)


def draw_mouth(image: np.ndarray, u: np.ndarray, v: np.ndarray, face: FaceParameters) -> None:
    """Draws the folds around the mouth, the lips, and what shows between them."""
    from_middle = np.abs(u)
    smile = face.corner_up
    frown = face.corner_down

    # Half the width of the mouth, and how far from its middle a pixel is: 0 in the middle, 1 at the corners.
    narrowed = 0.15 * face.press
    widening = 1 + 0.28 * smile + 0.3 * face.stretch - narrowed - 0.25 * face.jaw - 0.08 * face.chin_up
    half_width = face.mouth_width * widening
    squared = (from_middle / half_width) ** 2
    arc = 1 - squared

    # The line where the lips meet, and how far they are apart.
    middle_y = face.mouth_y + 0.03 * smile - 0.06 * face.chin_up - 0.03 * face.lip_up
    bent = (face.rest_corner - 0.14 * smile) * squared
    drawn_down = (0.12 * frown + 0.05 * face.chin_up) * squared * squared
    line = middle_y + (bent + drawn_down) + face.crooked * u
    gap = (0.07 * face.part + 0.24 * face.jaw * np.minimum(face.part + 0.3, 1)) * np.maximum(arc, 0)

    # The lips' inner edges and, by their thickness, their outer ones.
    inner_top = line - 0.3 * gap - 0.05 * face.lip_up * np.maximum(1 - squared * squared, 0)
    inner_bottom = line + 0.7 * gap
    fullness = np.maximum(1 - 0.65 * face.press - 0.25 * smile - 0.2 * face.stretch, 0.2)
    outer_top = inner_top - 0.75 * face.lip_thickness * fullness * arc
    outer_bottom = inner_bottom + (1.1 + 0.3 * face.chin_up) * face.lip_thickness * fullness * arc

    _draw_folds(image, from_middle, v, face, half_width)

    # The shadow under the lower lip, and the dimples of a raised chin.
    below_lip = bump(v - outer_bottom - 0.06, 0.07) * bump(from_middle, 0.3)
    shade(image, below_lip, 0.12 + 0.2 * face.chin_up)
    dimples = bump(v - face.mouth_y - 0.27, 0.1) * bump(from_middle - 0.09, 0.09)
    shade(image, dimples, 0.15 * face.chin_up)

    # The lips, the open mouth between them, and the teeth in it.
    within_corners = soft_mask((squared - 1) * half_width, 0.08)
    lips = soft_mask(np.maximum(outer_top - v, v - outer_bottom)) * within_corners
    paint(image, lips, face.skin * (1 - face.lip_tone))
    opening = soft_mask(np.maximum(inner_top - v, v - inner_bottom), 0.04) * within_corners * np.minimum(gap * 30, 1)
    paint(image, opening, 0.07)
    teeth_shown = np.minimum(smile + 0.8 * face.stretch + 0.9 * face.lip_up, 1) * 0.9
    teeth = soft_mask(np.maximum(inner_top - v, v - inner_top - 0.075), 0.04) * opening
    paint(image, teeth * teeth_shown, 0.55 + 0.4 * face.skin)

    # The line of a closed mouth, and its corners.
    closed = 1 - np.minimum(gap * 20, 1)
    shade(image, bump(v - line, 0.045) * within_corners * closed, 0.5 + 0.2 * face.press)
    corners = bump(from_middle - half_width, 0.05) * bump(v - line, 0.06)
    shade(image, corners, 0.25 + 0.2 * (smile + frown))


def _draw_folds(
    image: np.ndarray, from_middle: np.ndarray, v: np.ndarray, face: FaceParameters, half_width: np.ndarray
) -> None:
    """Draws the folds from the nose's wings to the corners of the mouth.

    Smiling, sneering and wrinkling the nose deepen them.

    Args:
        image: See the module.
        from_middle: |u|.
        v: See the module.
        face: What the faces depend on.
        half_width: Half the width of the mouth, (n, 1, 1).
    """
    # How far down the fold a height is: from 0, beside the nose, to 1, beside the mouth.
    start_y = face.nose_y - 0.04
    along = (v - start_y) / (face.mouth_y + 0.04 - start_y)

    # Where the fold is at that height, further out towards the mouth.
    path = face.nose_width + 0.05 + (half_width - face.nose_width + 0.05) * np.clip(along, 0, 1.2)
    on_fold = bump(from_middle - path, 0.065) * soft_mask(np.abs(along - 0.5) - 0.5, 0.5)

    depth = 0.1 * face.age + 0.22 * face.corner_up + 0.22 * face.lip_up + 0.2 * face.nose_wrinkle
    shade(image, on_fold, depth)
