"""Seeds derived from names, so that no two random choices share a stream by accident."""

import hashlib

import numpy as np


def seed_from(*names: object) -> int:
    """Returns a seed in [0, 2**63) that depends on every name and on nothing else."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(*names: object) -> np.random.Generator:
    """Returns a numpy generator seeded by `seed_from(*names)`."""
    return np.random.default_rng(seed_from(*names))
