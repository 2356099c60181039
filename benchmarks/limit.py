"""How near a study came to what its processor could do: its arithmetic at the speed of the best convolution.

`python -m benchmarks.limit STUDY_FOLDER` adds up what the trials of a finished study had to compute at the least: each
drawn sample forward and backward through the layers that its trial trains, and both validation sets through them at
each rung and for each interpolated network; frozen features, data, augmentation and records count as nothing (layers
that are frozen above trained ones count as trained). It measures the peak of one core again (`benchmarks.peak`) and
prints seconds: at that peak with all workers busy, at the speed that the network's own convolutions reach alone, and
those that were spent. Trials that stopped early are counted both as they went and as if none stopped, nor was looked at
for that. Results: benchmarks/results/limit.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

import pandas as pd

from benchmarks.checking import code_in_use
from benchmarks.peak import costs
from benchmarks.processes import run_python
from study.machine import hardware, versions
from study.options import is_on

RESULTS = Path(__file__).parent / "results" / "limit.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study, with study.json and trials.csv")
    parser.add_argument("--workers", type=int, default=2, help="of the study (default: %(default)s)")
    args = parser.parse_args()

    figures = limits(args.study, args.workers)
    print(json.dumps(figures, indent=1))
    result = {"hardware": hardware(), "versions": versions(), "measured_code": code_in_use(), "figures": figures}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def limits(folder: Path, workers: int) -> dict[str, float]:
    """Returns TFLOP and seconds of a study, see above."""
    record = json.loads((folder / "study.json").read_text())
    table = pd.read_csv(folder / "trials.csv")

    # What the processor reaches with these convolutions.
    width = record["network"]["width"]
    baseline = record["baseline"]
    peak = json.loads(run_python(["-m", "benchmarks.peak", str(width), baseline["precision"], baseline["device"]]))
    own = peak["training_images_per_second_convolutions_alone"] * peak["training_gflop"]
    trained = table[table["seconds"] > 0.1]  # the others have the results of duplicates
    rows = cast(list[dict[str, Any]], trained.to_dict("records"))
    figures = {
        "trials": float(len(trained)),
        "stopped": float((trained["state"] == "stopped").sum()),
        "spent_seconds": float(trained["seconds"].sum()) / workers,
        "convolution_gflops": peak["convolution_gflops"],
        "own_convolutions_gflops": own,
    }
    for name, to_end in (("as it went", False), ("none stopped", True)):
        work = sum(gflop(row, record, width, to_end) for row in rows)
        figures |= {
            f"{name}: tflop": work / 1000,
            f"{name}: seconds at the best convolution": work / peak["convolution_gflops"] / workers,
            f"{name}: seconds at the network's own convolutions": work / own / workers,
        }
    return figures


def gflop(row: dict[str, Any], record: dict[str, Any], width: float, to_end: bool) -> float:
    """Returns what a trial has to compute, in GFLOP.

    Args:
        row: The trial, a row of trials.csv.
        record: The study's record.
        width: Width of its network.
        to_end: Whether to count a stopped trial to its end, and no evaluation at a rung.
    """
    sizes = {domain: record[domain]["report"]["sizes"] for domain in ("source", "target")}
    counts = [size["validation"] for size in sizes.values()]
    options = record["options"]

    # Images evaluated at half of the budget.
    evaluated = 0
    if is_on(options.get("early_stop", True)) and not to_end:
        most = options.get("rung_images")
        evaluated = sum(min(most or count, count) for count in counts)

    # Samples trained on, and images evaluated at the end: by the adapted network and each interpolated one.
    samples = row["epochs"] * sizes["target"]["train"]
    if row["state"] == "stopped" and not to_end:
        samples /= 2
    else:
        interpolated = [name for name in row if name.startswith("source_val/") and pd.notna(row[name])]
        evaluated += sum(counts) * (1 + len(interpolated))
    if row["lr"] == 0:
        samples = 0.0

    # The cost of a sample.
    frozen = int(row["frozen_layers"]) if row["frozen_from"] == 0 else 0
    training, forward = costs(width)[frozen]
    head = costs(width)[-2][0] + forward - costs(width)[-2][1]  # the last layer trained, the others computed
    training = row["head_first"] * head + (1 - row["head_first"]) * training
    return samples * training + evaluated * forward


if __name__ == "__main__":
    sys.exit(main())
