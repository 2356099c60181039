"""What a study's storage knows of the study itself: its record, its confirmation, why it ended."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


def open_study(name: str, out: Path, storage: str | None) -> tuple[dict, list[Any]]:
    """Returns a study's record and its trials.

    Raises:
        InputError: There is no such study.
    """
    from study.storage.backend import load_study

    study = load_study(name, out, storage)
    info = study.user_attrs.get("study")
    return (info if isinstance(info, dict) else {}) | {"name": name} | confirmation_of(study), study.trials


def confirmation_of(study: "optuna.Study") -> dict[str, Any]:
    """Returns what was recorded of a study at its end: its confirmation, and why it ended early."""
    return {name: value for name, value in study.user_attrs.items() if name in ("confirmation", "ended") and value}
