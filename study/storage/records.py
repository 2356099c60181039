"""What a study's storage holds of the study itself: its record, its confirmation, why it ended."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

RECORDED_AT_END = ("confirmation", "ended")
"""What a study records at its end, each as an attribute of its own: its confirmation, and why it ended early."""


def open_study(name: str, out: Path, storage: str | None) -> tuple[dict[str, Any], list["FrozenTrial"]]:
    """Returns a study's record and its trials.

    Args:
        name: The study's name.
        out: The folder that holds the study's folder.
        storage: Any Optuna storage URL; None is the journal in the study's folder.

    Returns:
        The record as it is stored, to be read through `study.reading_record.readable_record`, with what was recorded
        at the study's end; and all trials, by number.

    Raises:
        InputError: There is no such study.
    """
    # `study.report` imports this module, and its --help must not wait for Optuna.
    from study.storage.backend import load_study  # noqa: PLC0415

    study = load_study(name, out, storage)
    stored_record = study.user_attrs.get("study")
    record = stored_record if isinstance(stored_record, dict) else {}
    return record | {"name": name} | confirmation_of(study), study.trials


def confirmation_of(study: "optuna.Study") -> dict[str, Any]:
    """Returns what a study recorded at its end, see RECORDED_AT_END; what is not there or empty is left out."""
    attributes = study.user_attrs
    return {name: attributes[name] for name in RECORDED_AT_END if attributes.get(name)}
