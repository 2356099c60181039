"""Runs the project's commands as a user does, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
NAME = "fer2013-tfeid-synthetic-card-tiny"


def command(module: str, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen:
    inherited = {k: v for k, v in os.environ.items() if k not in ("FER_DATA", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, "-m", f"study.{module}", *arguments],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(module: str, *arguments: str, folder: Path, code: int = 0, seconds: float = 170) -> str:
    process = command(module, *arguments, folder=folder)
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def study(folder: Path, *arguments: str, code: int = 0) -> str:
    return run("run", "--target", "tfeid", "--preset", "tiny", *arguments, folder=folder, code=code)


def trials_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "runs" / NAME / "trials.csv")
