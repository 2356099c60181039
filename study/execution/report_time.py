"""How long writing a study's report takes on this machine: as the last one in the same output folder did."""

import contextlib
import math
from pathlib import Path

from fer.files import read_regular, write_atomically
from study.options import cache_folder

USUAL_SECONDS = 12.0
"""Of the report of a few hundred trials on two cores, for before one was written."""
FILE = "report-seconds"
_MOST_BYTES = 100
_LONGEST = 3600.0


def expected_report_seconds(out: str | Path) -> float:
    """Returns how many seconds the next report will take, about.

    Args:
        out: The output folder.
    """
    try:
        seconds = float(read_regular(cache_folder(out) / FILE, _MOST_BYTES))
    except (OSError, ValueError):  # none was written here, or something else stands there
        return USUAL_SECONDS
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _LONGEST else USUAL_SECONDS


def note_report_seconds(out: str | Path, seconds: float) -> None:
    """Notes how long a report took; that the folder cannot be written is told by whoever needs it.

    Args:
        out: The output folder.
        seconds: That it took.
    """
    with contextlib.suppress(OSError):
        write_atomically(cache_folder(out) / FILE, f"{seconds:.1f}\n".encode())
