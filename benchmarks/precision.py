"""Whether bf16 finds what fp32 finds: 40 configurations of the `card` space trained in both.

`python -m benchmarks.precision` writes the rank correlations (Spearman) of both objectives and how far accuracies lie
apart to benchmarks/results/precision-TARGET.json. Seeds, samples and the baseline are the same; the baseline's features
and scores are computed again in each precision. Training magnifies the last bits of its numbers, in any precision: so
fp32 is also compared with itself, the baseline's weights changed by a millionth. What that control does not reach, bf16
cannot be asked for. Synthetic TFEID has 47 validation images, synthetic MUG 741: the fewer, the more of a rank is
noise. On a CPU without bf16 arithmetic that precision is emulated: slow, with the same numbers. `--check` compares the
record with what is wanted, `--quick` runs a small part and writes nothing.
"""

import argparse
import copy
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from scipy import stats

from benchmarks.checking import code_in_use, note_earlier_code, recorded
from fer import baseline
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import AdaptationConfig
from fer.model import weights
from fer.model.weights import Baseline, paper_baseline
from fer.runtime import make_runtime
from fer.seeding import seed_from
from fer.training.loop import Diverged
from search_spaces import SPACES, suggest_adaptation
from study.execution.study_baseline import baseline_config
from study.inputs import budget_epochs, prepare_dataset
from study.machine import hardware, versions
from study.options import StudyOptions

RESULTS = Path(__file__).parent / "results"
OBJECTIVES = ("source_val", "target_val")

LEAST = 0.95
"""The rank correlation that bf16 should have with fp32."""

CONTROL = "fp32, nudged"
NUDGE = 1e-6
"""How far the control's weights are from the baseline's, relative to each."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--target", default="tfeid")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--epochs", type=float, help="passes over the target (default: the preset's budget)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="where data, baseline and features are cached (default: temporary)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    path = RESULTS / f"precision-{args.target}.json"
    if args.check:
        record = recorded(path)
        return check(record) if record else 1
    if args.quick:
        args.trials = 10
        args.preset = "tiny"
    with tempfile.TemporaryDirectory() as temporary:
        result = summary(measure(args, args.out or Path(temporary)), args)
    print(json.dumps(result["figures"], indent=1))
    if not args.quick:
        path.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def check(result: dict[str, Any]) -> int:
    """Prints each correlation of bf16 that falls short; the most that is wanted is what fp32 has with itself."""
    note_earlier_code(result)
    short = False
    for objective in OBJECTIVES:
        correlations = {name: row["spearman"] for name, row in result["figures"][objective].items()}
        bf16 = correlations["bf16"]
        control = correlations[CONTROL]
        short = short or not bf16 >= min(LEAST, control)
        verdict = "" if bf16 >= LEAST else f", below {LEAST:g}"
        print(f"{objective}: Spearman of bf16 {bf16:.3f}{verdict}; {CONTROL} {control:.3f}")
    return int(short)


def measure(args: argparse.Namespace, out: Path) -> list[dict[str, Any]]:
    """Trains every configuration in both precisions, and as the control; returns a row for each."""
    options = asdict(StudyOptions(args.target, preset=args.preset, epochs=args.epochs, out=str(out)))
    source = prepare_dataset("fer2013", options, "synthetic")
    target = prepare_dataset(args.target, options, "synthetic")

    # One task for each precision, and the control's.
    single = make_runtime(args.device, "fp32")
    recipe = baseline_config(options, source, single, VGG13)
    trained = weights.load_network(baseline.find_or_train(source, recipe, single, out / "baselines"), single)
    tasks = {
        precision: AdaptationTask(trained, source, target, make_runtime(args.device, precision), out)
        for precision in ("fp32", "bf16")
    }
    tasks[CONTROL] = replace(tasks["fp32"], baseline=nudge(trained))

    # The configurations of a study that draws at random.
    base = AdaptationConfig(epochs=budget_epochs(options, len(target.open("train"))))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    for number in range(args.trials):
        sampler = optuna.samplers.RandomSampler(seed=number)
        study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
        SPACES["card"].initial_trial(base, number).enqueue(study, slot=number)
        strategy, config = suggest_adaptation("card", study.ask(), base)
        row: dict[str, Any] = {"strategy": strategy, "frozen_layers": config.frozen_layers, "lr": config.lr}
        for precision, task in tasks.items():
            try:
                measures = adapt(task, config, seed_from("precision", number)).measures
                row[precision] = [measures[name] for name in OBJECTIVES]
            except Diverged:
                row[precision] = None
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def nudge(trained: Baseline) -> Baseline:
    """Returns a baseline whose weights are another's but for a millionth of each."""
    network = copy.deepcopy(trained.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            parameter.mul_(1 + NUDGE * noise)
    return paper_baseline(network, trained.width)


def summary(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Returns the correlation and the differences of each objective, over what ended in all ways of training."""
    ended = [row for row in rows if row["fp32"] and row["bf16"] and row[CONTROL]]
    accuracies = {name: np.array([row[name] for row in ended]) for name in ("fp32", "bf16", CONTROL)}

    figures: dict[str, dict[str, Any]] = {objective: {} for objective in OBJECTIVES}
    for index, objective in enumerate(OBJECTIVES):
        single = accuracies["fp32"][:, index]
        for name in ("bf16", CONTROL):
            compared = accuracies[name][:, index]
            figures[objective][name] = {
                "spearman": float(stats.spearmanr(single, compared).statistic),
                "mean_difference": float((compared - single).mean()),
                "largest_difference": float(abs(compared - single).max()),
            }
    return {
        "figures": figures,
        "n": len(ended),
        "setting": {"target": args.target, "trials": args.trials, "epochs": args.epochs},
        "target": LEAST,
        "preset": args.preset,
        "device": args.device,
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "rows": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
