"""A phase drawn on a terminal: in place, never wider or higher than the terminal, whatever its size becomes."""

import math

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from fer.errors import printable
from study.execution.phase import Phase, describe_time

REFRESHES = 4.0
"""Times per second that the display is drawn."""
WIDEST = 100
"""Columns beyond which lines are harder to read."""
LABEL = 12
"""Columns of the word before each fact."""
NARROWEST = 40
"""Columns below which nothing is aligned."""
FREE_COLUMNS = 3
"""At the end of each line."""
WIDEST_BAR, NARROWEST_BAR = 40, 4
"""Columns of the bar."""
BAR, ASCII_BAR = "━─", "#-"
"""What a bar is drawn with: what is done, and the rest."""


class PhaseView:
    """Draws a phase: title and time left, a bar, facts, workers. What does not fit is left out from the end.

    Args:
        phase: The phase; drawn as it is at the moment.

    Attributes:
        widths: Of the lines that were drawn last, in columns.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.widths: list[int] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # The last columns stay free: a full line makes some terminals wrap, as does the echo of Ctrl-C after it.
        width = max(1, min(options.max_width - FREE_COLUMNS, WIDEST))
        height = max(1, options.size.height - 1)
        lines = self._lines(console, width, height)[:height]

        self.widths = [line.cell_len for line in lines]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line.render(console)

    def _lines(self, console: Console, width: int, height: int) -> list[Text]:
        """Returns the lines, each no wider than `width`, the most important first."""
        phase = self.phase
        head = Text.assemble((phase.title, "bold"), f" · {describe_time(phase)}")
        lines = list(head.wrap(console, width))
        if phase.total:
            strokes = ASCII_BAR if console.options.ascii_only else BAR
            lines.append(_draw_bar(phase.done / phase.total, phase.counted, width, strokes))
        elif phase.counted:
            lines += Text(phase.counted).wrap(console, width)
        for word, text in phase.facts:
            lines += _draw_fact(console, word, text, width)

        # Workers take the lines that are left; of more, their number.
        room = height - len(lines)
        workers = list(phase.workers)
        if len(workers) > room > 0:
            hidden = len(workers) - room + 1
            workers = [*workers[: room - 1], f"and {hidden} more"]
        for number, worker in enumerate(workers):
            lines += _draw_fact(console, "" if number else "workers", worker, width)
        for line in lines:
            line.rstrip()
        return lines


def _draw_bar(share: float, counted: str, width: int, strokes: str) -> Text:
    """Returns a bar, as wide as there is room, and what is done in words.

    Args:
        share: What is done, from 0 to 1.
        counted: The same in words.
        width: Columns for both.
        strokes: The characters of what is done and of the rest.
    """
    room = min(WIDEST_BAR, width - cell_len(counted) - 2)
    if room < NARROWEST_BAR:
        return Text(counted[:width])
    done = round(room * min(1.0, max(0.0, share)))
    return Text.assemble((strokes[0] * done, "green"), (strokes[1] * (room - done), "dim"), f"  {counted}")


def _draw_fact(console: Console, word: str, text: str, width: int) -> list[Text]:
    """Returns a fact after its word, wrapped between words under itself."""
    said = printable(text)
    if width < NARROWEST:
        return list(Text(f"{word} {said.lstrip()}".strip()).wrap(console, width))
    lines = []
    for number, part in enumerate(Text(said).wrap(console, width - LABEL)):
        label = "" if number else word
        lines.append(Text.assemble((f"{label:<{LABEL}}", "dim"), part))
    return lines


class LiveDisplay(Live):
    """A live display that knows how a terminal breaks its lines when it becomes narrower.

    Rich moves up by as many lines as it has drawn. A terminal that became narrower shows each of them as several, of
    which the upper ones would stay.

    Args:
        console: Where it is drawn.
        phase: What is drawn.
    """

    def __init__(self, console: Console, phase: Phase) -> None:
        self.view = PhaseView(phase)
        super().__init__(
            self.view, console=console, refresh_per_second=REFRESHES, transient=True, vertical_overflow="crop"
        )

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Draws what is printed above the display, then the display again."""
        with self._lock:
            width = max(1, self.console.width)
            heights = [max(1, math.ceil(columns / width)) for columns in self.view.widths]
            if self._live_render._shape is not None and heights:
                self._live_render._shape = (width, sum(heights))
        return super().process_renderables(renderables)

    def stop(self) -> None:
        """Takes the display away."""
        with self._lock:
            super().stop()
