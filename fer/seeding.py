"""Seeds derived from names, so that no two random choices share a stream by accident."""

import hashlib
import numbers

import numpy as np

_SEPARATOR = "\x1f"


def seed_from(*names: str | float | None) -> int:
    """Returns a seed in [0, 2**63) that depends on every name and on nothing else.

    Args:
        names: Text, numbers, or None. Everything else is refused: the text of a function or an object may hold its
            address in memory, and the seed would differ from process to process.

    Raises:
        TypeError: A name is neither text nor a number nor None.
    """
    for name in names:
        if name is not None and not isinstance(name, str | numbers.Real | np.bool_):
            raise TypeError(f"seeds derive from text and numbers only; got {type(name).__name__}")

    text = _SEPARATOR.join(str(name) for name in names)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    # One bit less than the digest has: torch takes seeds of 63 bits.
    return int.from_bytes(digest, "little") >> 1


def generator(*names: str | float | None) -> np.random.Generator:
    """Returns a numpy generator seeded by `seed_from(*names)`."""
    return np.random.default_rng(seed_from(*names))
