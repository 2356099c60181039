"""How the user calls the commands, and the version of the program. Imports nothing heavy: every command reads it."""

import sys
from pathlib import Path

DISTRIBUTION = "memory-integrity"
"""Name of the distribution, and of the console script that it installs."""


def is_console_script() -> bool:
    """Returns whether the console script was called, rather than `python -m study.run`."""
    return Path(sys.argv[0]).stem == DISTRIBUTION if sys.argv else False


def program(command: str) -> str:
    """Returns how the user calls a command: "python -m study.run", or "memory-integrity run".

    Args:
        command: Its name, "run".
    """
    return f"{DISTRIBUTION} {command}" if is_console_script() else f"python -m study.{command}"


def version() -> str:
    """Returns the program's version, "unknown" where neither a checkout nor an installation says it.

    A checkout's pyproject.toml comes first: what an installation of the same checkout noted may be older.
    """
    # Both take longer to import than --help may take.
    import importlib.metadata  # noqa: PLC0415
    import tomllib  # noqa: PLC0415

    try:
        text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text).get("project", {})
    except (OSError, ValueError):
        project = {}
    if project.get("name") == DISTRIBUTION:
        return str(project.get("version", "unknown"))

    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
