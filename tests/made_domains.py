"""Made-up datasets with people that tiny networks learn in seconds, and of which one is of no use on the other."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def write_bars(root: Path, people: int, images: int, seed: int, upright: bool) -> None:
    """Writes images whose expression is the place of a bright bar, on a background that no other image has.

    Args:
        root: The dataset's folder, with a manifest.
        people: How many.
        images: Of each person.
        seed: Of background and noise.
        upright: Whether the bars stand; else they lie.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    rows, columns = np.mgrid[:48, :48]
    lines = [["path", "expression", "subject"]]
    for person in range(people):
        for number in range(images):
            label = number % len(WORDS)
            across = columns if upright else rows
            bar = np.exp(-((across - 6 - 6 * label) ** 2) / 12)
            background = np.kron(rng.normal(0, 25, (8, 8)), np.ones((6, 6)))
            pixels = 90 + 120 * bar + background + rng.normal(0, 10, bar.shape)
            name = f"{person}-{number}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)
            lines.append([name, WORDS[label], f"person {person}"])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
