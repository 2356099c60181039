"""Whether bf16 finds what fp32 finds: 40 configurations of the `card` space trained in both.

`python -m benchmarks.precision` writes the rank correlations (Spearman) of both objectives and how far accuracies lie
apart to benchmarks/results/precision-TARGET.json. Seeds, samples and the baseline are the same; the baseline's features
and scores are computed in each precision anew. Training magnifies the last bits of its numbers, in any precision: so
fp32 is also compared with itself, the baseline's weights changed by a millionth. What that control does not reach, bf16
cannot be asked for. TFEID's stand-in has 47 validation images, MUG's 741: the fewer, the more of a rank is luck. On a
CPU without bf16 arithmetic that precision is emulated: slow, with the same numbers. `--check` compares the record with
what is wanted, `--quick` runs a small part and writes nothing.
"""

import argparse
import copy
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.checking import code_in_use, note_earlier_code, recorded

if TYPE_CHECKING:
    from fer.model.weights import Baseline

RESULTS = Path(__file__).parent / "results"
LEAST = 0.95
OBJECTIVES = ("source_val", "target_val")
CONTROL, NUDGE = "fp32, nudged", 1e-6


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
        found = recorded(path)
        return check(found) if found else 1
    if args.quick:
        args.trials, args.preset = 10, "tiny"
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
    for side in OBJECTIVES:
        found = {name: one["spearman"] for name, one in result["figures"][side].items()}
        least = min(LEAST, found[CONTROL])
        short = short or not found["bf16"] >= least
        verdict = "" if found["bf16"] >= LEAST else f", below {LEAST:g}"
        print(f"{side}: Spearman of bf16 {found['bf16']:.3f}{verdict}; {CONTROL} {found[CONTROL]:.3f}")
    return int(short)


def measure(args: argparse.Namespace, out: Path) -> list[dict[str, Any]]:
    """Trains every configuration in both precisions, and as the control; returns a row for each."""
    import optuna

    from fer import baseline
    from fer.adaptation.procedure import adapt
    from fer.adaptation.task import AdaptationTask
    from fer.config import AdaptationConfig
    from fer.model import weights
    from fer.runtime import make_runtime
    from fer.seeding import seed_from
    from fer.training.loop import Diverged
    from search_spaces import SPACES, choose
    from study.inputs import budget_epochs, prepare_dataset
    from study.options import PRESETS, StudyOptions

    options = asdict(StudyOptions(args.target, preset=args.preset, epochs=args.epochs, out=str(out)))
    source, target = (prepare_dataset(name, options, "synthetic") for name in ("fer2013", args.target))
    preset, single = PRESETS[args.preset], make_runtime(args.device, "fp32")
    config = baseline.BaselineConfig(preset.width, 0, preset.baseline_epochs, preset.baseline_processes)
    trained = weights.load_network(baseline.find_or_train(source, config, single, out / "baselines"), single)
    settings = {
        precision: AdaptationTask(trained, source, target, make_runtime(args.device, precision), out)
        for precision in ("fp32", "bf16")
    }
    settings[CONTROL] = replace(settings["fp32"], baseline=nudged(trained))
    base = AdaptationConfig(epochs=budget_epochs(options, len(source.open("train")), len(target.open("train"))))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    for number in range(args.trials):
        study = optuna.create_study(
            directions=["maximize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=number)
        )
        SPACES["card"].initial_trial(base, number).enqueue(study, slot=number)
        strategy, knobs = choose("card", study.ask(), base)
        row: dict[str, Any] = {"strategy": strategy, "frozen_layers": knobs.frozen_layers, "lr": knobs.lr}
        for precision, setting in settings.items():
            try:
                measures = adapt(setting, knobs, seed_from("precision", number)).measures
                row[precision] = [measures[name] for name in OBJECTIVES]
            except Diverged:
                row[precision] = None
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def nudged(trained: "Baseline") -> "Baseline":
    """Returns a baseline whose weights are another one's but for a millionth of each."""
    import torch

    from fer.runtime import digest_of

    network = copy.deepcopy(trained.network)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights *= 1 + NUDGE * torch.randn(weights.shape, generator=drawn).to(weights.device)
    return replace(trained, network=network, digest=digest_of(network.state_dict()))


def summary(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Returns the correlation and the differences of each objective, over what ended in all ways of training."""
    import numpy as np
    from scipy import stats

    from study.machine import hardware, versions

    ended = [row for row in rows if row["fp32"] and row["bf16"] and row[CONTROL]]
    single, *others = (np.array([row[name] for row in ended]) for name in ("fp32", "bf16", CONTROL))
    figures = {
        side: {
            name: {
                "spearman": float(stats.spearmanr(single[:, index], found[:, index]).statistic),
                "mean_difference": float((found - single)[:, index].mean()),
                "largest_difference": float(abs(found - single)[:, index].max()),
            }
            for name, found in zip(("bf16", CONTROL), others, strict=True)
        }
        for index, side in enumerate(OBJECTIVES)
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
