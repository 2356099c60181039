"""The contact sheet of a dataset: some training faces of each expression."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fer.datasets import Dataset
from fer.datasets.faces import resize_face
from fer.files import replacing
from fer.seeding import generator
from study.reporting.dataset_summary import title_of

FACES_PER_EXPRESSION = 12
"""Columns of a contact sheet."""
_LARGEST_FACE = 96
"""Pixels of a face's side: as many as the figure has room for."""


def draw_contact_sheet(dataset: Dataset, place: Path, asked: str = "") -> None:
    """Draws a row of training faces per expression.

    Args:
        dataset: The test split stays closed.
        place: The PNG file.
        asked: What the user calls the dataset.
    """
    # The sheet: a row per expression, whose images are drawn by chance, white where there are fewer.
    train = dataset.open("train")
    rng = generator("contact sheet", dataset.digest)
    size = min(train.images.shape[-1], _LARGEST_FACE)
    is_colour = len(train.images.shape) == 4
    names = dataset.expressions.names
    shape = (len(names) * size, FACES_PER_EXPRESSION * size)
    sheet = np.full((*shape, 3) if is_colour else shape, 255, np.uint8)
    for label in range(len(names)):
        images = rng.permutation(np.flatnonzero(train.labels == label))
        top = label * size
        for column, image in enumerate(images[:FACES_PER_EXPRESSION]):
            left = column * size
            face = train.images[image]
            if is_colour:
                face = face.transpose(1, 2, 0)
            sheet[top : top + size, left : left + size] = resize_face(face, size)

    # The figure around it.
    figure = Figure(figsize=(FACES_PER_EXPRESSION * 0.8 + 1, len(names) * 0.8 + 0.6), dpi=120, layout="tight")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(f"{title_of(dataset, asked)}, {len(train):,} training images")
    axes.set_xticks([])
    axes.set_yticks([size * (row + 0.5) for row in range(len(names))], names)
    axes.spines[:].set_visible(False)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # faces, as in the cache
    with replacing(place) as partial:
        figure.savefig(partial, format="png")
