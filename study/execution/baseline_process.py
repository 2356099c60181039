"""Finds or trains the baseline in a process of its own, for `study.run`; not a command for people.

Reads the study's record so far from standard input and prints JSON lines: {"epoch", "of", "loss"} while it
trains, at last {"baseline": {...}} or {"error": "..."}. The parent stays free of torch that way, and the process has
the environment that fast training needs.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError, printable
from study.cli import describe_failure, leave
from study.exit_code import ExitCode
from study.machine import exit_with_parent, keep_private
from study.options import PRESETS, cache_folder
from study.record import StudyRecord

if TYPE_CHECKING:
    from fer.baseline import BaselineConfig
    from fer.datasets import Dataset
    from fer.model.weights import Baseline
    from fer.runtime import Runtime


def main(record: dict[str, Any]) -> dict[str, Any]:
    """Returns what the study's record keeps of its baseline."""
    import numpy as np

    from fer import baseline
    from fer.adaptation.cross_validation import divide_into_folds, join_folds
    from fer.adaptation.evaluation import baseline_logits, untrained_accuracy, validation_labels
    from fer.adaptation.task import AdaptationTask
    from fer.evaluation.metrics import confusion_matrices, evaluate, forward_transfer
    from fer.model import weights
    from fer.predict import UnusableNetwork
    from fer.runtime import make_runtime
    from study.inputs import reopen_dataset

    options = record["options"]
    where = make_runtime(options["device"], options["precision"])
    datasets = StudyRecord.from_json(record)
    source, target = reopen_dataset(datasets.source, options), reopen_dataset(datasets.target, options)
    if options["baseline"]:
        path = Path(options["baseline"])
    else:
        config = config_of(options, where)
        path = baseline.find_or_train(
            source,
            config,
            where,
            cache_folder(options["out"]) / "baselines",
            lambda epoch, loss: say({"epoch": epoch, "of": config.epochs, "loss": loss}),
            on_damage=lambda text: print(f"warning: {printable(text)}", file=sys.stderr, flush=True),
        )
    trained = weights.load_network(path, where)
    setting = AdaptationTask(trained, source, target, where, cache_folder(options["out"]))
    folds = divide_into_folds(setting, options.get("folds", 0), options["seed"])
    logits, labels = join_folds(map(baseline_logits, folds)), join_folds(map(validation_labels, folds))
    if not all(np.isfinite(values).all() for values in logits.values()):
        raise UnusableNetwork(path)
    measures = evaluate(labels, logits, logits)
    sizes = [len(fold.target.open("validation")) for fold in folds]
    untrained = float(np.average([untrained_accuracy(fold) for fold in folds], weights=sizes))
    measures["forward_transfer"] = forward_transfer(measures["target_val"], untrained)
    trained_epochs, seconds = baseline.training_of(path)
    return {
        "file": str(path),
        "digest": trained.digest,
        "width": trained.width,
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "epochs": trained_epochs,
        "seconds": seconds,
        "source_val": measures["source_val"],
        "target_val": measures["target_val"],
        "measures": measures,
        "confusion": confusion_matrices(labels, logits),
        "device": where.device,
        "precision": where.precision,
    }


def config_of(options: Mapping[str, Any], where: "Runtime") -> "BaselineConfig":
    """Returns how a study with these options trains its baseline."""
    from fer.baseline import BaselineConfig

    preset = PRESETS[options["preset"]]
    return BaselineConfig(
        preset.width,
        options["seed"],
        options["baseline_epochs"] or preset.baseline_epochs,
        processes=1 if where.device.startswith("cuda") else preset.baseline_processes,
        sam=options.get("baseline_sam", 0.0),  # of studies that an older version began
    )


def reopen_baseline(
    record: Mapping[str, Any], options: Mapping[str, Any], source: "Dataset", where: "Runtime"
) -> "Baseline":
    """Opens the very baseline that a study's record names; one that the study trained is trained again if need be.

    Args:
        record: The study's.
        options: The study's, with `out` of this command.
        source: What the baseline was trained on.
        where: Where it goes.

    Raises:
        InputError: It is not there or damaged, and cannot be made again, or another comes out.
    """
    from fer import baseline
    from fer.model import weights
    from fer.runtime import make_runtime

    known = record["baseline"]
    path, folder = Path(known["file"]), cache_folder(options["out"]) / "baselines"
    if not path.exists():
        path = folder / path.name
    try:
        found = weights.load_network(path, where)
    except InputError:
        if options.get("baseline"):  # the user's own file
            raise
        # As the study trained it, wherever this process computes.
        trained_on = make_runtime(known["device"], known["precision"])
        config = config_of(options, trained_on)
        if path.name != f"{source.name}-{baseline.baseline_digest(source, config, trained_on)}.safetensors":
            raise
        print(f"the baseline {path} is missing or damaged: it is trained again", file=sys.stderr, flush=True)
        path = baseline.find_or_train(source, config, trained_on, folder)
        found = weights.load_network(path, where)
    if found.digest != known["digest"]:
        raise InputError(
            "a study's processes need its own baseline", f"{path} with hash {found.digest}", "Copy the study's file."
        )
    return found


def say(line: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(line), flush=True)


def work() -> int:
    """Trains or finds the baseline that the record on standard input names, and tells the parent; returns the code."""
    try:
        say({"baseline": main(json.load(sys.stdin.buffer))})
        return ExitCode.DONE
    except InputError as error:
        say({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:  # whatever it is, the parent has it on one line
        if sys.flags.dev_mode:
            raise
        say({"stuck": describe_failure(error)})
        return ExitCode.STUCK


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    keep_private()
    leave(work())
