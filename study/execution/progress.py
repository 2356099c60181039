"""What the main job shows while it runs: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer.errors import printable

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial
    from rich.live import Live
    from rich.table import Table

PLAIN_EVERY = 15.0
"""Seconds between two plain lines."""


class Progress:
    """Prints messages, and the state of the search in a line that stays or is printed now and then."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console

        self.console = Console(highlight=False, soft_wrap=True)
        self.is_live = self.console.is_terminal and not quiet
        self.live: Live | None = None
        self.total = 0
        self.before = 0
        self.started = self.printed = time.monotonic()
        self.last = ""
        self.reference: tuple[float, float] | None = None

    def say(self, text: str) -> None:
        """Prints a line, in which nothing is left that a terminal obeys."""
        self.console.print(printable(text), markup=False)

    def warn(self, text: str) -> None:
        """Prints a line that should not be missed."""
        self.console.print(f"warning: {printable(text)}", style="bold yellow", markup=False)

    def show(self, thing: Any) -> None:
        """Prints anything that rich can draw."""
        self.console.print(thing)

    def begin(self, total: int, before: int) -> None:
        """Sets out towards `total` trials, of which `before` are there already."""
        self.total = total
        self.before = before
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        if self.is_live:
            from rich.live import Live

            self.live = Live(console=self.console, refresh_per_second=4, transient=False)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
        elif kind is None and self.last:
            self.say(self.last)

    def update(self, ended: list["FrozenTrial"]) -> None:
        """Shows the state of the search, given the trials that count."""
        from rich.text import Text

        self.last = self.line(ended)
        if self.live is not None:
            self.live.update(Text(self.last))
        elif time.monotonic() - self.printed > PLAIN_EVERY:
            self.printed = time.monotonic()
            self.say(self.last)

    def line(self, ended: list["FrozenTrial"]) -> str:
        """Returns finished/stopped/failed trials, size of the front, hypervolume, seconds per trial, time left.

        Args:
            ended: The trials that count.
        """
        from fer.expressions import CHANCE
        from study.pareto import hypervolume, non_dominated
        from study.trials import objective_vectors

        states = [trial.state.name for trial in ended]
        points = []
        for trial in ended:
            if trial.state.name == "COMPLETE":
                points += objective_vectors(trial)

        front_size = int(non_dominated(points).sum()) if points else 0
        volume = hypervolume(points, self.reference or (CHANCE, CHANCE)) if points else 0.0
        parts = [
            f"{len(ended)}/{self.total} trials: {states.count('COMPLETE')} finished, "
            f"{states.count('PRUNED')} stopped, {states.count('FAIL')} failed",
            f"front {front_size}",
            f"hypervolume {volume:.4f}",
        ]

        # The time that is left, from the pace of this call of the command.
        elapsed = time.monotonic() - self.started
        ended_here = len(ended) - self.before
        if ended_here:
            pace = elapsed / ended_here
            left = pace * (self.total - len(ended))
            parts += [f"{pace:.1f} s/trial", f"{clock(left)} left"]
        parts.append(f"{clock(elapsed)} so far")
        return " · ".join(parts)


def clock(seconds: float) -> str:
    """Returns seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"


def front_rich_table(record: dict[str, Any], rows: "pd.DataFrame", most: int = 15) -> "Table":
    """Returns the front of a study as a table for the terminal, an arrow at its knee, at most `most` rows of it.

    Args:
        record: The study's record.
        rows: Of `study.trials.trials_table`.
        most: A longer front shows evenly chosen points; front.csv has them all.
    """
    import numpy as np
    from rich.table import Table

    from study.fronts import find_knee, front_table
    from study.record import StudyRecord
    from study.reporting.wording import SYNTHETIC, dataset_label, format_percent

    study_record = StudyRecord.from_json(record)
    points = front_table(rows)
    chosen = find_knee(points)
    title = f"{len(points)} non-dominated networks" + (f" ({SYNTHETIC})" if study_record.is_synthetic else "")
    shown = Table(title=title, title_justify="left", title_style="bold")
    columns = ["trial", "strategy", "frozen layers", "learning rate", "fusion ratio"]
    columns += [f"{dataset_label(study_record, side)} %" for side in ("source", "target")]
    for column in columns:
        shown.add_column(column, justify="right" if column != "strategy" else "left", overflow="fold")
    for index in np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(int)):
        row = points.iloc[index]
        ratio = row.get("fusion_ratio", "")
        is_knee = chosen is not None and row["model"] == chosen["model"]
        way = "" if row["alpha"] == 1 else f" at {row['alpha']:g}"
        shown.add_row(
            f"{'→ ' if is_knee else ''}{row['trial']}{way}",
            printable(row["strategy"]),
            str(row.get("frozen_layers", "")),
            f"{row.get('lr', float('nan')):.2g}",
            ratio if isinstance(ratio, str) else f"{ratio:.2f}",
            format_percent(row["source_val"]),
            format_percent(row["target_val"]),
            style="bold" if is_knee else None,
        )
    return shown
