"""The guard around every command, the words about processes that end, and what is checked before a study begins."""

import ast
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from commands import ESCAPE, ROOT, SECRET, assert_one_safe_line
from fer.datasets import ReaderOptions, load
from fer.datasets.report import DatasetReport
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from study.arguments import check_storage
from study.cli import OutputLost, run_command
from study.command_parser import Parser
from study.execution.supervisor import workers_to_start
from study.execution.worker_process import WorkerProcess
from study.machine import exit_text, is_disk_full
from study.pipeline.prepare import check_domains_differ, check_folds, usual_folds
from study.stored_values import encodable

# The guard.


def fail_with(error: BaseException) -> Callable[[list[str] | None], int]:
    """Returns a command that fails, in a line of this file."""

    def fail(_: list[str] | None) -> int:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("a is b", f"{ESCAPE}\n", "Do c."), 2, r"a is b; got \x1b[31m\n. Do c."),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (OSError("1152000 requested and 7 written"), 1, "No space left on device (1152000"),
        (PermissionError(13, "Permission denied", "/x"), 1, "Permission denied"),
        (MemoryError(), 1, "MemoryError"),
        (RuntimeError(f"postgresql://me:{SECRET}@h gave up"), 1, "postgresql://***@h gave up"),
        (OutputLost(28, "No space left on device"), 1, "standard output cannot be written"),
        (KeyError("x"), 1, "unexpected KeyError: 'x' (test_hostile_commands.py:"),
    ],
)
def test_whatever_prevents_a_command_is_one_line_and_a_code(error, code, words, capsys):
    assert run_command(fail_with(error), []) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1 and SECRET not in said


def test_a_reader_that_has_seen_enough_is_told_nothing(capsys):
    assert run_command(fail_with(OutputLost(32, "Broken pipe")), []) == 1
    assert capsys.readouterr().err == ""


def test_an_interrupted_command_says_how_it_goes_on_without_secrets(capsys):
    words = ["--storage", f"postgresql://me:{SECRET}@h/d", "--study", f"a{ESCAPE}"]
    assert run_command(fail_with(KeyboardInterrupt()), words, resume="study.run") == 130

    said = capsys.readouterr().err
    assert "-m study.run --storage" in said and SECRET not in said and ESCAPE not in said


def test_an_error_of_a_parser_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        Parser(prog="x").parse_args([f"{ESCAPE}{SECRET}:{SECRET}@h"])
    assert end.value.code == 2
    assert_one_safe_line(capsys.readouterr().err)


def test_text_files_are_read_alike_in_every_locale():
    modules = [path for package in ("study", "fer", "search_spaces") for path in (ROOT / package).rglob("*.py")]

    lines_in_the_locale = {}
    for path in modules:
        lines = lines_without_encoding(path)
        if lines:
            lines_in_the_locale[str(path.relative_to(ROOT))] = lines

    assert (ROOT / "study/reporting/export.py") in modules
    assert not lines_in_the_locale


def lines_without_encoding(path: Path) -> list[int]:
    """Returns the lines of a module that read or write text in the encoding of the locale."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = {keyword.arg for keyword in node.keywords}
        if node.func.attr in ("read_text", "write_text") and "encoding" not in names:
            lines.append(node.lineno)
    return lines


# Workers.


@pytest.mark.parametrize(
    ("limit", "workers", "waiting", "running", "started"),
    [
        (1024, 0, 2, 0, 2),
        (1024, 2, 2, 0, 0),  # those that were started have not claimed yet
        (1024, 2, 1, 1, 0),
        (1024, 2, 2, 2, 2),
        (4, 4, 100, 4, 0),
        (4, 3, 100, 3, 1),
        (2, 0, 0, 0, 0),
        (2, 3, 5, 3, 0),
    ],
)
def test_there_are_never_more_workers_than_trials(limit, workers, waiting, running, started):
    assert workers_to_start(limit, workers, waiting, running) == started
    assert workers + started <= max(workers, waiting + running)


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (-9, "SIGKILL, perhaps for want of memory"), (-7, "disk"), (-11, "SIGSEGV"), (-99, "signal")],
)
def test_the_end_of_a_process_is_told_in_words(code, words):
    assert words in exit_text(code)


def test_a_workers_error_is_its_reason_and_its_other_words_are_passed_on(capfd):
    code = "import sys; print('warning: w', file=sys.stderr); print('error: the disk', file=sys.stderr); sys.exit(3)"
    process = WorkerProcess([sys.executable, "-c", code], dict(os.environ))
    while process.poll() is None:
        time.sleep(0.01)

    assert (process.poll(), process.reason) == (3, "the disk")
    assert capfd.readouterr().err == "warning: w\n"


@pytest.mark.parametrize(
    "error", [OSError(28, "x"), OSError(122, "x"), OSError("10 requested and 3 written"), Exception("No space left on")]
)
def test_a_full_disk_is_known_whoever_says_it(error):
    assert is_disk_full(error)


# Data.


def dataset(name: str, place: str | None = None, content: str | None = None, digest: str = "1") -> SimpleNamespace:
    report = DatasetReport(place=place, content=content)
    return SimpleNamespace(name=name, digest=digest, parse_report=lambda: report)


def test_one_dataset_is_refused_as_source_and_target_however_it_is_spelt():
    options = SimpleNamespace(source="a", target="b")

    for first, second in [
        (dataset("a", digest="1"), dataset("a", digest="2")),
        (dataset("a", "here", "1"), dataset("b", "here", "2", "2")),
        (dataset("a", "here", "1"), dataset("b", "elsewhere", "1", "2")),
        (dataset("a"), dataset("b")),
    ]:
        with pytest.raises(InputError, match="two datasets"):
            check_domains_differ(first, second, options)

    check_domains_differ(dataset("a", "here", "1"), dataset("b", "elsewhere", "2", "2"), options)
    check_domains_differ(dataset("a"), dataset("b", digest="2"), options)


def test_a_fold_without_images_is_refused(target):
    check_folds(target, 1, 0)
    check_folds(target, 3, 0)

    def divide(number: int, *_: object) -> SimpleNamespace:
        images = range(number % 2)  # none where the number is even
        return SimpleNamespace(open=lambda split: images)

    empty = SimpleNamespace(name="x", report={}, divided=divide)
    with pytest.raises(InputError, match="fold 1 of 3"):
        check_folds(empty, 3, 0)


@pytest.mark.parametrize(("images", "least"), [(2, 1), (3, 1), (5, 1), (40, 5)])
def test_a_target_of_few_images_and_unknown_people_has_folds_that_none_leaves_empty(images, least, tmp_path):
    rng = np.random.default_rng(0)
    rows = ["path,expression,split"]
    for number in range(3 * images):  # each image of training and validation has its copies
        different = number % images
        path = tmp_path / "data" / "mine" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        face = np.random.default_rng(different).integers(0, 256, (48, 48), dtype=np.uint8)
        cv2.imwrite(str(path), face)
        rows.append(f"{path.name},{EXPRESSIONS[different % 7]},train")
    for split in ("validation", "test"):
        cv2.imwrite(str(tmp_path / "data" / "mine" / f"{split}.png"), rng.integers(0, 256, (48, 48), dtype=np.uint8))
        rows.append(f"{split}.png,anger,{split}")
    (tmp_path / "data" / "mine" / "manifest.csv").write_text("\n".join(rows) + "\n")
    options = ReaderOptions(keep_duplicates=True)
    target = load("mine", data_dir=tmp_path / "data", kind="real", cache_dir=tmp_path / "cache", options=options)

    found = usual_folds(target, seed=0)

    assert least <= found <= 5
    check_folds(target, found, 0)


def test_what_a_record_keeps_can_be_written():
    written = encodable({"a\udcff": ["b\udcff", ("c", 1, None)]})
    assert written == {"a\\udcff": ["b\\udcff", ["c", 1, None]]}
    str(written).encode()


@pytest.mark.parametrize("url", [None, "sqlite:///x.db", "sqlite:////tmp/x.db", "postgresql://h/d", "grpc://h:1"])
def test_a_storage_that_processes_can_share_is_taken(url):
    check_storage(url)
