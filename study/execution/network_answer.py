"""What a study's network is, and the user's own weights for it. Imports torch."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.expressions import ExpressionSet
from fer.model.chains import NetworkRequest, find_architecture, request
from fer.model.own_weights import ImportedWeights, Kind, OwnFile, import_weights
from fer.tensor_files import damage_of
from study.options import baselines_folder, blocks_folder, images_of
from study.record import StudyRecord, WeightsRecord


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `study.execution.network_process` answers to what it is asked.

    Raises:
        InputError: There is no such network, or the user's file does not hold its weights.
    """
    blocks = Path(asked["blocks"])
    wanted = NetworkRequest(**asked["request"])
    if wanted.name == VGG13.name:
        network = replace(VGG13, width=wanted.width, classes=wanted.classes)
    else:
        network = find_architecture(request(wanted), blocks)
    given = asked["given"]
    if given is None:
        return {"network": network.to_json()}

    own = OwnFile(Path(given["path"]), given["kind"], tuple(given["classes"]), given["colour"])
    expressions = ExpressionSet.from_json(asked["expressions"])
    imported = import_weights(own, network, expressions, Path(asked["baselines"]), blocks)
    return {
        "network": imported.architecture.to_json(),
        "weights": _record_of(own, imported).to_json(),
        "notes": imported.notes,
    }


def _record_of(own: OwnFile, imported: ImportedWeights) -> WeightsRecord:
    """Returns what a study's record keeps of the user's file."""
    return WeightsRecord(own.kind, own.path.name, imported.checksum, list(own.classes), imported.path.name)


def find_own_weights(record: StudyRecord, options: Mapping[str, Any], network: Architecture) -> Path:
    """Returns this project's copy of the user's own weights, made again from the user's file where it is gone.

    Args:
        record: The study's, which names the file.
        options: The study's options, with the `out` of this command.
        network: What the weights are for.

    Raises:
        InputError: Neither the copy nor the user's file is here, or the file is another one now.
    """
    weights = record.weights
    folder = baselines_folder(options["out"])
    path = folder / weights.file
    if damage_of(path) is None:
        return path

    kind: Kind = "baseline" if weights.kind == "baseline" else "features"
    file = Path(options.get(weights.option.removeprefix("--")) or weights.name)
    _, colour = images_of(record.options)
    own = OwnFile(file, kind, tuple(weights.classes), colour)
    imported = import_weights(own, network, record.expressions, folder, blocks_folder(options["out"]))
    if imported.checksum != weights.checksum:
        raise InputError(
            f"a study goes on with the file that {weights.option} named when it began",
            f"{own.path} with hash {imported.checksum} in place of {weights.checksum}",
            f"Put that file back, or copy {path} from where the study began.",
        )
    return imported.path
