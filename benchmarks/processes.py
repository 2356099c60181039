"""The processes that benchmarks start: their environment and folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from study.machine import WORKER_ENVIRONMENT

ROOT = Path(__file__).parent.parent


def run_python(words: list[str], process: dict[str, Any] | None = None) -> str:
    """Runs this Python with a worker's environment, or another, and returns the last line it printed."""
    command = [sys.executable, *words]
    completed = subprocess.run(command, **process or tuned(), stdout=subprocess.PIPE, text=True, check=True)
    return (completed.stdout.splitlines() or [""])[-1]


def tuned() -> dict[str, Any]:
    """Returns environment and folder of the engine's workers: plain ones, with their threads and allocator settings."""
    process = plain()
    return process | {"env": WORKER_ENVIRONMENT | process["env"]}


def plain() -> dict[str, Any]:
    """Returns environment and folder of a hand-written script, and of this project's command: without paths of data."""
    left_out = ("FER_DATA", "MLFLOW_TRACKING_URI", "STUDY_STORAGE")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return {"env": variables | {"PYTHONPATH": str(ROOT)}, "cwd": ROOT}
