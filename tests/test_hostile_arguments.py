"""Arguments, variables and numbers that no command takes: refused on one line, before anything is there."""

import pytest

from commands import ESCAPE, LONG, SECRET, assert_one_safe_line, call
from servers import postgres  # noqa: F401
from study import confirm, datasets, report, run, sync, worker
from study.arguments import decimal, from_environment, integer, is_count

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
        ["--device", "cuda:²"], ["--space", ESCAPE], ["--preset", LONG], [f"--{ESCAPE}"], [LONG], ["--nosuch", f"postgresql://a:{SECRET}@h"],
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
def test_what_no_command_takes_is_told_on_one_line_before_anything_is_there(name, words, empty_folder, capsys):
    main, usual = COMMANDS[name]
    assert call(main, *usual, *words) == 2

    said = capsys.readouterr()
    assert_one_safe_line(said.err)
    assert SECRET not in said.err and not said.out
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("name", ["report", "sync", "confirm"])
@pytest.mark.parametrize("study", [LONG, "a" * 240, "../x", "/etc", ".", "", "a\0b", "a\udcff", ESCAPE, "x y"])
def test_a_name_that_is_no_studys_is_refused(name, study, empty_folder, capsys):
    assert call(COMMANDS[name][0], study) == 2
    assert_one_safe_line(capsys.readouterr().err)
    assert not list(empty_folder.iterdir())


# The environment.


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_a_variable_set_to_nothing_is_not_set(value, empty_folder, monkeypatch, capsys):
    assert from_environment("X", {"X": value}) is None and from_environment("X", {"X": "a"}) == "a"

    monkeypatch.setenv("STUDY_STORAGE", value)
    monkeypatch.setenv("FER_DATA", value)
    for name in ("report", "sync", "confirm"):
        assert call(COMMANDS[name][0], "nosuch") == 2
        assert "a study must exist; got 'nosuch' in runs/" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report", "sync", "confirm", "worker"])
def test_every_command_heeds_the_storage_of_the_environment(name, empty_folder, monkeypatch, capsys):
    monkeypatch.setenv("STUDY_STORAGE", f"sqlite:///{empty_folder}/elsewhere.db")
    words = ["--study", "nosuch"] if name == "worker" else ["nosuch"]

    assert call(COMMANDS[name][0], *words) == 2
    assert "elsewhere.db" in capsys.readouterr().err


# Numbers.


@pytest.mark.parametrize("text", ["²", "٣", "1_000", " 1", "1 ", "", "1.0", "1e3", "0x1", "9" * 41, "--1", "１"])
def test_what_is_no_whole_number_in_ascii_is_none(text):
    with pytest.raises(Exception, match="is a whole number"):
        integer(text)
    assert not is_count(text, 10**9)


@pytest.mark.parametrize(
    "text", ["²", "٣", "1_0.0", "nan", "inf", "-inf", "1e400", "0x1p3", "", ".", "e3", "1,5", "１"]
)
def test_what_is_no_finite_number_in_ascii_is_none(text):
    with pytest.raises(Exception, match="is a number"):
        decimal(text)


def test_numbers_are_read_as_python_reads_them():
    assert [integer(text) for text in ("0", "-1", "+20", "007")] == [0, -1, 20, 7]
    assert [decimal(text) for text in ("0.5", "1e-3", "-2", ".5", "3.", "1E2")] == [0.5, 1e-3, -2, 0.5, 3, 100]
    assert is_count("1", 4) and is_count("4", 4) and not is_count("5", 4) and not is_count("0", 4)
