"""Runs the project's commands as a user does, within the test's process or in processes of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
NAME = "fer2013-tfeid-synthetic-card-tiny"
QUICK = ("--preset", "tiny", "--baseline-epochs", "1", "--epochs", "0.5")
"""The smallest preset with less training than it has: tests of the course of a study need nothing that is learned."""
SHORT_RUN = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--trials", "2"]
VARIABLES = ("FER_DATA", "STUDY_STORAGE", "MLFLOW_TRACKING_URI")
"""What commands read from the environment."""

ESCAPE = "\x1b[31m"
SECRET = "s3cr3t"
LONG = "a" * 5000
LONGEST_ERROR = 2100


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variable that a command reads."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def call(main: Callable[[list[str]], int], *words: str) -> int:
    """Returns the exit code, however the command ends."""
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


def assert_one_safe_line(said: str) -> None:
    """Asserts that an error is told as it should be, and that nobody was surprised by it."""
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert len(said) < LONGEST_ERROR and said.rstrip("\n").isprintable()
    assert "unexpected" not in said and "Traceback" not in said


def start(
    module: str, *words: str, folder: Path, environment: Mapping[str, str] | None = None, **how: Any
) -> subprocess.Popen:
    """Starts a command in a folder, with what `how` says of its pipes."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", f"study.{module}", *words],
        cwd=folder,
        env=inherited | {"PYTHONPATH": os.pathsep.join(paths)} | dict(environment or {}),
        **(pipes | how),
    )


def end(process: subprocess.Popen, seconds: float = 170) -> tuple[int, str, str]:
    """Waits for a command; returns its exit code, output and errors."""
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in (err or "") and "unexpected" not in (err or ""), err
    return process.returncode, out or "", err or ""


def command(module: str, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen:
    return start(module, *arguments, folder=folder, environment=environment)


def run(module: str, *arguments: str, folder: Path, code: int = 0, seconds: float = 170) -> str:
    """Runs a command to its end, which has this exit code; returns its output and errors."""
    process = command(module, *arguments, folder=folder)
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def study(folder: Path, *arguments: str, code: int = 0) -> str:
    return run("run", "--target", "tfeid", *QUICK, *arguments, folder=folder, code=code)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study has run as `QUICK` says: its data and its baseline are half of a small study's work."""
    folder = tmp_path_factory.mktemp("prepared")
    study(folder, "--tracking-uri", "none", "--trials", "2", "--workers", "1")
    return folder


@pytest.fixture
def prepared_folder(prepared: Path, tmp_path: Path) -> Path:
    """An empty folder, but that studies find their data and their baseline there, as each but the first does."""
    copy_prepared(prepared, tmp_path)
    return tmp_path


def copy_prepared(prepared: Path, folder: Path) -> None:
    """Gives a folder the data and the baseline of another, and neither features nor the count of test evaluations."""
    for part in ("datasets", "baselines"):
        shutil.copytree(prepared / "runs" / ".cache" / part, folder / "runs" / ".cache" / part)


def trials_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "runs" / NAME / "trials.csv")
