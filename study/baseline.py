"""Finds or trains the baseline in a process of its own, for `study.run`; not a command for people.

Reads the study's record so far from standard input and prints JSON lines: {"epoch", "of", "loss"} while it
trains, at last {"baseline": {...}} or {"error": "..."}. The parent stays free of torch that way, and the process has
the environment that fast training needs.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from fer.errors import InputError
from study.cli import DONE, WRONG_USE, describe_failure, leave
from study.config import PRESETS, STUCK, cache_folder
from study.machine import keep_private, leave_with_parent


def main(record: dict[str, Any]) -> dict[str, Any]:
    """Returns what the study's record keeps of its baseline."""
    import numpy as np

    from fer import baseline
    from fer.engine import Setting, baseline_logits, untrained_accuracy, validation_labels
    from fer.folds import divide, joined
    from fer.metrics import confusions, forward_transfer, measure
    from fer.runtime import runtime
    from study.lab import reopen

    options = record["options"]
    where = runtime(options["device"], options["precision"])
    source, target = reopen(record["source"], options), reopen(record["target"], options)
    preset = PRESETS[options["preset"]]
    epochs = options["baseline_epochs"] or preset.baseline_epochs
    if options["baseline"]:
        path = Path(options["baseline"])
    else:
        config = baseline.BaselineConfig(
            preset.width,
            options["seed"],
            epochs,
            processes=1 if where.device.startswith("cuda") else preset.baseline_processes,
            sam=options["baseline_sam"],
        )
        path = baseline.obtain(
            source,
            config,
            where,
            cache_folder(options["out"]) / "baselines",
            lambda epoch, loss: say({"epoch": epoch, "of": epochs, "loss": loss}),
        )
    trained = baseline.load(path, where)
    setting = Setting(trained, source, target, where, cache_folder(options["out"]))
    folds = divide(setting, options.get("folds", 0), options["seed"])
    logits, labels = joined(map(baseline_logits, folds)), joined(map(validation_labels, folds))
    measures = measure(labels, logits, logits)
    sizes = [len(fold.target.open("validation")) for fold in folds]
    untrained = float(np.average([untrained_accuracy(fold) for fold in folds], weights=sizes))
    measures["forward_transfer"] = forward_transfer(measures["target_val"], untrained)
    about = json.loads(baseline.header_of(path).get("baseline", "{}"))
    return {
        "file": str(path),
        "digest": trained.digest,
        "width": trained.width,
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "epochs": about.get("config", {}).get("epochs"),
        "seconds": about.get("seconds"),
        "source_val": measures["source_val"],
        "target_val": measures["target_val"],
        "measures": measures,
        "confusion": confusions(labels, logits),
        "device": where.device,
        "precision": where.precision,
    }


def say(line: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(line), flush=True)


def work() -> int:
    """Trains or finds the baseline that the record on standard input names, and tells the parent; returns the code."""
    try:
        say({"baseline": main(json.load(sys.stdin.buffer))})
        return DONE
    except InputError as error:
        say({"error": [error.rule, str(error.value), error.mend]})
        return WRONG_USE
    except Exception as error:  # whatever it is, the parent has it on one line
        if sys.flags.dev_mode:
            raise
        say({"stuck": describe_failure(error)})
        return STUCK


if __name__ == "__main__":
    leave_with_parent(os.getppid())
    keep_private()
    leave(work())
