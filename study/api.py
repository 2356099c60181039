"""The tool from Python: start a search, and read what a study found.

Both entries stand in the package itself:

>>> import study
>>> results = study.search(target="tfeid", trials=200)
>>> results.recommended.predict(["face.jpg"])
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd

from fer.errors import InputError
from study.fronts import find_recommended, front_table
from study.option_parsers import options_from
from study.pipeline.main_job import run_main_job
from study.predict import ABOUT_SYNTHETIC
from study.record import StudyRecord
from study.reporting.front_file import add_test_accuracies, table_of_confirmed
from study.reporting.wording import describe_interpolations
from study.storage.backend import load_study as load_optuna_study
from study.storage.records import open_study
from study.tuning.expected_table import expected_table

if TYPE_CHECKING:
    import plotly.graph_objects

    from fer.predict import FaceNetwork

Images = np.ndarray | str | Path | Iterable[str | Path]
"""Faces that are cut out already, uint8 (n, 48, 48) for vgg13; or image files, one face each."""


@dataclass(frozen=True)
class StudyNetwork:
    """A network that a study saved.

    Attributes:
        name: Its trial and, where it was interpolated, how far from the baseline it lies, as in the file's name.
        file: Its weights.
        figures: What is known of it, a row of `StudyResults.front`: hyperparameters, expected accuracies (0 to 1), ….
        equalise: Whether faces have their histograms equalised first, as those of the study had.
    """

    name: str
    file: Path
    figures: "pd.Series[Any]" = field(repr=False, compare=False)
    equalise: bool = field(default=False, repr=False)
    architecture: str = field(default="", repr=False)

    @property
    def source_accuracy(self) -> float:
        """Its accuracy on the source, 0 to 1, as the study expects it."""
        return float(self.figures["source_val"])

    @property
    def target_accuracy(self) -> float:
        """Its accuracy on the target, 0 to 1, as the study expects it."""
        return float(self.figures["target_val"])

    def load(self) -> "FaceNetwork":
        """Loads the network.

        Returns:
            The network in evaluation mode, on the CPU.

        Raises:
            InputError: The file is missing or does not match its checksum.
        """
        from fer.predict import load_network  # noqa: PLC0415  # torch takes a second, which tables do not need

        return load_network(self.file, self.architecture)

    def predict(self, images: Images) -> pd.DataFrame:
        """Computes the probability of each expression.

        Args:
            images: Image files, in which the face is found as in the datasets; or faces that are cut out already, uint8
                (n, size, size) of the network's size, 48 of vgg13. For a network of colour images also (n, 3, size,
                size) or (n, size, size, 3): red, green and blue.

        Returns:
            A row per image, a column per expression. The index is the files' names, or 0 to n - 1.

        Raises:
            InputError: The network or an image cannot be used.
        """
        from fer.model.weights import learned_from_synthetic_faces  # noqa: PLC0415  # as in load
        from fer.predict import predict_images, read_face  # noqa: PLC0415  # as in load

        network = self.load()
        columns = list(network.names)
        if learned_from_synthetic_faces(self.file):
            warnings.warn(f"{self.file} {ABOUT_SYNTHETIC}", stacklevel=2)
        if isinstance(images, np.ndarray):
            return pd.DataFrame(predict_images(network, images, self.file), columns=columns)

        files = [images] if isinstance(images, str | Path) else list(images)
        size = network.image_format.size
        faces = np.empty((len(files), *network.face_shape), np.uint8)
        for number, file in enumerate(files):
            faces[number] = read_face(Path(file), self.equalise, size, network.colour)
        names = [str(file) for file in files]
        return pd.DataFrame(predict_images(network, faces, self.file), index=names, columns=columns)


class StudyResults:
    """What a study found, read from its storage once, when it was loaded.

    Attributes:
        folder: Its files: report.html, tables, figures and networks.
        record: What was searched: data, options, baseline, versions.

    Example:
        >>> results = study.load_study("runs/fer2013-tfeid-card-laptop")
        >>> results.front[["trial", "strategy", "interpolation", "source_val", "target_val", "probability"]]
        >>> results.plot_front().show()
    """

    def __init__(self, folder: Path, storage: str | None = None) -> None:
        """Reads a study; users call `load_study`.

        Args:
            folder: Of the study.
            storage: Any Optuna storage URL; None is the journal in the folder.

        Raises:
            InputError: There is no such study.
        """
        self.folder = folder
        self._storage = storage
        stored_record, self._trials = open_study(folder.name, folder.parent, storage)
        self.record = StudyRecord.from_json(stored_record)

    def __repr__(self) -> str:
        found = "nothing is recommended" if self.recommended is None else f"recommended: {self.recommended.name}"
        return f"StudyResults({str(self.folder)!r}: {len(self.trials)} trials, {len(self.front)} on the front, {found})"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.folder.name

    @cached_property
    def trials(self) -> pd.DataFrame:
        """All trials that count, a row each: state, hyperparameters, accuracies and other metrics, as in trials.csv.

        With them columns `expected/…`: what is expected of their networks. `number` is that of Optuna's trial. Left out
        are the trials that only averaged networks to hand over, those that were begun again, because their worker died
        or the study was interrupted, and those that were withdrawn: `optuna.trials` has them too.
        """
        return expected_table(self.record, self._trials)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The front, a row per network from the least source accuracy on, as in front.csv.

        Accuracies (`source_val`, `target_val`, 0 to 1) are those that the study expects, with 90 % intervals and the
        probability of being on the front. `interpolation` says in words where a network lies between the baseline (0)
        and its training's end (1): "0.5", or "0 to 1" where its share grows from the first block to the last. `alpha`
        and `alpha_slope` are the same as numbers, the first block's share and what the last has more. After
        `study.confirm` there are accuracies on test images: `target_test` is that of the network in the file,
        `target_again` the mean of new trainings of its configuration.
        """
        front = add_test_accuracies(front_table(self.trials), self.record)
        place = front.columns.get_loc("strategy")
        assert isinstance(place, int)
        front.insert(place + 1, "interpolation", describe_interpolations(front))
        return front

    @property
    def networks(self) -> list[StudyNetwork]:
        """The networks of the front, in its order."""
        return [self._network(row) for _, row in self.front.iterrows()]

    @property
    def recommended(self) -> StudyNetwork | None:
        """The network that the study recommends; None where nothing beats the baseline by the rule (`--keep`)."""
        row = find_recommended(self.front)
        return None if row is None else self._network(row)

    @property
    def confirmed(self) -> pd.DataFrame | None:
        """Accuracies on test images, a row per network as in confirm.csv; None before `study.confirm`.

        `target_test` is that of the network in the file, `target_again` the mean of new trainings of its configuration,
        which changes and p-values are of.
        """
        return table_of_confirmed(self.record) if self.record.results.points else None

    @cached_property
    def optuna(self) -> optuna.Study:
        """The Optuna study, for optuna.visualization, optuna-dashboard and analyses of your own.

        Its `trials` are all that ever were, so there may be more than in the table `trials`, and trials that wait or
        run while the study does; those that Optuna calls failed are not all failures of a configuration. Its values are
        those that each trial showed on its own fold; `front` has what is expected, and interpolated networks, which
        Optuna does not know.
        """
        return load_optuna_study(self.name, self.folder.parent, self._storage)

    def plot_front(self) -> "plotly.graph_objects.Figure":
        """Draws the front with all networks, the baseline and the recommended network, as the report does."""
        from study.reporting.figure_data import build_front_figure  # noqa: PLC0415  # figures take a second
        from study.reporting.plotly_charts import draw_chart  # noqa: PLC0415

        chart = draw_chart(build_front_figure(self.record, self.trials))
        return chart.update_layout(template="plotly_white", title=self.name)

    def _network(self, row: "pd.Series[Any]") -> StudyNetwork:
        """Returns the network of a row of the front."""
        file = self.folder / str(row["model"])
        name = self.record.architecture.name
        return StudyNetwork(file.stem, file, row, bool(self.record.options.get("equalise")), name)


def search(target: str, **options: Any) -> StudyResults:  # noqa: ANN401  # each option has a type of its own
    """Searches for the best way to adapt to a target; the same call again goes on where it stopped.

    It does what `python -m study.run` does, and prints how far it is. Workers are processes of their own.

    Args:
        target: jaffe, tfeid, mug, ck+48, … or a folder under `data`.
        **options: Those of the command line, with underscores: trials=200, data="faces", preset="laptop", keep=0.95,
            tracking_uri="none", ….

    Returns:
        What was found.

    Raises:
        InputError: An option is unknown or its value is one that no study can have, or the data cannot be used.

    Example:
        >>> results = study.search(target="jaffe", data="faces", trials=40)
        >>> results.recommended
    """
    parsed = options_from(target=target, **options)
    if parsed.outer is not None:
        raise InputError(
            "study.search runs one search", f"outer={parsed.outer}", "Use python -m study.run --outer for several."
        )
    folder = run_main_job(parsed)
    return StudyResults(folder, parsed.storage)


def load_study(path: str | Path, storage: str | None = None) -> StudyResults:
    """Reads a study, also one that is still running: what it has by now.

    Args:
        path: Its folder, such as runs/NAME; or its name, where it is under runs.
        storage: The Optuna storage it was started with (`--storage`); None is the journal in its folder.

    Raises:
        InputError: There is no such study.

    Example:
        >>> results = study.load_study("runs/fer2013-tfeid-card-laptop")
    """
    folder = Path(path)
    if folder.parent == Path() and not folder.is_dir():
        folder = Path("runs") / folder
    if not folder.name:  # "." in a study's folder
        folder = folder.resolve()
    return StudyResults(folder, storage)
