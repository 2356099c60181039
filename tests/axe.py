"""axe-core, which checks a page for what makes it hard to read or to use: contrast, names, order."""

import os
from pathlib import Path
from typing import Any

PLACES = ("node_modules", "/usr/lib/node_modules", "/usr/local/lib/node_modules", "/usr/share/nodejs")


def find_axe() -> Path | None:
    """Returns the script of axe-core: of AXE_CORE, else where npm puts packages; None where there is none."""
    named = os.environ.get("AXE_CORE")
    candidates = [Path(named)] if named else [Path(place) / "axe-core" / "axe.min.js" for place in PLACES]
    return next((path for path in candidates if path.is_file()), None)


def violations(tab: Any, script: Path, but: tuple[str, ...] = ()) -> list[str]:
    """Returns what axe-core finds wrong in an opened page by the rules of WCAG 2.1, levels A and AA.

    Args:
        tab: With the page.
        script: The script of axe-core.
        but: Rules that the page breaks on purpose.
    """
    # Not as a script of the page: the page itself asks for nothing.
    tab.evaluate(script.read_text(encoding="utf-8"))
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = tab.evaluate("(options) => axe.run(document, options)", options)["violations"]
    problems = []
    for each in found:
        if each["id"] not in but:
            problems += [f"{each['id']}: {node['target']} {node['failureSummary']}" for node in each["nodes"]]
    return problems
