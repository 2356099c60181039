"""Commands in hostile hands: odd arguments, environments, outputs and moments; one line, an exit code, no traceback.

What is refused is refused before anything is started or written. Tests that run whole studies are marked slow.
"""

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fer.datasets.report import DatasetReport
from fer.errors import InputError
from servers import postgres  # noqa: F401
from study import confirm, datasets, report, run, sync, worker
from study.arguments import Parser, check_storage, decimal, from_environment, integer, is_count
from study.cli import OutputLost, run_command
from study.execution.supervisor import workers_to_start
from study.execution.worker_process import WorkerProcess
from study.machine import exit_text, is_disk_full
from study.pipeline.prepare import check_domains_differ, check_folds
from study.reading import encodable
from study.redaction import hide_secrets

ROOT = Path(__file__).parent.parent
ESCAPE = "\x1b[31m"
SECRET = "s3cr3t"
LONG = "a" * 5000
SHORT_RUN = ["--target", "tfeid", "--preset", "tiny", "--tracking-uri", "none", "--trials", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variable that a command reads."""
    monkeypatch.chdir(tmp_path)
    for name in ("FER_DATA", "STUDY_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def call(main: Callable[[list[str]], int], *words: str) -> int:
    """Returns the exit code, however the command ends."""
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


def assert_one_safe_line(said: str) -> None:
    """Asserts that an error is told as it should be, and that nobody was surprised by it."""
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert len(said) < 2100 and said.rstrip("\n").isprintable()
    assert "unexpected" not in said and "Traceback" not in said


# Arguments that no command takes: told on one line, before anything is there.

COMMANDS = {
    "run": (run.main, ["--target", "tfeid"]),
    "worker": (worker.main, ["--study", "x"]),
    "report": (report.main, ["x"]),
    "sync": (sync.main, ["x"]),
    "confirm": (confirm.main, ["x"]),
    "datasets": (datasets.main, ["tfeid"]),
}
REFUSED = {
    "run": [
        ["--workers", "²"], ["--workers", "٣"], ["--workers", "1_0"], ["--workers", "1025"], ["--workers", "9" * 5000],
        ["--workers", ""], ["--trials", "²"], ["--trials", "1e3"], ["--trials", "9" * 5000], ["--seed", "٣"],
        ["--lr", "٠.٠١"], ["--lr", "0x1p-3"], ["--lr", "infinity"], ["--epochs", "1e400"], ["--timeout", "nan"],
        ["--target", LONG], ["--target", "a" * 240], ["--source", "é" * 99], ["--target", f"{ESCAPE}x"],
        ["--study", LONG], ["--study", "a" * 240], ["--study", "é" * 120], ["--study", "a\nb"], ["--study", ""],
        ["--warm-start", LONG], ["--warm-start", "../x"], ["--out", LONG], ["--out", "a" * 256], ["--out", ""],
        ["--out", "a\udcff"], ["--data", "a\udcff"], ["--data", "a\0b"], ["--baseline", LONG], ["--register", LONG],
        ["--storage", ""], ["--storage", " "], ["--storage", "sqlite://"], ["--storage", "sqlite:///"],
        ["--storage", "sqlite:///:memory:"], ["--storage", "SQLite+pysqlite://"],
        ["--storage", "sqlite:///file:x?mode=memory&uri=true"], ["--storage", f"postgresql://me:{SECRET}@h/" + LONG],
        ["--tracking-uri", ""], ["--tracking-uri", LONG], ["--device", "tpu"], ["--device", f"cuda:{ESCAPE}"],
        ["--device", "cuda:²"],
        ["--space", ESCAPE], ["--preset", LONG], [f"--{ESCAPE}"], [LONG], ["--nosuch", f"postgresql://a:{SECRET}@h"],
    ],
    "worker": [
        ["--threads", "0"], ["--threads", "-1"], ["--threads", "100000"], ["--threads", "²"], ["--device", "tpu"],
        ["--device", "cuda:99"], ["--parent", "1"], ["--parent", "-5"], ["--parent", "²"], ["--until", "nan"],
        ["--study", LONG], ["--study", "../x"], ["--storage", "sqlite://"], ["--out", LONG], [ESCAPE],
    ],
    "report": [["--storage", "sqlite://"], ["--storage", ""], ["--out", LONG], ["--out", "a\udcff"], ["y"], [ESCAPE]],
    "sync": [["--storage", "sqlite://"], ["--out", LONG], ["--register", LONG], ["--tracking-uri", ""], [ESCAPE]],
    "confirm": [["--storage", "sqlite://"], ["--out", LONG], ["--seeds", "²"], ["--seeds", "٣"], [ESCAPE]],
    "datasets": [["--out", LONG], ["--seed", "²"], ["--data", "a\udcff"], ["a" * 240], [f"--{ESCAPE}"]],
}  # fmt: skip
CASES = [
    pytest.param(name, words, id=f"{name} {' '.join(words)[:40]!a}") for name in REFUSED for words in REFUSED[name]
]


@pytest.mark.parametrize(("name", "words"), CASES)
def test_what_no_command_takes_is_told_on_one_line_before_anything_is_there(name, words, folder, capsys):
    main, usual = COMMANDS[name]
    assert call(main, *usual, *words) == 2
    said = capsys.readouterr()
    assert_one_safe_line(said.err)
    assert SECRET not in said.err and not said.out
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["report", "sync", "confirm"])
@pytest.mark.parametrize("study", [LONG, "a" * 240, "../x", "/etc", ".", "", "a\0b", "a\udcff", ESCAPE, "x y"])
def test_a_name_that_is_no_studys_is_refused(name, study, folder, capsys):
    assert call(COMMANDS[name][0], study) == 2
    assert_one_safe_line(capsys.readouterr().err)
    assert not list(folder.iterdir())


# The environment.


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_a_variable_set_to_nothing_is_not_set(value, folder, monkeypatch, capsys):
    assert from_environment("X", {"X": value}) is None and from_environment("X", {"X": "a"}) == "a"
    monkeypatch.setenv("STUDY_STORAGE", value)
    monkeypatch.setenv("FER_DATA", value)
    for name in ("report", "sync", "confirm"):
        assert call(COMMANDS[name][0], "nosuch") == 2
        assert "a study must exist; got 'nosuch' in runs/" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report", "sync", "confirm", "worker"])
def test_every_command_heeds_the_storage_of_the_environment(name, folder, monkeypatch, capsys):
    monkeypatch.setenv("STUDY_STORAGE", f"sqlite:///{folder}/elsewhere.db")
    words = ["--study", "nosuch"] if name == "worker" else ["nosuch"]
    assert call(COMMANDS[name][0], *words) == 2
    assert "elsewhere.db" in capsys.readouterr().err


# Numbers.


@pytest.mark.parametrize("text", ["²", "٣", "1_000", " 1", "1 ", "", "1.0", "1e3", "0x1", "9" * 41, "--1", "１"])
def test_what_is_no_whole_number_in_ascii_is_none(text):
    with pytest.raises(Exception, match="no whole number"):
        integer(text)
    assert not is_count(text, 10**9)


@pytest.mark.parametrize(
    "text", ["²", "٣", "1_0.0", "nan", "inf", "-inf", "1e400", "0x1p3", "", ".", "e3", "1,5", "１"]
)
def test_what_is_no_finite_number_in_ascii_is_none(text):
    with pytest.raises(Exception, match="no number"):
        decimal(text)


def test_numbers_are_read_as_python_reads_them():
    assert [integer(text) for text in ("0", "-1", "+20", "007")] == [0, -1, 20, 7]
    assert [decimal(text) for text in ("0.5", "1e-3", "-2", ".5", "3.", "1E2")] == [0.5, 1e-3, -2, 0.5, 3, 100]
    assert is_count("1", 4) and is_count("4", 4) and not is_count("5", 4) and not is_count("0", 4)


# Secrets.


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cr3t@h/d",
        "postgresql://me:a s3cr3t@h/d",
        "postgresql://me:s3cr3t a@h/d",
        "postgresql://me:a\ns3cr3t@h/d",
        "postgresql://:s3cr3t@h/d",
        "postgresql:///me:s3cr3t@h/d",
        "postgresql:/me:s3cr3t@h/d",
        "postgresql+psycopg2://me:x@s3cr3t/s3cr3t?y#@h",
        "mysql://me:p%40s3cr3t@h/d",
        "redis://s3cr3t@h",
        "grpc://me:s3cr3t@h:1",
        "me:s3cr3t@h/d",
        "--storage=postgresql://me:s3cr3t@h/d",
        "http://h/?password=s3cr3t&b=1",
        "http://h/?PASSWORD=s3cr3t",
        "http://h/?access_token=s3cr3t",
        "http://h/?api-key=s3cr3t",
        "http://h/?X-Amz-Signature=s3cr3t",
        "http://h/?sig=s3cr3t",
        "http://h/?sslpassword=s3cr3t",
        "http://h/?pass%77ord=s3cr3t",
        "http://h/?next=postgresql%3A%2F%2Fme%3As3cr3t%40h",
        "http://h/?next=postgresql%253A%252F%252Fme%253As3cr3t%2540h",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+Driver+17%7D%3BUID%3Dsa%3BPWD%3Ds3cr3t%3BSERVER%3Dh",
        "mssql+pyodbc:///?odbc_connect=DRIVER%253D%257BODBC%257D%253BPWD%253Ds3cr3t",
        "mssql+pyodbc:///?odbc_connect=DRIVER={ODBC};UID=sa;PWD={a&s3cr3t};SERVER=h",
        "DRIVER={ODBC};UID=sa;Pwd = s3cr3t",
        "PWD%3Ds3cr3t",
        "host=h user=me password='a&s3cr3t' dbname=d",
        "host=h password = s3cr3t",
        "cannot parse 'postgresql://me:a s3cr3t@h/d' (of --storage)",
        "{'password': 's3cr3t', 'user': 'me'}",
        '{"api_key": "s3cr3t"}',
        "Authorization: Basic s3cr3t==",
        "authorization: Bearer s3cr3t.s3cr3t",
    ],
)
def test_no_form_of_a_password_is_shown(text):
    assert "s3cr3t" not in hide_secrets(text)
    assert "s3cr3t" not in str(hide_secrets({"a": [text, (text,)]}))
    assert hide_secrets(hide_secrets(text)) == hide_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a@b/x.db",
        "sqlite:///home/a:b@c/x.db",
        "file:///home/a:b@c",
        "postgresql://host/db?sslmode=require&application_name=a%20b",
        "http://127.0.0.1:5000",
        "runs/a@b/journal.log",
        "12:30, 3 of 4 trials: front 2",
        "--try strategy=FU,lr=1e-3",
    ],
)
def test_what_holds_no_secret_stays(text):
    assert hide_secrets(text) == text


@pytest.mark.parametrize("text", ["key" * 10**5, "a:" * 10**5, "://" * 10**5, "%25" * 10**5, "x=" * 10**5, "@" * 10**5])
def test_the_longest_text_is_searched_in_time(text):
    started = time.monotonic()
    hide_secrets(text)
    assert time.monotonic() - started < 5


def test_a_storage_that_cannot_be_reached_shows_no_secret(folder, capsys):
    for url in (f"nosuch://me:a {SECRET}@h/d", f"mssql+pyodbc:///?odbc_connect=UID%3Dsa%3BPWD%3D{SECRET}"):
        assert call(report.main, "x", "--storage", url) == 2
        said = capsys.readouterr().err
        assert_one_safe_line(said)
        assert SECRET not in said


# The guard.


def fail_with(error: BaseException) -> Callable[[list[str] | None], int]:
    def work(_: list[str] | None) -> int:
        raise error

    return work


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
    def unnamed(path: Path) -> list[int]:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        named = ("read_text", "write_text")
        return [
            node.lineno
            for node in calls
            if isinstance(node.func, ast.Attribute)
            and node.func.attr in named
            and "encoding" not in {keyword.arg for keyword in node.keywords}
        ]

    assert {path.name: unnamed(path) for path in (ROOT / "study").glob("*.py") if unnamed(path)} == {}


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
    check_folds(target, SimpleNamespace(folds=0, seed=0))
    check_folds(target, SimpleNamespace(folds=3, seed=0))
    empty = SimpleNamespace(name="x", divided=lambda number, *_: SimpleNamespace(open=lambda split: range(number % 2)))
    with pytest.raises(InputError, match="fold 1 of 3"):
        check_folds(empty, SimpleNamespace(folds=3, seed=0))


def test_what_a_record_keeps_can_be_written():
    written = encodable({"a\udcff": ["b\udcff", ("c", 1, None)]})
    assert written == {"a\\udcff": ["b\\udcff", ["c", 1, None]]}
    str(written).encode()


@pytest.mark.parametrize("url", [None, "sqlite:///x.db", "sqlite:////tmp/x.db", "postgresql://h/d", "grpc://h:1"])
def test_a_storage_that_processes_can_share_is_taken(url):
    check_storage(url)


# Real processes.


def start(module: str, *words: str, folder: Path, environment: dict[str, str] | None = None, **how) -> subprocess.Popen:
    inherited = {k: v for k, v in os.environ.items() if k not in ("FER_DATA", "MLFLOW_TRACKING_URI", "STUDY_STORAGE")}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", f"study.{module}", *words],
        cwd=folder,
        env=inherited | {"PYTHONPATH": os.pathsep.join(path)} | (environment or {}),
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how),
    )


def end(process: subprocess.Popen, seconds: float = 170) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in (err or "") and "unexpected" not in (err or ""), err
    return process.returncode, out or "", err or ""


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


@pytest.mark.parametrize("words", [["--help"], ["--list-strategies"], ["--target", "x"]], ids=str)
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
        assert end(start("worker", "--study", "x", "--threads", "0", folder=tmp_path, stderr=full))[0] == 2
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


@pytest.mark.parametrize(
    "waits", [pytest.param(w, marks=[pytest.mark.slow] if i > 2 else []) for i, w in enumerate(WAITS)]
)
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


# Whole studies.


def make_images(folder: Path, each: int, names: tuple[bytes, ...] = (b"0",)) -> None:
    """Writes a small dataset of the user's own: `each` images of every expression."""
    rng = np.random.default_rng(1)
    for expression in ("happy", "sad", "angry", "fear", "disgust", "surprise", "neutral"):
        (folder / expression).mkdir(parents=True)
        for number in range(each):
            image = Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8))
            image.save(folder / expression / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str)
def test_a_study_runs_and_reports_in_a_locale_without_utf_8(environment, tmp_path):
    code, out, err = end(start("run", *SHORT_RUN, "--study", "s", folder=tmp_path, environment=environment))
    assert code == 0 and "report" in out, err
    whole = (tmp_path / "runs/s/report.html").read_text(encoding="utf-8")
    assert "TFEID" in whole
    assert end(start("report", "s", folder=tmp_path, environment={"PYTHONIOENCODING": "ascii"}))[0] == 0


@pytest.mark.slow
def test_many_workers_are_not_started_for_two_trials(tmp_path):
    process = start("run", *SHORT_RUN, "--workers", "1024", "--study", "s", folder=tmp_path)
    most = 0
    while process.poll() is None:
        children = [line.split() for line in subprocess.run(
            ["ps", "-o", "args=", "--ppid", str(process.pid)], capture_output=True, text=True
        ).stdout.splitlines()]  # fmt: skip
        most = max(most, sum("study.worker" in words for words in children))
        time.sleep(0.1)
    code, out, _ = end(process)
    assert code == 0 and most == 2 and "workers: 2 of" in out


@pytest.mark.slow
def test_bytes_that_are_no_utf_8_in_the_data_leave_a_study_its_report(tmp_path):
    make_images(tmp_path / "data/mine", 8)
    odd = os.fsencode(tmp_path / "data/mine/happy") + b"/odd\xff.png"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    words = ["--target", "mine", *SHORT_RUN[2:], "--data", "data", "--study", "s"]
    code, _, err = end(start("run", *words, folder=tmp_path))
    assert code == 0, err
    assert (tmp_path / "runs/s/report.html").exists() and (tmp_path / "runs/s/study.json").exists()


@pytest.mark.slow
def test_a_record_longer_than_a_command_line_reaches_the_baseline(tmp_path):
    words = [word for number in range(40) for word in ("--try", f"strategy=FU,lr=1e-3{' ' * 5000}")][:80]
    code, _, err = end(start("run", *SHORT_RUN, *words, "--study", "s", folder=tmp_path))
    assert code == 0, err
    assert (tmp_path / "runs/s/study.json").stat().st_size > 2**17


@pytest.mark.slow
def test_a_study_folder_that_is_moved_away_is_one_error(tmp_path):
    words = [*SHORT_RUN[:-1], "200", "--workers", "3", "--early-stop", "off", "--study", "s"]
    process = start("run", *words, folder=tmp_path)
    journal = tmp_path / "runs/s/journal.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and '"values":[' in journal.read_text()):
        time.sleep(0.1)
    (tmp_path / "runs/s").rename(tmp_path / "runs/moved")
    code, _, err = end(process)
    assert code == 1 and err.count("error: ") == 1 and "journal.log is gone" in err
    assert not (tmp_path / "runs/s").exists()
    (tmp_path / "runs/moved").rename(tmp_path / "runs/s")
    words[words.index("200")] = "3"
    assert end(start("run", *words, folder=tmp_path))[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kib", [300, 3000])
def test_a_disk_that_is_full_at_the_baseline_says_so(kib, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        code, _, err = end(start("run", *SHORT_RUN, "--out", str(disk / "runs"), folder=tmp_path))
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
    assert code == 1 and "No space left on device" in err and "above" not in err


@pytest.mark.slow
def test_a_small_target_has_no_more_folds_than_it_fills(tmp_path):
    root = tmp_path / "data" / "few"
    make_images(root, 3)
    for expression in ("angry", "fear", "disgust", "surprise", "neutral"):
        shutil.rmtree(root / expression)
    words = ["--target", "few", *SHORT_RUN[2:], "--data", "data", "--folds", "3"]
    code, _, err = end(start("run", *words, folder=tmp_path))
    assert code == 2 and "--folds leaves every fold images" in err


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can give files away")
def test_files_of_another_user_are_told_on_one_line(tmp_path):
    theirs = tmp_path / "runs" / "s"
    theirs.mkdir(parents=True)
    (theirs / "journal.log").write_text("")
    for path in (theirs / "journal.log", theirs):
        path.chmod(0o700)
        shutil.chown(path, "nobody")
    # A root that must keep to the permissions of files, as every other user must.
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    for module, *words in (("report", "s"), ("worker", "--study", "s"), ("run", *SHORT_RUN, "--study", "s")):
        line = [*bounded, sys.executable, "-m", f"study.{module}", *words]
        done = subprocess.run(
            line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        assert done.returncode in (1, 2) and "ermission denied" in done.stderr, done.stderr
        assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_database_user_who_may_only_read_can_report_and_is_refused_the_rest_in_a_line(postgres, tmp_path):  # noqa: F811
    import psycopg

    def with_storage(url: str, module: str, *words: str) -> tuple[int, str, str]:
        return end(start(module, *words, folder=tmp_path, environment={"STUDY_STORAGE": url}))

    study = [*SHORT_RUN, "--study", "s"]
    assert with_storage(postgres.url, "run", *study)[0] == 0
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for line in (
            "CREATE USER reader PASSWORD 'r3ad'",
            "GRANT USAGE ON SCHEMA public TO reader",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        ):
            connection.execute(line)
    reader = postgres.url.replace("me:s3cr3t", "reader:r3ad")

    assert with_storage(reader, "report", "s")[0] == 0
    for module, *words in (("run", *study), ("run", *study[:-1], "new"), ("confirm", "s", "--seeds", "1")):
        code, _, err = with_storage(reader, module, *words)
        assert code == 1 and "refuses this (permission denied" in err and "r3ad" not in err, err
