"""What the documents say can be typed, and what the package says of itself agrees."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fer.predict
import study
from fer.adaptation.methods import LIBRARY, STRATEGIES
from study import option_parsers

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def code_lines(document: Path) -> list[str]:
    """Returns the lines of a document's code blocks, without comments, those that a backslash joins as one."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s#\s.*", "", line).strip() for line in lines]


def commands() -> list[tuple[str, str]]:
    """Returns each command line of this project that a document shows, with the document's name."""
    found = []
    for document in DOCUMENTS:
        for line in code_lines(document):
            match = re.search(r"python -m (study\.\w+ .*)", line)
            if match and "…" not in line:
                found.append((document.name, match[1]))
    return found


@pytest.mark.parametrize(("document", "line"), commands())
def test_a_command_line_of_a_document_is_one_that_the_command_takes(document, line):
    name, *words = shlex.split(line)
    module = option_parsers if name == "study.run" else importlib.import_module(name)
    module.build_parser().parse_args(words)  # ends the process where a word is wrong


def test_documents_have_commands_at_all():
    assert len(commands()) >= 15


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_link_into_the_repository_leads_to_a_file(document):
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text()):
        assert (document.parent / link).exists(), f"{document.name}: {link}"


def table_names(document: Path) -> list[str]:
    """Returns what the first cells of a document's tables name as code: "name", "load", without what calls them."""
    cells = re.findall(r"^\| (`.*?) \|", document.read_text(), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)", cell)]


def test_the_list_of_methods_is_that_of_the_library():
    further = [name for name in LIBRARY if name not in STRATEGIES]
    rows = [f"| {name} | {LIBRARY[name].description} | {LIBRARY[name].reference} |" for name in further]
    page = (ROOT / "docs" / "strategies.md").read_text()
    assert page.endswith("\n".join(["| method | what it does | from |", "|---|---|---|", *rows]) + "\n")


def test_the_page_about_python_lists_all_that_a_user_may_call():
    def public(cls: type) -> set[str]:
        return {name for name in dir(cls) if not name.startswith("_")}

    results = public(study.StudyResults) | {"folder", "record"}
    network = (public(study.StudyNetwork) | {"name", "file", "figures"}) - {"equalise", "architecture"}
    functions = {"load_network", "predict_image", "predict_images", "export_onnx"}
    assert set(table_names(ROOT / "docs" / "python.md")) == results | network | functions
    assert all(hasattr(fer.predict, name) for name in functions)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_page_shows_nothing_that_only_the_built_site_understands(document):
    # The pages that are nothing else, and the table of contents that the site needs.
    allowed = {
        "api.md": {"eval-rst"},
        "index.md": {"toctree"},
        "benchmarks.md": {"include"},
        "contributing.md": {"include"},
    }
    directives = set(re.findall(r"^```\{([\w-]+)\}", document.read_text(), re.MULTILINE))
    assert directives <= allowed.get(document.name, set())


def test_citation_and_package_have_one_version_and_one_licence():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {PROJECT['version']}\n" in citation
    assert f"license: {PROJECT['license']}\n" in citation
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    pytest.importorskip("furo", reason="needs the extra docs")
    words = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    built = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    for page in ("index", "usage", "python", "strategies"):
        assert (tmp_path / f"{page}.html").exists()
    assert "LiNeS" in (tmp_path / "strategies.html").read_text()


@pytest.mark.slow
def test_a_wheel_runs_outside_the_checkout(tmp_path):
    # Built and installed as a user would, with the packages of this environment.
    wheels, installed, elsewhere = (tmp_path / name for name in ("wheels", "installed", "elsewhere"))
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True)

    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), "HOME": str(elsewhere)}
    code = "import study, fer; print(study.__file__, fer.__file__)"
    where = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert where.stdout.count(str(installed)) == 2

    words = [
        "--target",
        "tfeid",
        "--preset",
        "tiny",
        "--baseline-epochs",
        "1",
        "--trials",
        "2",
        "--tracking-uri",
        "none",
        "--workers",
        "1",
    ]
    study = subprocess.run(
        [str(installed / "bin" / "memory-integrity"), "run", *words],
        env=environment, cwd=elsewhere, capture_output=True, text=True,
    )  # fmt: skip
    assert study.returncode == 0, study.stdout + study.stderr
    assert list(elsewhere.glob("runs/*/report.html"))
