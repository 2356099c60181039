"""How near a study came to what its processor could do: its arithmetic at the speed of the best convolution.

`python -m benchmarks.limit STUDY_FOLDER` adds up what the trials of a finished study had to compute at the least: each
drawn sample forward and backward through the layers that its trial trains, and both validation sets through them at
each rung and for each network on the way; frozen features, data, augmentation and records count as nothing (layers that
are frozen above trained ones count as trained). It measures the peak of one core anew (`benchmarks.peak`) and prints
seconds: at that peak with all workers busy, at the speed that the network's own convolutions reach alone, and those
that were spent. Trials that stopped early are counted both as they went and as if none stopped, nor was looked at for
that. Results: benchmarks/results/limit.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.checking import code_in_use
from benchmarks.throughput import run_python

RESULTS = Path(__file__).parent / "results" / "limit.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study, with study.json and trials.csv")
    parser.add_argument("--workers", type=int, default=2, help="of the study (default: %(default)s)")
    args = parser.parse_args()
    from study.machine import hardware, versions

    found = limits(args.study, args.workers)
    print(json.dumps(found, indent=1))
    result = {"hardware": hardware(), "versions": versions(), "measured_code": code_in_use(), "figures": found}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def limits(folder: Path, workers: int) -> dict[str, float]:
    """Returns TFLOP and seconds of a study, see above."""
    record = json.loads((folder / "study.json").read_text())
    table = pd.read_csv(folder / "trials.csv")
    width, precision = record["network"]["width"], record["baseline"]["precision"]
    peak = json.loads(run_python(["-m", "benchmarks.peak", str(width), precision, record["baseline"]["device"]]))
    own = peak["training_images_per_second_convolutions_alone"] * peak["training_gflop"]
    trained = table[table["seconds"] > 0.1]  # the others were answered from the record
    found = {
        "trials": float(len(trained)),
        "stopped": float((trained["state"] == "stopped").sum()),
        "spent_seconds": float(trained["seconds"].sum()) / workers,
        "convolution_gflops": peak["convolution_gflops"],
        "own_convolutions_gflops": own,
    }
    for name, whole in (("as it went", False), ("none stopped", True)):
        work = sum(gflop(row, record, width, whole) for row in trained.to_dict("records"))
        found |= {
            f"{name}: tflop": work / 1000,
            f"{name}: seconds at the best convolution": work / peak["convolution_gflops"] / workers,
            f"{name}: seconds at the network's own convolutions": work / own / workers,
        }
    return found


def gflop(row: dict[str, Any], record: dict[str, Any], width: float, whole: bool) -> float:
    """Returns what a trial has to compute; `whole` counts a stopped one to its end."""
    from benchmarks.peak import costs

    sizes = {side: record[side]["report"]["sizes"] for side in ("source", "target")}
    samples = row["epochs"] * sizes["target"]["train"]
    counts = [size["validation"] for size in sizes.values()]
    validated, most = sum(counts), record["options"].get("rung_images")
    looks = record["options"].get("early_stop", "on") == "on" and not whole  # once, at half of the budget
    measured = sum(min(most or count, count) for count in counts) if looks else 0
    if row["state"] == "stopped" and not whole:
        samples /= 2
    else:
        measured += validated * (1 + sum(pd.notna(row[name]) for name in row if name.startswith("source_val/")))
    frozen = int(row["frozen_layers"]) if row["frozen_from"] == 0 else 0
    training, forward = costs(width)[frozen]
    if row["lr"] == 0:
        samples = 0.0
    head = costs(width)[-2][0] + forward - costs(width)[-2][1]  # the last layer trained, the others computed
    training = row["head_first"] * head + (1 - row["head_first"]) * training
    return samples * training + measured * forward


if __name__ == "__main__":
    sys.exit(main())
