"""Imports run one way, study → search_spaces → fer, and the commands answer --help at once."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from study.execution.ray_workers import SHIPPED

ROOT = Path(__file__).parent.parent
ALLOWED = {"fer": {"fer"}, "search_spaces": {"fer", "search_spaces"}, "study": {"fer", "search_spaces", "study"}}
FOREIGN = {
    "fer": {"optuna", "mlflow", "argparse", "ray"},
    "search_spaces": {"mlflow", "argparse", "ray"},
    "study": set(),
}
FILES = [path.relative_to(ROOT) for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]
COMMANDS = [path.stem for path in sorted((ROOT / "study").glob("*.py")) if "(main())" in path.read_text()]


def imported(path: Path) -> set[str]:
    """Returns the top-level modules that a file imports anywhere, those for types alone left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that their direction can be read"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_steps_back(path):
    package, names = path.parts[0], imported(ROOT / path)
    assert not (names & set(ALLOWED)) - ALLOWED[package]
    assert not names & FOREIGN[package]


def test_every_command_is_found():
    assert {"run", "worker", "report", "sync", "datasets"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    heavy = ("torch", "optuna", "mlflow", "pandas", "numpy", "cv2", "matplotlib", "plotly", "sklearn")
    code = (
        f"import sys; sys.argv = ['x', '--help']\nimport runpy\n"
        f"try: runpy.run_module('study.{command}', run_name='__main__')\n"
        f"except SystemExit as end: assert not end.code\n"
        f"print('LOADED', sorted(set(sys.modules) & set({heavy!r})))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert "usage:" in answer.stdout and answer.stdout.rstrip().endswith("LOADED []")


def test_the_parent_of_a_study_needs_no_torch():
    code = (
        "import sys, study.run, study.inputs, study.search.samplers, study.report, study.tracking.follower\n"
        "import study.execution.progress, study.pipeline.main_job, fer.datasets\n"
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert answer.stdout.strip() == "False", answer.stderr


def test_only_confirmation_opens_test_sets():
    sources = [path for package in ("fer", "search_spaces", "study") for path in (ROOT / package).rglob("*.py")]

    def users(*words: str) -> set[str]:
        found = (path for path in sources if any(word in path.read_text() for word in words))
        return {path.relative_to(ROOT).as_posix() for path in found}

    assert users(".open_test(") == {"fer/adaptation/evaluation.py", "study/confirmation/test_sets.py"}
    assert users("logits_on_test") == {"fer/adaptation/evaluation.py", "study/confirmation/retrain.py"}
    # The files themselves: prepared in one place, read in another, and named nowhere else.
    # The fleet sends training and validation arrays to other machines, test sets never, and opens none.
    assert users(".npy") == {"fer/datasets/dataset.py", "fer/datasets/loading.py"}
    assert "test" not in SHIPPED
    assert users('_read("test")') == {"fer/datasets/dataset.py"}
    users_of_retrain = users("confirmation.retrain import", "confirmation.test_sets import", "retrain(")
    assert all(path.startswith("study/confirmation/") for path in users_of_retrain)
