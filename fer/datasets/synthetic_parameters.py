"""What a picture of a synthetic face depends on."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class FaceParameters:
    """The parameters of n faces, each float32 (n, 1, 1), so that they broadcast over the pixels of n pictures.

    Lengths are in half image widths, from the middle of the face, y downwards; tones lie between black 0 and white 1.
    Action units have strengths from 0, at rest, to 1.25.

    Attributes:
        face_width: From the middle line to the side of the face.
        face_top: From the middle of the face to the top of the skull.
        chin: From the middle of the face to the tip of the chin, with a closed jaw.
        jaw_taper: How much the face narrows towards the chin.
        hairline: Height at which the hair begins in the middle of the forehead.
        hair_curve: How much lower the hair begins towards the sides.
        hair_length: How far down the hair hangs beside the face.
        hair_volume: How far the hair stands out from the skull.
        eye_x: From the middle line to the middle of an eye.
        eye_y: Height of the eyes.
        eye_width: Half the width of an eye.
        eye_height: How far the upper lid is from the line between the corners of a relaxed eye.
        eye_tilt: How much higher the outer corner of an eye is.
        crease: Darkness of the crease above the upper lid.
        socket: Darkness of the shadow around an eye.
        brow_gap: From the middle of an eye up to the brow.
        brow_thickness: Half the thickness of a brow.
        brow_width: Half the width of a brow.
        brow_arch: How much higher the middle of a brow is than its ends.
        brow_slope: How much higher the outer end of a brow is.
        brow_tone: How far the brows take the colour of the hair.
        nose_y: Height of the tip of the nose.
        nose_width: From the middle line to the wing of the nose.
        nose_shade: Darkness of the shadows around the nose.
        mouth_y: Height of the mouth.
        mouth_width: Half the width of a relaxed mouth.
        lip_thickness: Thickness of a lip.
        lip_tone: How much darker than the skin the lips are.
        rest_corner: How much lower than its middle the corners of a relaxed mouth are.
        age: Depth of folds and lines.
        iris: Tone of the iris.
        skin: Tone of the skin.
        hair: Tone of the hair.
        bearded: Darkness of a beard; 0 without one.
        glasses: Darkness of the frame of glasses; 0 without them.
        inner_up: Action unit 1, inner brow raiser.
        outer_up: Action unit 2, outer brow raiser.
        brow_down: Action unit 4, brow lowerer.
        lid_up: Action unit 5, upper lid raiser.
        cheek_up: Action unit 6, cheek raiser.
        lid_tight: Action unit 7, lid tightener.
        lid_droop: Action unit 43, eyes closed.
        nose_wrinkle: Action unit 9, nose wrinkler.
        lip_up: Action unit 10, upper lip raiser.
        corner_up: Action unit 12, lip corner puller.
        corner_down: Action unit 15, lip corner depressor.
        chin_up: Action unit 17, chin raiser.
        stretch: Action unit 20, lip stretcher.
        press: Action unit 24, lip pressor.
        part: Action unit 25, lips part.
        jaw: Action unit 26, jaw drop.
        wall: Tone of the wall behind the head.
        light: Strength of the directed light, from the left if negative.
        exposure: What is added to all tones of the picture.
        contrast: Factor on the difference of all tones from middle grey.
        zoom: Size of the face.
        lift: Shift of the face downwards.
        yaw: Turn of the head to the side, radians.
        pitch: Turn of the head down, radians.
        roll: Tilt of the head to the side, radians.
        top_light: Strength of the light from above, from below if negative.
        shift: Shift of the face to the right.
        gaze: Shift of both irises to the right.
        wall_slope: How much brighter the wall gets to the right.
        crooked: How much the brows rise and the mouth sinks to the right.
        occluded: 1 where something covers a part of the face, else 0.
        cover_x: Where the middle of the covering thing lies, to the right.
        cover_y: Where the middle of the covering thing lies, downwards.
        cover_turn: Turn of the covering thing, radians.
        cover_width: Half the width of the covering thing.
        cover_height: Half the height of the covering thing.
        cover_tone: Tone of the covering thing.
        blur: Strength of the lens blur.
        noise: Standard deviation of the grain, as a tone.
        quantised: Coarseness of the compression.
    """

    # A person's geometry and tones.
    face_width: np.ndarray
    face_top: np.ndarray
    chin: np.ndarray
    jaw_taper: np.ndarray
    hairline: np.ndarray
    hair_curve: np.ndarray
    hair_length: np.ndarray
    hair_volume: np.ndarray
    eye_x: np.ndarray
    eye_y: np.ndarray
    eye_width: np.ndarray
    eye_height: np.ndarray
    eye_tilt: np.ndarray
    crease: np.ndarray
    socket: np.ndarray
    brow_gap: np.ndarray
    brow_thickness: np.ndarray
    brow_width: np.ndarray
    brow_arch: np.ndarray
    brow_slope: np.ndarray
    brow_tone: np.ndarray
    nose_y: np.ndarray
    nose_width: np.ndarray
    nose_shade: np.ndarray
    mouth_y: np.ndarray
    mouth_width: np.ndarray
    lip_thickness: np.ndarray
    lip_tone: np.ndarray
    rest_corner: np.ndarray
    age: np.ndarray
    iris: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    bearded: np.ndarray
    glasses: np.ndarray

    # Action units.
    inner_up: np.ndarray
    outer_up: np.ndarray
    brow_down: np.ndarray
    lid_up: np.ndarray
    cheek_up: np.ndarray
    lid_tight: np.ndarray
    lid_droop: np.ndarray
    nose_wrinkle: np.ndarray
    lip_up: np.ndarray
    corner_up: np.ndarray
    corner_down: np.ndarray
    chin_up: np.ndarray
    stretch: np.ndarray
    press: np.ndarray
    part: np.ndarray
    jaw: np.ndarray

    # Studio, framing and pose.
    wall: np.ndarray
    light: np.ndarray
    exposure: np.ndarray
    contrast: np.ndarray
    zoom: np.ndarray
    lift: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    top_light: np.ndarray
    shift: np.ndarray
    gaze: np.ndarray
    wall_slope: np.ndarray
    crooked: np.ndarray

    # A hand, scarf or microphone before the face.
    occluded: np.ndarray
    cover_x: np.ndarray
    cover_y: np.ndarray
    cover_turn: np.ndarray
    cover_width: np.ndarray
    cover_height: np.ndarray
    cover_tone: np.ndarray

    # Camera and file format.
    blur: np.ndarray
    noise: np.ndarray
    quantised: np.ndarray

    def __len__(self) -> int:
        return len(self.zoom)

    def select(self, rows: slice) -> "FaceParameters":
        """Returns the parameters of some of the faces."""
        return FaceParameters(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})
