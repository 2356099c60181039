"""The page docs/your-network.md: what it shows is run as it stands there, on small images."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import made_faces
from commands import ROOT, end, start
from fer.expressions import EXPRESSIONS

PAGE = ROOT / "docs" / "your-network.md"
SMALL = ["--image-size", "32", "--preset", "tiny", "--trials", "4", "--epochs", "0.5", "--workers", "1"]
SMALL += ["--tracking-uri", "none"]
"""What is added to each study of the page, so that it takes a minute; a later option counts."""


def blocks_of(page: Path, language: str) -> list[str]:
    """Returns the page's blocks of code of a language; "" are those without one."""
    blocks = re.findall(r"^```([a-z]*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [code for name, code in blocks if name == language]


def files_of(page: Path) -> dict[str, str]:
    """Returns the programs that the page shows, by the names in their first lines."""
    programs = blocks_of(page, "python")
    return {program.splitlines()[0].removeprefix("# "): program for program in programs}


def lines_of(page: Path) -> list[list[str]]:
    """Returns the words of each command that the page shows, in order."""
    return [shlex.split(line) for block in blocks_of(page, "") for line in block.splitlines()]


def test_the_page_has_programs_and_commands():
    assert set(files_of(PAGE)) == {"train.py", "my_network.py"}
    modules = [words[2] for words in lines_of(PAGE) if words[1] == "-m"]
    assert modules.count("study.run") == 3 and "study.report" in modules


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder with the two datasets of the page, and the programs."""
    for name, count in (("ours", 24), ("clinic", 12)):
        for label, expression in enumerate(EXPRESSIONS):
            for number in range(count):
                path = tmp_path / "faces" / name / expression / f"p{number:02d}.png"
                made_faces.write(path, label, 1000 * label + number + (500 if name == "ours" else 0))
    for name, program in files_of(PAGE).items():
        (tmp_path / name).write_text(program)
    return tmp_path


@pytest.mark.slow
def test_what_the_page_shows_runs_as_it_stands(faces):
    said = {}
    for words in lines_of(PAGE):
        assert words[0] == "python"
        if words[1] != "-m":
            subprocess.run([sys.executable, *words[1:]], cwd=faces, check=True)
            continue
        module = words[2].removeprefix("study.")
        arguments = words[3:]
        if module == "run":
            trains_baseline = "--baseline" not in arguments
            arguments += [*SMALL, *(["--baseline-epochs", "1"] if trains_baseline else [])]
        code, out, err = end(
            start(module, *arguments, folder=faces, environment={"PYTHONPATH": f"{faces}:{ROOT}"}), seconds=550
        )
        assert code == 0, out + err
        said[" ".join(words)] = out + err

    for study in ("mine", "features", "own"):
        assert (faces / "runs" / study / "report.html").exists()
    report = (faces / "runs" / "mine" / "report.md").read_text()
    assert "It is the network of resnet18.pth" in report and "measured here" in report
    assert "features of resnet18.pth" in (faces / "runs" / "features" / "report.md").read_text()
