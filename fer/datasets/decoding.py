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

_BATCH = 4096  # images that are decoded at a time: hundreds of thousands would fill the memory
_USUAL_AFTER = 5  # detected faces of a dataset that tell where in its portraits faces lie
_MOST_THREADS = 8

Frame = tuple[float, float, float]
"""Where a face lies: its centre as shares of the image's width and height, and its side as a share of the shorter."""


@dataclass(frozen=True)
class DecodedImages:
    """The images of all rows that could be decoded.

    Attributes:
        images: uint8 (n, 48, 48).
        rows: The n rows.
        detected: Number of faces that were detected.
        cropped: Names of the portraits in which no face was detected.
        framed: These were cropped where the other portraits' faces lie; otherwise in the centre.
    """

    images: np.ndarray
    rows: list[Row]
    detected: int
    cropped: list[str]
    framed: bool


@dataclass(frozen=True)
class _Decoded:
    """One row's image.

    Attributes:
        digest: Hash of the file; empty where the pixels came from a table.
        face: uint8 (48, 48), or the reason why there is none.
        detected: Whether a face was detected; None where none was sought.
        frame: Where a detected face lies.
    """

    digest: bytes
    face: np.ndarray | str
    detected: bool | None = None
    frame: Frame | None = None


def decode_rows(context: ReadContext, rows: Sequence[Row]) -> DecodedImages:
    """Decodes the rows' images.

    Args:
        context: The reading; gets the hashes of the files and what cannot be decoded.
        rows: In the order in which the images are returned.
    """
    images = np.empty((len(rows), SIZE, SIZE), np.uint8)
    usable: list[Row] = []
    missed: list[int] = []  # portraits without a detected face, as positions in `usable`
    frames: list[Frame] = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            for row, decoded in zip(batch, pool.map(_decode_row, batch, repeat(context.copy)), strict=True):
                if row.pixels is None:
                    context.hashes[row.name] = decoded.digest
                if isinstance(decoded.face, str):
                    context.skipped[decoded.face].append(row.name)
                    continue
                if decoded.detected is False:
                    missed.append(len(usable))
                if decoded.frame is not None:
                    frames.append(decoded.frame)
                images[len(usable)] = decoded.face
                usable.append(row)

        # Portraits without a detected face are framed as the others are.
        is_framed = len(frames) >= _USUAL_AFTER
        if is_framed:
            usual = tuple(np.median(frames, axis=0))
            portraits = [usable[index] for index in missed]
            crops = pool.map(_crop_as_usual, portraits, repeat(context.copy), repeat(usual))
            for index, face in zip(missed, crops, strict=True):
                images[index] = face
    cropped = [usable[index].name for index in missed]
    return DecodedImages(images[: len(usable)], usable, len(frames), cropped, is_framed)


def _decode_row(row: Row, copy: DatasetCopy) -> _Decoded:
    """Reads one image and cuts the face out."""
    if row.pixels is not None:
        return _Decoded(b"", row.pixels)
    try:
        data = copy.read(row.name, faces.MOST_BYTES)
    except OSError as error:
        return _Decoded(b"", f"unreadable file ({reason_of(error)})")
    digest = hash_bytes(data)
    try:
        grey = faces.decode(data)
    except faces.UnreadableImage as error:
        return _Decoded(digest, str(error))

    # The table says where the face is.
    if row.box and _box_fits(row.box, grey):
        return _Decoded(digest, faces.resize_face(faces.crop_square(grey, row.box)))

    # The image is the face.
    if not row.portrait or min(grey.shape) <= SIZE:
        return _Decoded(digest, faces.resize_face(grey), detected=False if row.box else None)

    # The face has to be detected.
    box = faces.find_face(grey)
    if box is None:
        return _Decoded(digest, faces.resize_face(grey), detected=False)
    crop = faces.resize_face(faces.crop_square(grey, box))
    return _Decoded(digest, crop, detected=True, frame=_frame_of(box, grey))


def _frame_of(box: Sequence[float], grey: np.ndarray) -> Frame:
    """Returns where a detected face lies in its image."""
    x, y, width, height = box
    image_height, image_width = grey.shape
    side = max(width, height) / min(grey.shape)
    return (x + width / 2) / image_width, (y + height / 2) / image_height, side


def _crop_as_usual(row: Row, copy: DatasetCopy, usual: Frame) -> np.ndarray:
    """Cuts the face out where it usually lies."""
    grey = faces.decode(copy.read(row.name, faces.MOST_BYTES))
    image_height, image_width = grey.shape
    side = usual[2] * min(grey.shape)
    x = usual[0] * image_width - side / 2
    y = usual[1] * image_height - side / 2
    return faces.resize_face(faces.crop_square(grey, (x, y, side, side)))


def _box_fits(box: Sequence[float], grey: np.ndarray) -> bool:
    """Returns whether a box of x, y, width, height lies near an image, and is not much larger than the image."""
    x, y, box_width, box_height = box
    height, width = grey.shape
    is_near = -width < x < width and -height < y < height
    return is_near and max(box_width, box_height) <= 2 * max(height, width)
