"""Asks pip-audit for known vulnerabilities of what is installed beside the Python that runs this.

Exit code 1 where there are any. Where no database answers it says "not audited" and fails nothing: pip-audit itself
says "no known vulnerabilities" then, having skipped every package.
"""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

TOOL = Path(sys.prefix) / "audit"


def main() -> int:
    """Runs the audit; returns the exit code."""
    try:
        packages = ask()
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        print(f"not audited: pip-audit had no answer ({error})")
        return 0
    lines, code = verdict(packages)
    print("\n".join(lines))
    return code


def ask() -> list[dict[str, Any]]:
    """Returns what pip-audit, in an environment of its own, has to say of each package."""
    python = TOOL / "bin" / "python"
    if not (TOOL / "bin" / "pip-audit").exists():
        venv.create(TOOL, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit"], check=True, timeout=240)
    command = [TOOL / "bin" / "pip-audit", "--path", sysconfig.get_path("purelib"), "--format", "json"]
    answer = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=300)
    if not answer.stdout.strip():
        raise ValueError((answer.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(answer.stdout)["dependencies"]


def verdict(packages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Returns what to say of pip-audit's findings, and the exit code."""
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        reason = packages[0]["skip_reason"] if packages else "no package was found"
        return [f"not audited: no package is known to the database that pip-audit asks ({reason})"], 0
    holes = []
    for package in asked:
        for hole in package["vulns"]:
            mended = ", ".join(hole["fix_versions"]) or "none yet"
            holes.append(f"{package['name']} {package['version']}: {hole['id']}, fixed in {mended}")
    return [
        *holes,
        f"{len(asked)} packages audited, {len(packages) - len(asked)} unknown, {len(holes)} vulnerabilities",
    ], bool(holes)


if __name__ == "__main__":
    sys.exit(main())
