"""From rows to images: every file is decoded, and its face is cut out."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from fer.datasets import faces
from fer.datasets.arrays import MOST_IN_MEMORY, SIZE, blocks_of
from fer.datasets.context import ReadContext, Row, hash_bytes
from fer.datasets.copy_files import reason_of
from fer.datasets.scratch import scratch_array
from fer.image_format import RGB
from fer.told_progress import tell_progress

_BATCH = 4096  # images that are decoded at a time: hundreds of thousands would fill the memory
_USUAL_AFTER = 5  # detected faces of a dataset that tell where in its portraits faces lie
_MOST_THREADS = 8
_Result = TypeVar("_Result")

FacePlace = tuple[float, float, float]
"""Where a face lies: its centre as shares of the image's width and height, and its side as a share of the shorter."""


@dataclass(frozen=True)
class DecodedImages:
    """The images of all rows that could be decoded.

    Attributes:
        images: uint8 (n, size, size) where all faces are grey, else (n, 3, size, size).
        rows: The n rows.
        detected: Number of faces that were detected.
        undetected: Names of the portraits in which no face was detected.
        cropped_as_usual: Whether these were cropped where the other portraits' faces lie; otherwise in the centre.
    """

    images: np.ndarray
    rows: list[Row]
    detected: int
    undetected: list[str]
    cropped_as_usual: bool


@dataclass(frozen=True)
class _DecodedRow:
    """What decoding one row gave: a face, or the reason why there is none.

    Attributes:
        digest: Hash of the file; empty where the file could not be read, and where the pixels came from a table.
        face: uint8 (size, size) or (size, size, 3); None where the row has to be left out.
        reason: Why the row has to be left out.
        detected: Whether a face was detected; None where none was sought.
        place: Where a detected face lies.
    """

    digest: bytes
    face: np.ndarray | None
    reason: str = ""
    detected: bool | None = None
    place: FacePlace | None = None


def decode_rows(context: ReadContext, rows: Sequence[Row]) -> DecodedImages:
    """Decodes the rows' images.

    Args:
        context: The reading; gets the hashes of the files and what cannot be decoded.
        rows: In the order in which the images are returned.
    """
    faces_so_far = _FaceBuffer(len(rows), context)
    usable: list[Row] = []
    undetected: list[int] = []  # portraits without a detected face, as positions in `usable`
    places: list[FacePlace] = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        # Decode the rows.
        decoded_rows = _in_batches(pool, partial(_decode_row, context=context), rows, context)
        for number, (row, decoded) in enumerate(zip(rows, decoded_rows, strict=True), start=1):
            tell_progress(number, len(rows))
            if row.pixels is None:
                context.hashes[row.name] = decoded.digest

            # A row without a face is left out, with the reason.
            if decoded.face is None:
                context.skipped[decoded.reason].append(row.name)
                continue

            if decoded.detected is False:
                undetected.append(len(usable))
            if decoded.place is not None:
                places.append(decoded.place)
            faces_so_far.put(len(usable), decoded.face)
            usable.append(row)

        # Portraits without a detected face are cropped where the others' faces lie.
        has_usual_place = len(places) >= _USUAL_AFTER
        if has_usual_place:
            usual_place = tuple(np.median(places, axis=0))
            portraits = [usable[index] for index in undetected]
            crop = partial(_crop_at, context=context, place=usual_place)
            for index, face in zip(undetected, _in_batches(pool, crop, portraits, context), strict=True):
                faces_so_far.put(index, face)

    return DecodedImages(
        images=faces_so_far.images[: len(usable)],
        rows=usable,
        detected=len(places),
        undetected=[usable[index].name for index in undetected],
        cropped_as_usual=has_usual_place,
    )


def _in_batches(
    pool: ThreadPoolExecutor, function: Callable[[Row], _Result], rows: Sequence[Row], context: ReadContext
) -> Iterator[_Result]:
    """Yields what a function makes of rows, in their order; only so many faces wait as memory has room for."""
    step = max(1, min(_BATCH, MOST_IN_MEMORY // (3 * context.size**2)))
    for start in range(0, len(rows), step):
        yield from pool.map(function, rows[start : start + step])


class _FaceBuffer:
    """Faces as they are decoded: grey, until the first face in colour gives all of them three channels.

    Args:
        count: The most faces.
        context: The reading.

    Attributes:
        images: uint8 (count, size, size) or (count, 3, size, size).
    """

    def __init__(self, count: int, context: ReadContext) -> None:
        self.context = context
        self.images = scratch_array((count, context.size, context.size), context.scratch)
        self.filled = 0

    def put(self, index: int, face: np.ndarray) -> None:
        """Puts a face (size, size) or (size, size, 3) at its place."""
        if face.ndim == 3:
            face = face.transpose(2, 0, 1)
            if self.images.ndim == 3:
                self._repeat_channel()
        self.images[index] = face
        self.filled = max(self.filled, index + 1)

    def _repeat_channel(self) -> None:
        """Gives the grey faces three channels."""
        grey = self.images
        count, height, width = grey.shape
        self.images = scratch_array((count, 3, height, width), self.context.scratch)

        # The faces so far, some at a time.
        filled = self.images[: self.filled]
        for place, block in blocks_of(grey[: self.filled]):
            filled[place] = block[:, None]


def _decode_row(row: Row, context: ReadContext) -> _DecodedRow:
    """Reads one image and cuts the face out; a file that is damaged or no image gives the reason instead."""
    size = context.size

    # The table holds the pixels.
    if row.pixels is not None:
        return _DecodedRow(b"", faces.resize_face(row.pixels, size))

    # Read and decode the file.
    try:
        data = context.copy.read(row.name, faces.MOST_BYTES)
    except OSError as error:
        return _DecodedRow(b"", None, reason=f"unreadable file ({reason_of(error)})")
    digest = hash_bytes(data)
    try:
        picture = faces.decode(data, context.colour == RGB)
    except faces.UnreadableImage as error:
        return _DecodedRow(digest, None, reason=str(error))

    # The table says where the face is.
    if row.box and _box_fits(row.box, picture):
        return _DecodedRow(digest, faces.resize_face(faces.crop_square(picture, row.box), size))

    # The image is the face. A box that does not fit counts as a face that was not detected.
    if not row.portrait or min(picture.shape[:2]) <= SIZE:
        detected = False if row.box else None
        return _DecodedRow(digest, faces.resize_face(picture, size), detected=detected)

    # The face has to be detected.
    box = faces.find_face(faces.to_grey(picture))
    if box is None:
        return _DecodedRow(digest, faces.resize_face(picture, size), detected=False)
    crop = faces.resize_face(faces.crop_square(picture, box), size)
    return _DecodedRow(digest, crop, detected=True, place=_place_of(box, picture))


def _place_of(box: Sequence[float], picture: np.ndarray) -> FacePlace:
    """Returns where a detected face lies in its image."""
    x, y, width, height = box
    image_height, image_width = picture.shape[:2]
    side = max(width, height) / min(image_height, image_width)
    return (x + width / 2) / image_width, (y + height / 2) / image_height, side


def _crop_at(row: Row, context: ReadContext, place: FacePlace) -> np.ndarray:
    """Reads one image again and cuts the face out at a place."""
    picture = faces.decode(context.copy.read(row.name, faces.MOST_BYTES), context.colour == RGB)
    image_height, image_width = picture.shape[:2]
    centre_x, centre_y, relative_side = place
    side = relative_side * min(image_height, image_width)
    x = centre_x * image_width - side / 2
    y = centre_y * image_height - side / 2
    return faces.resize_face(faces.crop_square(picture, (x, y, side, side)), context.size)


def _box_fits(box: Sequence[float], picture: np.ndarray) -> bool:
    """Returns whether a box of x, y, width, height lies near an image, and is not much larger than the image."""
    x, y, box_width, box_height = box
    height, width = picture.shape[:2]
    is_near = -width < x < width and -height < y < height
    return is_near and max(box_width, box_height) <= 2 * max(height, width)
