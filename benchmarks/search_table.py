"""A table of real trainings to test searches on: hyperparameters, both objectives at five shares of the budget, time.

`python -m benchmarks.search_table --trials 1500 --out DIR` trains what is still missing, one row after the other, and
packs all rows into benchmarks/results/search-table.csv.gz. Interrupted at any time, it goes on where it stopped; each
row follows from its number alone. Rows are the named methods, then random draws from the space `full`; every 25th row
repeats the row before it with another training seed, which tells how much of a difference is noise.

The setting is small, so that a row costs one or two seconds of one core: synthetic FER2013 (200 validation images) and
synthetic KDEF (98), the network at an eighth of the paper's width, 512 samples an adaptation. Seconds are the process's
own CPU time, because machines are shared.
"""

import argparse
import csv
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

import optuna
import pandas as pd

import fer.adaptation.procedure
from fer import baseline
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.task import AdaptationTask
from fer.baseline_job import BaselineConfig
from fer.config import AdaptationConfig
from fer.datasets import Dataset, Split, load
from fer.model import weights
from fer.runtime import make_runtime
from fer.seeding import seed_from
from fer.training.loop import Diverged
from search_spaces import full, named_in, paper
from study.machine import worker_environment

PACKED = Path(__file__).parent / "results" / "search-table.csv.gz"

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Shares of the budget at which a training is evaluated."""

PARTS = 8
"""Into how many parts the budget is divided; each share is a number of them."""

KNOBS = (
    "optimiser", "lr", "weight_decay", "layer_decay", "label_smoothing", "frozen_layers", "frozen_from", "head_first",
    "averaging", "bn", "fusion_ratio", "replay_size", "anchor", "anchor_weight", "mixup", "members", "alpha",
    "alpha_slope",
)  # fmt: skip
"""What `full` and the named methods vary; everything else is the same in all rows."""

OBJECTIVES = ("source", "target")
SOURCES = {"source": "source_val", "target": "target_val", "seconds": "seconds"}
MEASURED = tuple(f"{name}@{share:g}" for share in SHARES for name in (*OBJECTIVES, "seconds"))
COLUMNS = ("number", "method", "seed", "state", "engine", *KNOBS, *MEASURED)

ENGINE = 2
"""The arithmetic of training that rows come from; rows of 1 are older than dropout before a layer."""

WIDTH = 0.125
BASELINE_EPOCHS = 8
SAMPLES = 512
VALIDATION = 200

REPEAT = 25
"""Each REPEAT-th row repeats the row before it."""

NAMED = ("BL", "FC", "FC+CL", "RE", "FU", "LP", "LP-FT", "surgical", "L2-SP", "EWC", "MAS", "LwF", "LF", "replay",
         "DER++", "AdaBN", "WiSE-FT", "LiNeS", "SFA", "soup")  # fmt: skip
"""The methods of the first rows, when the table was begun; the surrogate predicts those that joined them later."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_table", description=__doc__)
    parser.add_argument("--trials", type=int, default=1500, help="rows in all (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="rows so far, data, features (%(default)s)")
    args = parser.parse_args()
    if "OMP_NUM_THREADS" not in os.environ:
        # The thread pools and the allocator read their settings when a process starts, so it starts again.
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.search_table", *sys.argv[1:]], worker_environment()
        )
    args.out.mkdir(parents=True, exist_ok=True)
    rows = args.out / "search-table.csv"
    if not rows.exists() and PACKED.exists():
        read().to_csv(rows, index=False)
    try:
        collect(rows, args.trials, args.out / ".cache")
    finally:
        pack(rows)
    return 0


def read(path: Path = PACKED) -> pd.DataFrame:
    """Returns the table: a row per training, columns as in COLUMNS."""
    text = dict.fromkeys(("method", "state", "optimiser", "bn", "fusion_ratio", "replay_size", "anchor"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the rows of a table by the names of its columns."""
    return cast(list[dict[str, Any]], table.to_dict("records"))


def pack(rows: Path) -> None:
    """Writes the rows so far, in the order of their numbers, where they are committed."""
    PACKED.parent.mkdir(exist_ok=True)
    table = read(rows).sort_values("number")
    table.to_csv(PACKED, index=False, compression={"method": "gzip", "mtime": 0})
    print(f"{len(table)} rows in {PACKED}")


def collect(rows: Path, total: int, cache: Path) -> None:
    """Appends the rows that are missing."""
    finished = set(read(rows)["number"]) if rows.exists() else set()
    if not finished:
        rows.write_text(",".join(COLUMNS) + "\n")
    missing = [number for number in range(total) if number not in finished]
    if not missing:
        return
    task = make_task(cache)
    for number in missing:
        row = train(task, number)
        # One write per row, so that no end of the process leaves half of one.
        with rows.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)
        print(f"{number}: {row['method']} {row['state']}, {row['source@1']} {row['target@1']}", flush=True)


def make_task(cache: Path) -> AdaptationTask:
    """Returns the task of all rows: baseline and data, with fewer source images to validate on."""

    class FewerValidationImages(Dataset):
        def open(self, split: str) -> Split:
            complete = super().open(split)
            first = slice(None if split == "train" else VALIDATION)
            return Split(complete.images[first], complete.labels[first], complete.subjects[first])

    def synthetic(name: str) -> Dataset:
        return load(name, data_dir=None, kind="synthetic", cache_dir=cache / "datasets")

    fer2013 = synthetic("fer2013")
    source = FewerValidationImages(fer2013.name, fer2013.kind, fer2013.digest + "f", fer2013.folder, fer2013.report)
    cpu = make_runtime("cpu", "fp32")
    recipe = BaselineConfig(WIDTH, 0, BASELINE_EPOCHS, 1)
    file = baseline.find_or_train(source, recipe, cpu, cache / "baselines")
    return AdaptationTask(weights.load_network(file, cpu), source, synthetic("kdef"), cpu, cache)


def draw(number: int, base: AdaptationConfig) -> tuple[str, AdaptationConfig, int]:
    """Returns the method's name, the configuration and the training seed of a row."""
    if number < len(NAMED):
        name = NAMED[number]
        config = named_in("paper", paper.FROM_BASELINE if name == "FU" else name, base)  # which was every FU then
        return name, config, 0

    if number % REPEAT == REPEAT - 1:
        method, config, _ = draw(number - 1, base)
        return method, config, 1

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=seed_from("search table", number) % 2**32)
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    trial = cast(optuna.Trial, FusionAsBegun(study.ask()))
    method, config = full.suggest(trial, base)
    return method, config, 0


class FusionAsBegun:
    """A trial of the space `full` as it was when the table was begun, for a row follows from its number alone.

    Fusion had its natural ratio or one on a linear scale then.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def __getattr__(self, name: str) -> object:
        return getattr(self._trial, name)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float | str:
        """Returns a number, or "natural" for the fusion ratio."""
        if name != "fusion_ratio":
            return self._trial.suggest_float(name, low, high, log=log)
        if self._trial.suggest_categorical("fusion_kind", ["natural", "ratio"]) == "natural":
            return "natural"
        return self._trial.suggest_float(name, 0.05, 0.95)


def train(task: AdaptationTask, number: int) -> dict[str, Any]:
    """Trains one row to its end; returns its columns, with the state "failed" where the training diverged."""
    base = AdaptationConfig(epochs=SAMPLES / len(task.target.open("train")))
    method, config, seed = draw(number, base)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"number": number, "method": method, "seed": seed, "engine": ENGINE}
    row |= {name: getattr(config, name) for name in KNOBS}
    started = time.process_time()

    def record(share: float, metrics: dict[str, float]) -> None:
        """Writes what a rung reached into the row."""
        values = metrics | {"seconds": time.process_time() - started}
        for column, metric in SOURCES.items():
            row[f"{column}@{share:g}"] = round(values[metric], 6)

    def record_and_go_on(share: float, metrics: dict[str, float], _: object) -> bool:
        record(share, metrics)
        return False

    training_seed = seed_from("search table", "adapt", seed)
    try:
        plan = EvaluationPlan(rungs=SHARES, equal_epochs=PARTS)
        adapted = fer.adaptation.procedure.adapt(task, config, training_seed, record_and_go_on, plan)
        record(1.0, adapted.measures)
        row["state"] = "finished"
    except Diverged:
        row |= {"state": "failed", "seconds@1": round(time.process_time() - started, 3)}
    return row


if __name__ == "__main__":
    sys.exit(main())
