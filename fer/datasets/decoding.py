"""From rows to images: every file is decoded, and its face is cut out."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from fer.datasets import faces
from fer.datasets.arrays import SIZE
from fer.datasets.context import ReadContext, Row, hash_bytes
from fer.datasets.copy_files import DatasetCopy, reason_of
from fer.told_progress import tell_progress

_BATCH = 4096  # images that are decoded at a time: hundreds of thousands would fill the memory
_USUAL_AFTER = 5  # detected faces of a dataset that tell where in its portraits faces lie
_MOST_THREADS = 8

FacePlace = tuple[float, float, float]
"""Where a face lies: its centre as shares of the image's width and height, and its side as a share of the shorter."""


@dataclass(frozen=True)
class DecodedImages:
    """The images of all rows that could be decoded.

    Attributes:
        images: uint8 (n, 48, 48).
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
        face: uint8 (48, 48); None where the row has to be left out.
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
    images = np.empty((len(rows), SIZE, SIZE), np.uint8)
    usable: list[Row] = []
    undetected: list[int] = []  # portraits without a detected face, as positions in `usable`
    places: list[FacePlace] = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        # Decode the rows, a batch at a time.
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            decoded_rows = pool.map(_decode_row, batch, repeat(context.copy))
            for number, (row, decoded) in enumerate(zip(batch, decoded_rows, strict=True), start=start + 1):
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
                images[len(usable)] = decoded.face
                usable.append(row)

        # Portraits without a detected face are cropped where the others' faces lie.
        has_usual_place = len(places) >= _USUAL_AFTER
        if has_usual_place:
            usual_place = tuple(np.median(places, axis=0))
            portraits = [usable[index] for index in undetected]
            crops = pool.map(_crop_at, portraits, repeat(context.copy), repeat(usual_place))
            for index, face in zip(undetected, crops, strict=True):
                images[index] = face

    return DecodedImages(
        images=images[: len(usable)],
        rows=usable,
        detected=len(places),
        undetected=[usable[index].name for index in undetected],
        cropped_as_usual=has_usual_place,
    )


def _decode_row(row: Row, copy: DatasetCopy) -> _DecodedRow:
    """Reads one image and cuts the face out; a file that is damaged or no image gives the reason instead."""
    # The table holds the pixels.
    if row.pixels is not None:
        return _DecodedRow(b"", row.pixels)

    # Read and decode the file.
    try:
        data = copy.read(row.name, faces.MOST_BYTES)
    except OSError as error:
        return _DecodedRow(b"", None, reason=f"unreadable file ({reason_of(error)})")
    digest = hash_bytes(data)
    try:
        grey = faces.decode(data)
    except faces.UnreadableImage as error:
        return _DecodedRow(digest, None, reason=str(error))

    # The table says where the face is.
    if row.box and _box_fits(row.box, grey):
        return _DecodedRow(digest, faces.resize_face(faces.crop_square(grey, row.box)))

    # The image is the face. A box that does not fit counts as a face that was not detected.
    if not row.portrait or min(grey.shape) <= SIZE:
        detected = False if row.box else None
        return _DecodedRow(digest, faces.resize_face(grey), detected=detected)

    # The face has to be detected.
    box = faces.find_face(grey)
    if box is None:
        return _DecodedRow(digest, faces.resize_face(grey), detected=False)
    crop = faces.resize_face(faces.crop_square(grey, box))
    return _DecodedRow(digest, crop, detected=True, place=_place_of(box, grey))


def _place_of(box: Sequence[float], grey: np.ndarray) -> FacePlace:
    """Returns where a detected face lies in its image."""
    x, y, width, height = box
    image_height, image_width = grey.shape
    side = max(width, height) / min(grey.shape)
    return (x + width / 2) / image_width, (y + height / 2) / image_height, side


def _crop_at(row: Row, copy: DatasetCopy, place: FacePlace) -> np.ndarray:
    """Reads one image again and cuts the face out at a place."""
    grey = faces.decode(copy.read(row.name, faces.MOST_BYTES))
    image_height, image_width = grey.shape
    centre_x, centre_y, relative_side = place
    side = relative_side * min(grey.shape)
    x = centre_x * image_width - side / 2
    y = centre_y * image_height - side / 2
    return faces.resize_face(faces.crop_square(grey, (x, y, side, side)))


def _box_fits(box: Sequence[float], grey: np.ndarray) -> bool:
    """Returns whether a box of x, y, width, height lies near an image, and is not much larger than the image."""
    x, y, box_width, box_height = box
    height, width = grey.shape
    is_near = -width < x < width and -height < y < height
    return is_near and max(box_width, box_height) <= 2 * max(height, width)
