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

from fer.datasets.arrays import SIZE

ALIKE = 0.85
_FREQUENCIES = 16  # of each axis
_FAINTEST = 2.0  # grey levels; an image that differs less from the mean face is no near-copy of anything
_BLOCK = 1024  # images that are compared with all others at a time


def signatures(images: np.ndarray) -> np.ndarray:
    """Returns the images' signatures, float32 (n, 256), of uint8 (n, 48, 48): a discrete cosine transform's corner."""
    signed = np.empty((len(images), _FREQUENCIES**2), np.float32)
    cosines = _cosines()
    for start in range(0, len(images), _BLOCK):
        pixels = np.asarray(images[start : start + _BLOCK], np.float32)
        spectrum = cosines @ pixels @ cosines.T
        signed[start : start + _BLOCK] = spectrum.reshape(len(pixels), -1)
    return signed


@functools.cache
def _cosines() -> np.ndarray:
    """Returns the first rows of the orthonormal discrete cosine transform (DCT-II), float32 (16, 48)."""
    places = (np.arange(SIZE) + 0.5) * np.pi / SIZE
    rows = np.cos(np.arange(_FREQUENCIES)[:, None] * places) * np.sqrt(2 / SIZE)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


def _directions(signed: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns signatures less the mean face's, weighted and of length 1; 0 where hardly anything is left."""
    steps = np.arange(_FREQUENCIES)
    weights = np.hypot(steps[:, None], steps).astype(np.float32).ravel()
    rest = (signed - mean) * (weights > 0)  # an image's brightness is no part of it
    faint = np.linalg.norm(rest, axis=1) < _FAINTEST * SIZE
    rest *= weights
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.where(faint[:, None], 0, rest / np.maximum(lengths, 1e-9)).astype(np.float32)


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


def merge_near(groups: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Merges groups of equal images whose images are near-copies.

    Args:
        groups: int64 (n,), 0…count - 1, equal for equal pixels.
        images: uint8 (n, 48, 48), of one dataset.

    Returns:
        int64 (n,), equal for images that a chain of near-copies joins.
    """
    firsts = np.unique(groups, return_index=True)[1]
    signed = signatures(images[firsts])
    directions = _directions(signed, signed.mean(axis=0))
    parents = np.arange(len(firsts))

    def root(group: int) -> int:
        while parents[group] != group:
            parents[group] = parents[parents[group]]
            group = parents[group]
        return group

    # Join the two groups of each pair under the lower number; each pair is met once.
    for start in range(0, len(directions), _BLOCK):
        for row, column in _alike_pairs(directions[start : start + _BLOCK], directions[start:]):
            low, high = sorted((root(row + start), root(column + start)))
            parents[high] = low
    merged = np.array([root(group) for group in range(len(parents))], dtype=np.int64)
    return np.unique(merged[groups], return_inverse=True)[1].astype(np.int64)


def pixel_groups(images: np.ndarray) -> np.ndarray:
    """Numbers images so that exactly equal ones share a number: uint8 (n, 48, 48) to int64 (n,)."""
    hashes = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.unique(np.frombuffer(b"".join(hashes), dtype=np.uint64), return_inverse=True)[1].astype(np.int64)


def copy_groups(images: np.ndarray, kind: str) -> np.ndarray:
    """Numbers images so that copies share a number.

    Args:
        images: uint8 (n, 48, 48).
        kind: Of "real" images near-copies count as well, see `fer.datasets.duplicates`. Synthetic faces are alike by
            nature; of these only equal ones are copies.

    Returns:
        int64 (n,).
    """
    groups = pixel_groups(images)
    return merge_near(groups, images) if kind == "real" else groups
