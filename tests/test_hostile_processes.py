"""Commands in odd surroundings: full outputs, no locale, no folder, Ctrl-C at any moment; no traceback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import ROOT, SHORT_RUN, assert_one_safe_line, end, start


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_character_is_no_error_where_it_cannot_be_written(environment, tmp_path):
    code, out, _ = end(start("run", "--help", folder=tmp_path, environment=environment))
    assert code == 0 and ("…" in out or r"\u2026" in out)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--list-strategies"], ["--target", "jaffe", "--data-kind", "synthetic", "--preset", "tiny"]],
    ids=str,
)
def test_an_output_that_is_full_is_told_and_one_that_is_closed_is_not(words, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    with Path("/dev/full").open("w") as full:
        code, _, err = end(start("run", *words, folder=tmp_path, stdout=full))
    assert code == 1 and err == "error: standard output cannot be written (No space left on device)\n"

    reader, writer = os.pipe()
    os.close(reader)  # as `head` does, when it has seen enough
    try:
        code, _, err = end(start("run", *words, folder=tmp_path, stdout=writer))
    finally:
        os.close(writer)
    assert (code, err) == (1, "")


def test_errors_that_cannot_be_told_change_no_exit_code(tmp_path):
    with Path("/dev/full").open("w") as full:
        code, _, _ = end(start("worker", "--study", "x", "--threads", "0", folder=tmp_path, stderr=full))
    assert code == 2

    closed = ["bash", "-c", f"exec {sys.executable} -m study.worker --study x --threads 0 <&- >&- 2>&-"]
    assert subprocess.run(closed, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == 2


@pytest.mark.parametrize("module", ["run", "report"])
def test_a_working_directory_that_is_gone_is_told(module, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    words = "--target tfeid" if module == "run" else "x"
    line = f"rmdir ../gone && exec {sys.executable} -m study.{module} {words}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    done = subprocess.run(["bash", "-c", line], cwd=gone, env=environment, capture_output=True, text=True)

    assert done.returncode == 2
    assert_one_safe_line(done.stderr)
    assert "starts in a folder that exists" in done.stderr


# Marks when Python hands over to the project: what comes before is Python's own start, which no project reaches.
HANDED_OVER = """
import sys
class Finder:
    def find_spec(self, name, *_):
        if name == "study.cli":
            sys.meta_path.remove(self)
            print("here", flush=True)
sys.meta_path.insert(0, Finder())
"""


def interrupt(folder: Path, waits: list[float], *words: str) -> tuple[int, str]:
    """Presses Ctrl-C after each of the waits, the first counted from the project's first line."""
    (folder / "sitecustomize.py").write_text(HANDED_OVER)
    process = start("run", *words, folder=folder, environment={"PYTHONPATH": f"{folder}:{ROOT}"})
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    for wait in waits:
        time.sleep(wait)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    code, _, err = end(process)
    return code, err


WAITS = [[0.0], [0.01, 0.01], [0.05], [0.1, 0.02], [0.3], [0.6, 0.1], [1.0], [2.0, 0.05], [4.0, 0.3]]


@pytest.mark.parametrize("waits", [*WAITS[:3], *(pytest.param(waits, marks=pytest.mark.slow) for waits in WAITS[3:])])
def test_ctrl_c_at_any_moment_ends_a_command_in_order(waits, tmp_path):
    code, err = interrupt(tmp_path, waits, *SHORT_RUN[:-1], "50")
    assert code == 130 and "interrupted" in err and "Exception" not in err, err


def test_ctrl_c_stays_ignored_in_the_background(tmp_path):
    def ignore() -> None:  # as a shell does for what it starts with "&"
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start("run", "--target", "x", "--trials", "0", folder=tmp_path, preexec_fn=ignore)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)

    assert end(process)[0] == 2
