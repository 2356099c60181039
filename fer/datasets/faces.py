"""From a file's bytes to a face, grey or in colour."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from fer.datasets.arrays import SIZE

cv2.setNumThreads(1)

# What the patterns of layouts take for images. Pillow knows many more formats; some start other programs (EPS runs
# Ghostscript), and the name says nothing of what a file holds.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "PPM", "WEBP", "GIF")
MOST_PIXELS = 50_000_000
MOST_BYTES = 200 * 2**20
DETECT_AT = 400  # px of the longer side: a face of 60 px is then a seventh of it, and a large portrait is quick
# The detector's square is 0.98 (quartiles 0.90 and 1.04) of a FER2013 image's side and centred in it, in 930 of 1,200
# images (no face was detected in 270), so a portrait is cropped as FER2013 was with nearly no margin and no shift.
MARGIN = 0.02
_CASCADE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"

_detectors = threading.local()  # a cascade must not be used by two threads at once


class UnreadableImage(ValueError):
    """An image file that is skipped; the message is the reason."""


def decode(data: bytes, keeps_colour: bool = False) -> np.ndarray:
    """Decodes an image file of `FORMATS`: palette, grey, RGB(A), CMYK, 16-bit.

    Args:
        data: The file's bytes.
        keeps_colour: Whether a picture with colours is returned in colour.

    Returns:
        uint8 (height, width), ITU-R 601 grey; or (height, width, 3), red, green and blue, of a picture that is to be
        kept in colour and is not grey everywhere. Transparency lies over middle grey.

    Raises:
        UnreadableImage: Empty, truncated, too large, or no image at all.
    """
    if not data:
        raise UnreadableImage("empty file (0 bytes)")
    if len(data) > MOST_BYTES:
        raise UnreadableImage(f"file of more than {MOST_BYTES // 2**20} MiB")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:  # before a pixel of it is decoded
                raise UnreadableImage(f"image of more than {MOST_PIXELS // 10**6} megapixels")
            if image.format == "JPEG" and not keeps_colour:
                # Grey at once, but not libjpeg's half size: FER2013 as 224-pixel JPEG took 19 instead of 27 CPU
                # seconds that way, but 11 of its 1,456 groups of exact duplicates were no longer equal.
                image.draft("L", image.size)
            return _to_array(image, keeps_colour)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"image of more than {MOST_PIXELS // 10**6} megapixels") from None
    except Image.UnidentifiedImageError:
        raise UnreadableImage(f"not an image ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of damaged files raise anything
        raise UnreadableImage(f"damaged image ({_decoder_message(error)})") from error


def _decoder_message(error: Exception) -> str:
    """Returns a few words of what a decoder says of a damaged file."""
    text = str(error).split("(")[0].strip().split("\n")[0]
    if "truncated" in text.lower():
        return "truncated"
    return (text or type(error).__name__)[:60]


def _to_array(image: Image.Image, keeps_colour: bool) -> np.ndarray:
    """Returns an opened image as grey, uint8 (height, width), or in colour, (height, width, 3), see `decode`."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImage("more than 16 bits per pixel")
        return np.round(values / 257).astype(np.uint8)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colour.size, (128, 128, 128, 255)), colour)
    elif image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if not keeps_colour or image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))

    # A picture whose channels are equal is grey, whatever its file says.
    picture = np.asarray(image.convert("RGB"))
    first = picture[..., :1]
    return picture[..., 0] if (picture == first).all() else picture


def to_grey(picture: np.ndarray) -> np.ndarray:
    """Returns a picture (height, width) or (height, width, 3) as ITU-R 601 grey, uint8 (height, width)."""
    return picture if picture.ndim == 2 else np.asarray(Image.fromarray(picture).convert("L"))


def find_face(grey: np.ndarray) -> tuple[float, float, float, float] | None:
    """Returns x, y, width, height of the largest face that OpenCV's frontal cascade sees in (height, width)."""
    if not hasattr(_detectors, "frontal"):
        _detectors.frontal = cv2.CascadeClassifier(str(_CASCADE))
    factor = min(1.0, DETECT_AT / max(grey.shape))
    small = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else grey
    boxes = _detectors.frontal.detectMultiScale(small, scaleFactor=1.1, minNeighbors=5, minSize=(60, 60))
    if len(boxes) == 0:
        return None
    largest = max(boxes, key=lambda box: box[2] * box[3])
    x, y, width, height = (float(length) / factor for length in largest)  # in pixels of the full image
    return x, y, width, height


def crop_square(picture: np.ndarray, box: Sequence[float], margin: float = MARGIN) -> np.ndarray:
    """Cuts the square around a box; what lies beyond the image repeats its edge.

    Args:
        picture: uint8 (height, width) or (height, width, 3).
        box: x, y, width, height.
        margin: By how much the square is larger than the box, as a share of the box's longer side.
    """
    # The square has the box's centre.
    x, y, width, height = box
    side = max(1, round(max(width, height) * (1 + margin)))
    left = round(x + (width - side) / 2)
    top = round(y + (height - side) / 2)

    # Rows and columns beyond the image are those of its edge.
    last_row = picture.shape[0] - 1
    last_column = picture.shape[1] - 1
    rows = np.clip(np.arange(top, top + side), 0, last_row)
    columns = np.clip(np.arange(left, left + side), 0, last_column)
    return picture[rows[:, None], columns[None, :]]


def resize_face(picture: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resizes the central square: what is reduced averages areas, what is enlarged is interpolated between pixels.

    Args:
        picture: uint8 (height, width) or (height, width, 3).
        size: Height and width of the face.

    Returns:
        uint8 (size, size) or (size, size, 3).
    """
    height, width = picture.shape[:2]
    side = min(height, width)
    top = (height - side) // 2
    left = (width - side) // 2
    square = picture[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=interpolation)


def equalise(images: np.ndarray) -> np.ndarray:
    """Equalises the histogram of each image of uint8 (n, size, size); of (n, 3, size, size), that of the luminance."""
    if not len(images):
        return images
    equalise_image = cv2.equalizeHist if images.ndim == 3 else _equalise_colour
    return np.stack([equalise_image(image) for image in images])


def _equalise_colour(image: np.ndarray) -> np.ndarray:
    """Equalises the histogram of the luminance of uint8 (3, height, width); hue and saturation stay."""
    luminance = cv2.cvtColor(np.ascontiguousarray(image.transpose(1, 2, 0)), cv2.COLOR_RGB2YCrCb)
    luminance[..., 0] = cv2.equalizeHist(luminance[..., 0])
    return cv2.cvtColor(luminance, cv2.COLOR_YCrCb2RGB).transpose(2, 0, 1)
