"""Near-copies: one photograph that was cropped, scaled, compressed, brightened or watermarked once more.

Two images are near-copies where their signatures' cosine is at least `ALIKE`. A signature is the image's lowest
frequencies, each weighted by its frequency, so that the common shape of all faces counts little and what tells faces
apart counts much. The threshold was chosen on real copies. Of different people, the two most alike reach 0.909 in JAFFE
(ten women in one studio, 20,400 pairs) and 0.907 in CK+ (118 people, 425,000 pairs). In FER2013, 128 pairs that were
looked at between 0.87 and 0.91 were all one photograph twice.
"""

import functools

import numpy as np

from fer.datasets.arrays import SIZE

ALIKE = 0.92
_FREQUENCIES = 12  # of each axis
_FAINTEST = 2.0  # grey levels of standard deviation; an image with less contrast has no signature
_BLOCK = 1024  # images that are compared with all others at a time


def signatures(images: np.ndarray) -> np.ndarray:
    """Returns the images' signatures.

    Args:
        images: uint8 (n, 48, 48).

    Returns:
        float32 (n, 144), of length 1; 0 where an image is nearly constant, which is no near-copy of anything.
    """
    found = np.zeros((len(images), _FREQUENCIES**2), np.float32)
    for start in range(0, len(images), _BLOCK):
        pixels = np.asarray(images[start : start + _BLOCK], np.float32)
        waves = (_cosines() @ pixels @ _cosines().T) * _weights()
        rows = waves.reshape(len(pixels), -1)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        faint = pixels.std((1, 2)) < _FAINTEST
        found[start : start + _BLOCK] = np.where(faint[:, None], 0, rows / np.maximum(lengths, 1e-9))
    return found


@functools.cache
def _cosines() -> np.ndarray:
    """Returns the first rows of the orthonormal discrete cosine transform (DCT-II), float32 (12, 48)."""
    places = (np.arange(SIZE) + 0.5) * np.pi / SIZE
    rows = np.cos(np.arange(_FREQUENCIES)[:, None] * places) * np.sqrt(2 / SIZE)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


@functools.cache
def _weights() -> np.ndarray:
    """Returns each frequency's weight, float32 (12, 12): its distance from the constant, which weighs nothing."""
    steps = np.arange(_FREQUENCIES)
    return np.hypot(steps[:, None], steps).astype(np.float32)


def near_pairs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns which images of two sets are near-copies of each other.

    Args:
        one: Signatures, float32 (n, 144).
        other: Signatures, float32 (m, 144).

    Returns:
        int64 (pairs, 2): a row of `one` and a row of `other`.
    """
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(one), _BLOCK):
        rows, columns = np.nonzero(one[start : start + _BLOCK] @ other.T >= ALIKE)
        found.append(np.stack([rows + start, columns], axis=1))
    return np.concatenate(found)


def merge_near(groups: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Merges groups of equal images whose images are near-copies.

    Args:
        groups: int64 (n,), 0…count - 1, equal for equal pixels.
        images: uint8 (n, 48, 48).

    Returns:
        int64 (n,), equal for images that a chain of near-copies joins.
    """
    firsts = np.unique(groups, return_index=True)[1]
    signed = signatures(images[firsts])
    parents = np.arange(len(firsts))

    def root(group: int) -> int:
        while parents[group] != group:
            parents[group] = parents[parents[group]]
            group = parents[group]
        return group

    for start in range(0, len(signed), _BLOCK):  # each pair once
        for row, column in near_pairs(signed[start : start + _BLOCK], signed[start:]):
            low, high = sorted((root(row + start), root(column + start)))
            parents[high] = low
    merged = np.array([root(group) for group in range(len(parents))], dtype=np.int64)
    return np.unique(merged[groups], return_inverse=True)[1].astype(np.int64)
