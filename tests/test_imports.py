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
# From the top down: what stands in a row may import what stands in lower rows, and its like.
ROWS = {
    "study": (
        {"api"},
        {"__main__"},
        {"run", "report", "confirm", "worker", "datasets", "sync", "predict"},
        {"pipeline"},
        {"outer"},
        {"confirmation"},
        {"execution"},
        {"tracking"},
        {"reporting"},
        {"tuning"},
        {"storage"},
        {"fronts", "inputs"},
        {"trials"},
        {
            "confirmed_results",
            "record",
            "reading",
            "reading_record",
            "stored_results",
            "stored_values",
            "trial_attributes",
        },
        {
            "options",
            "data_options",
            "search_options",
            "training_options",
            "option_parsers",
            "declared_options",
            "command_parser",
            "program",
            "strategy_list",
            "study_path",
            "presets",
            "arguments",
            "cli",
            "command_lines",
            "exit_code",
            "interrupts",
            "pareto",
            "machine",
            "redaction",
        },
    ),
    "fer": (
        {"predict", "baseline", "baseline_job", "baseline_training"},
        {"adaptation"},
        {"training"},
        {"features", "evaluation"},
        {"model"},
        {"datasets"},
        {"config", "runtime", "tensor_files", "tensors"},
        {
            "architecture",
            "cache_places",
            "errors",
            "expressions",
            "files",
            "image_format",
            "seeding",
            "told_progress",
            "torch_private",
        },
    ),
}
SINGLE = {
    name for package, rows in ROWS.items() for row in rows for name in row if (ROOT / package / f"{name}.py").exists()
}
"""Modules, which are no packages: among these a row's members may import each other, but in no circle."""
FILES = [path.relative_to(ROOT) for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]
COMMANDS = [path.stem for path in sorted((ROOT / "study").glob("*.py")) if "(main())" in path.read_text()]


def without_type_imports(path: Path) -> ast.Module:
    """Returns a file's syntax tree, imports for types alone left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return tree


def imported(path: Path) -> set[str]:
    """Returns the top-level modules that a file imports anywhere, those for types alone left out."""
    names = set()
    for node in ast.walk(without_type_imports(path)):
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


def row_of(package: str, name: str) -> int:
    """Returns the row of a module or package, counted from the top."""
    (row,) = (number for number, names in enumerate(ROWS[package]) if name in names)
    return row


def imported_within(path: Path) -> set[str]:
    """Returns what a file imports of its own package, by the name that follows the package's."""
    package = path.parts[0]
    found = set()
    for node in ast.walk(without_type_imports(ROOT / path)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{package}.")}
    return found


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in ROWS and len(path.parts) > 1], ids=str)
def test_no_import_climbs_a_row(path):
    package, own = path.parts[0], path.with_suffix("").parts[1]
    if own == "__init__":
        return
    above = {name for name in imported_within(path) if row_of(package, name) < row_of(package, own)}
    beside = {name for name in imported_within(path) - {own} if row_of(package, name) == row_of(package, own)}

    assert not above
    assert beside <= SINGLE, "packages of one row know nothing of each other"


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


def test_the_parent_of_a_study_needs_neither_torch_nor_scikit_learn():
    code = (
        "import sys, study.run, study.inputs, study.tuning.samplers, study.report, study.tracking.follower\n"
        "import study.execution.progress, study.pipeline.main_job, study.reporting.figures, fer.datasets\n"
        "print('torch' in sys.modules or 'sklearn' in sys.modules)"
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
    assert users(".npy") == {"fer/datasets/dataset.py", "fer/datasets/store.py"}
    assert "test" not in SHIPPED
    assert users('_read("test")') == {"fer/datasets/dataset.py"}

    users_of_retrain = users("confirmation.retrain import", "confirmation.test_sets import", "retrain(")
    assert all(path.startswith("study/confirmation/") for path in users_of_retrain)


def module_of(path: Path) -> str:
    """Returns the dotted name of a file's module."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_of(path): path for path in FILES}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = set()
        for node in ast.walk(without_type_imports(ROOT / path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
                found |= named or {node.module} & modules.keys()
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & modules.keys()
        imports[module] = found - {module}

    # What imports nothing that is left is taken away, again and again; a circle stays.
    while ends := {module for module, others in imports.items() if not others}:
        imports = {module: others - ends for module, others in imports.items() if module not in ends}
    assert not imports
