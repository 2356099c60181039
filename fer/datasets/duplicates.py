"""Near-copies: one photograph that was cropped, scaled, compressed, brightened or watermarked once more.

A signature is an image's lowest frequencies. Two images are near-copies where their signatures, less the mean face and
each frequency weighted by itself, have a cosine of at least `ALIKE`: what all faces of a dataset share, a frame or a
mask around them included, counts nothing, and where faces differ counts much.

The threshold was chosen on real copies. Of different people, the two most alike reach 0.58 in JAFFE (ten women in one
studio, 20,400 pairs) and 0.73 in CK+ (118 people, 425,000 pairs), and 0.71 and 0.83 with a black oval or a white border
around every face. In FER2013, all of 128 pairs that were looked at, between 0.75 and 0.77 and between 0.85 and 0.865,
were one photograph twice. What it misses: of FER2013's images moved by one pixel it finds a third, by two none.
"""

import functools
import hashlib

import numpy as np

from fer.datasets.arrays import SIZE, Images, select_images
from fer.told_progress import step, tell_progress

ALIKE = 0.85
_FREQUENCIES = 16  # of each axis
_FAINTEST = 2.0  # grey levels; an image that differs less from the mean face is no near-copy of anything
_BLOCK = 1024  # images that are compared with all others at a time
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601), as grey images are made


def signatures(images: Images) -> np.ndarray:
    """Returns the images' signatures: the 16 × 16 lowest frequencies of the discrete cosine transform.

    Images of all sizes have signatures of the same scale, and colour images those of their luminance.

    Args:
        images: uint8 (n, size, size) or (n, 3, size, size).

    Returns:
        float32 (n, 256).
    """
    all_signatures = np.empty((len(images), _FREQUENCIES**2), np.float32)
    cosines = _cosines(images.shape[-1])
    is_colour = len(images.shape) == 4
    for start in range(0, len(images), _BLOCK):
        pixels = np.asarray(images[start : start + _BLOCK])
        levels = _luminance(pixels) if is_colour else np.asarray(pixels, np.float32)
        spectrum = cosines @ levels @ cosines.T  # (block, 16, 16)
        all_signatures[start : start + _BLOCK] = spectrum.reshape(len(levels), -1)
    return all_signatures


def _luminance(pixels: np.ndarray) -> np.ndarray:
    """Returns the luminance of uint8 (n, 3, size, size), float32 (n, size, size)."""
    levels = np.zeros((len(pixels), *pixels.shape[2:]), np.float32)
    for channel, weight in enumerate(_LUMINANCE):
        levels += np.float32(weight) * pixels[:, channel]
    return levels


@functools.cache
def _cosines(size: int) -> np.ndarray:
    """Returns the first rows of the discrete cosine transform (DCT-II), float32 (16, size).

    They are orthonormal for images of 48 rows; of other sizes, an image that is reduced to 48 has the same transform.
    """
    # A cosine for each frequency, at the centres of the pixels.
    angles = (np.arange(size) + 0.5) * np.pi / size
    waves = np.cos(np.arange(_FREQUENCIES)[:, None] * angles)

    # A sum over more pixels is larger, as if each of the 48 counted several times.
    rows = waves * np.sqrt(2 / SIZE) * (SIZE / size)

    # The constant wave has twice the others' squares.
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def _directions(image_signatures: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the directions in which images differ from the mean face; their products are the images' cosines.

    Args:
        image_signatures: float32 (n, 256).
        mean: The mean face's signature, float32 (256,).

    Returns:
        float32 (n, 256), each row of length 1, or 0 where an image hardly differs from the mean face.
    """
    frequencies = np.arange(_FREQUENCIES)
    weights = np.hypot(frequencies[:, None], frequencies).astype(np.float32).ravel()

    # The difference from the mean face, without brightness, which is the frequency of weight 0.
    difference = (image_signatures - mean) * (weights > 0)
    is_faint = np.linalg.norm(difference, axis=1) < _FAINTEST * SIZE

    # Each frequency weighted by itself, and the length made 1.
    difference *= weights
    lengths = np.linalg.norm(difference, axis=1, keepdims=True)
    directions = difference / np.maximum(lengths, 1e-9)
    return np.where(is_faint[:, None], 0, directions).astype(np.float32)


def near_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns which images of two sets are near-copies of each other.

    Args:
        first: Signatures, float32 (n, 256).
        second: Signatures, float32 (m, 256). The mean face is half way between both sets' means, whatever their sizes.

    Returns:
        int64 (pairs, 2): a row of `first` and a row of `second`.
    """
    if not len(first) or not len(second):
        return np.empty((0, 2), np.int64)
    mean = (first.mean(axis=0) + second.mean(axis=0)) / 2
    return _alike_pairs(_directions(first, mean), _directions(second, mean))


def _alike_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the pairs of rows, int64 (pairs, 2), whose cosine is at least `ALIKE`."""
    pairs = []
    for start in range(0, len(first), _BLOCK):
        rows, columns = np.nonzero(first[start : start + _BLOCK] @ second.T >= ALIKE)
        pairs.append(np.stack([rows + start, columns], axis=1))
    return np.concatenate(pairs)


def merge_near(groups: np.ndarray, images: Images) -> np.ndarray:
    """Merges groups of equal images whose images are near-copies.

    Args:
        groups: int64 (n,), 0…count - 1, equal for equal pixels.
        images: uint8 (n, size, size) or (n, 3, size, size), of one dataset.

    Returns:
        int64 (n,), equal for images that a chain of near-copies joins.
    """
    # One image of each group stands for it.
    _, first_images = np.unique(groups, return_index=True)
    group_signatures = signatures(select_images(images, first_images))
    directions = _directions(group_signatures, group_signatures.mean(axis=0))

    # Joined groups form trees (union-find): a group has a parent in its tree, and a root is its own parent.
    parents = np.arange(len(first_images))

    def root(group: int) -> int:
        while parents[group] != group:
            parents[group] = parents[parents[group]]  # shortens the path for later calls
            group = parents[group]
        return group

    # Join the trees of both groups of each pair, under the root of the lower number.
    with step("compared"):
        for start in range(0, len(directions), _BLOCK):
            # Pairs of this block with itself and later blocks; those with earlier blocks were met there.
            tell_progress(start, len(directions))
            pairs = _alike_pairs(directions[start : start + _BLOCK], directions[start:])
            for row, column in pairs:
                low, high = sorted((root(row + start), root(column + start)))
                parents[high] = low
        tell_progress(len(directions), len(directions))

    # Number the trees from 0 on, and each image by its tree.
    roots = np.array([root(group) for group in range(len(parents))], dtype=np.int64)
    _, numbers = np.unique(roots[groups], return_inverse=True)
    return numbers.astype(np.int64)


def pixel_groups(images: Images) -> np.ndarray:
    """Numbers images so that exactly equal ones share a number: uint8 (n, …) to int64 (n,)."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    hashes = np.frombuffer(b"".join(digests), dtype=np.uint64)
    _, numbers = np.unique(hashes, return_inverse=True)
    return numbers.astype(np.int64)


def copy_groups(images: Images, kind: str) -> np.ndarray:
    """Numbers images so that copies share a number.

    Args:
        images: uint8 (n, size, size) or (n, 3, size, size).
        kind: Of "real" images near-copies count as well, see `fer.datasets.duplicates`. Synthetic faces are alike by
            nature; of these only equal ones are copies.

    Returns:
        int64 (n,).
    """
    groups = pixel_groups(images)
    return merge_near(groups, images) if kind == "real" else groups
