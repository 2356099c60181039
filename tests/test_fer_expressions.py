"""The expressions of a study: those that are known, and those of a user's own file."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer.errors import InputError
from fer.expressions import (
    EIGHT,
    EXPRESSIONS,
    MOST,
    NUMBERS,
    SEVEN,
    ExpressionSet,
    is_stored_expressions,
    read_expressions,
    spell_label,
)
from hostile import ODD, in_time

VALENCE = "label,expression\nhappy,positive\nsad,negative\nanger,negative\nneutral,neutral\n"
LABELS = st.text("abcäß1 _-", min_size=1, max_size=6)


def write(folder: Path, content: str | bytes) -> str:
    """Writes a file of labels and returns its path."""
    path = folder / "own.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# Those that are known.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Angry", "anger"),
        ("AN1", "anger"),
        ("disguest", "disgust"),
        ("AF", "fear"),
        ("pg", "surprise"),
        ("ng", "neutral"),
        ("surprised", "surprise"),
        ("Happiness ", "happiness"),
        ("contempt", None),
        ("", None),
    ],
)
def test_every_usual_spelling_of_an_expression_is_understood(text: str, name: str | None) -> None:
    assert SEVEN.parse(text) == (EXPRESSIONS.index(name) if name else None)


@pytest.mark.parametrize("text", ["contempt", "Contemptuous", "CO", "cg"])
def test_the_eight_are_the_seven_and_contempt_as_datasets_spell_it(text: str) -> None:
    assert EIGHT.names == (*SEVEN.names, "contempt")
    assert (EIGHT.parse(text), SEVEN.parse(text)) == (7, None)


@given(st.text(max_size=12))
def test_the_eight_agree_with_the_seven_on_whatever_these_know(text: str) -> None:
    index = SEVEN.parse(text)
    assert EIGHT.parse(text) in ((7, None) if index is None else (index,))


def test_guessing_is_right_once_in_as_many_times_as_there_are_expressions(tmp_path):
    assert (SEVEN.chance, EIGHT.chance) == (1 / 7, 1 / 8)
    assert read_expressions(write(tmp_path, VALENCE)).chance == 1 / 3


@pytest.mark.parametrize(
    ("dataset", "text", "word"),
    [
        ("fer2013", "3", "happiness"),
        ("ckplus", "   2.0000000e+00", "contempt"),
        ("ckplus", "7", "surprise"),
        ("rafdb", "1", "surprise"),
        ("affectnet", "6", "anger"),
        ("affectnet", "7", "contempt"),
        ("affectnet", "happy", "happy"),
    ],
)
def test_a_datasets_numbers_are_spelt_out(dataset: str, text: str, word: str) -> None:
    assert spell_label(text, NUMBERS[dataset]) == word


@pytest.mark.parametrize(("dataset", "text"), [("fer2013", "7"), ("fer2013", "-1"), ("rafdb", "0"), ("fer2013", "nan")])
def test_a_number_out_of_range_is_no_label(dataset: str, text: str) -> None:
    with pytest.raises(ValueError, match="not a label"):
        spell_label(text, NUMBERS[dataset])


# A user's own file.


def test_expressions_have_the_order_in_which_the_file_names_them(tmp_path):
    own = read_expressions(write(tmp_path, VALENCE))

    assert own.names == ("positive", "negative", "neutral")
    assert [own.parse(label) for label in ("happy", "sad", "anger", "neutral")] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + VALENCE.encode(),
        VALENCE.replace("\n", "\r\n").encode(),
        VALENCE.replace("\n", "\r").encode(),
        VALENCE.replace(",", ";").encode(),
        VALENCE.replace(",", "\t").encode(),
        VALENCE.replace("\n", ",,\n").encode(),
        VALENCE.replace("\n", "\n\n").encode(),
        VALENCE.replace(",", " , ").encode(),
        VALENCE.upper().replace("POSITIVE", "positive").replace("NEGATIVE", "negative").encode(),
        VALENCE.replace("happy", '"happy"').encode(),
        (VALENCE + "happy,Positive\n").encode(),
    ],
)
def test_what_spreadsheets_make_of_a_file_is_forgiven(content, tmp_path):
    plain = read_expressions(write(tmp_path, VALENCE))
    found = read_expressions(write(tmp_path, content))

    assert [name.lower() for name in found.names] == list(plain.names)
    assert found.labels == plain.labels


def test_what_a_file_says_of_one_spelling_holds_for_the_others_of_which_it_says_nothing(tmp_path):
    own = read_expressions(write(tmp_path, VALENCE + "joy,joyful\n"))

    # Of happiness the file says two things, so that its other spellings are not known.
    assert [own.parse(text) for text in ("happy", "joy", "happiness", "HA")] == [0, 3, None, None]
    assert [own.parse(text) for text in ("sad", "SA", "sadness", "Sad_01")] == [1] * 4
    assert own.parse("fear") is None


def test_labels_of_other_scripts_and_with_digits_are_labels_of_their_own(tmp_path):
    own = read_expressions(write(tmp_path, "label,expression\nlevel 1,low\nlevel 2,high\nFröhlich,high\n哀,low\n"))

    assert [own.parse(text) for text in ("Level_1", "LEVEL2", "fro\u0308hlich", "哀", "level")] == [0, 1, 1, 0, None]


@given(st.dictionaries(LABELS, st.sampled_from(["low", "mid", "high"]), min_size=1, max_size=8))
def test_every_label_of_a_file_counts_as_what_its_line_says_or_the_file_is_refused(tmp_path_factory, lines):
    text = "label,expression\n" + "".join(f"{label},{name}\n" for label, name in lines.items())
    try:
        own = read_expressions(write(tmp_path_factory.mktemp("own"), text))
    except InputError:
        return
    assert all(own.names[own.parse(label)] == name for label, name in lines.items())


# What nobody should give.


def make_pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.csv")
    return str(folder / "pipe.csv")


def make_huge(folder: Path) -> str:
    path = folder / "huge.csv"
    with path.open("wb") as file:
        file.truncate(2**36)
    return str(path)


HOSTILE = {
    "a number that is no set": (lambda folder: "9", "--expressions is 7, 8, or"),
    "a file that is not there": (lambda folder: str(folder / "absent.csv"), "No such file"),
    "a path with a NUL": (lambda folder: "a\0b", "--expressions is 7, 8, or"),
    "an endless path": (lambda folder: "a" * 10**5, "--expressions is 7, 8, or"),
    "a pipe": (make_pipe, "a pipe, socket or device"),
    "a folder": (str, "a folder instead of a file"),
    "a device": (lambda folder: "/dev/zero", "a pipe, socket or device"),
    "a huge file": (make_huge, "more than 64 KiB"),
    "a picture": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "no text in UTF-8"),
    "UTF-16": (VALENCE.encode("utf-16"), "no text in UTF-8"),
    "zeros": (b"label,expression\n\0\0,a\n", "no text in UTF-8"),
    "nothing": (b"", "has the header"),
    "blank lines": (b"\n\n,\n", "has the header"),
    "a header alone": (b"label,expression\n", "2 to 32 expressions"),
    "no header": (b"happy,positive\nsad,negative\n", "has the header"),
    "another header": (b"expression,label\nhappy,positive\n", "has the header"),
    "a third cell": (b"label,expression\nhappy,positive,1\n", "3 in line 2"),
    "one cell": (b"label,expression\nhappy\n", "1 in line 2"),
    "an empty label": (b"label,expression\n,positive\nsad,negative\n", "an empty one in line 2"),
    "an open quote": (b'label,expression\n"happy,positive\nsad,negative\n', "two cells in each line"),
    "one expression": (b"label,expression\nhappy,positive\njoy,positive\n", "only positive"),
    "a label twice": (VALENCE.encode() + b"HAPPY,negative\n", "'HAPPY' as positive, and as negative in line 6"),
    "a label twice but for marks": (VALENCE.encode() + b"ha-ppy,negative\n", "as positive, and as negative"),
    "a label of marks": (b"label,expression\n!?,positive\nsad,negative\n", "has letters or digits"),
    "an endless label": (b"label,expression\n" + b"a" * 5000 + b",positive\n", "has letters or digits"),
    "a name of marks": (b"label,expression\nhappy,<b>\nsad,negative\n", "an expression's name"),
    "a name with a comma": (b'label,expression\nhappy,"a,b"\nsad,negative\n', "an expression's name"),
    "a name that a terminal obeys": (b"label,expression\nhappy,\x1b[31m\nsad,b\n", "an expression's name"),
    "a formula": (b"label,expression\nhappy,=1+1\nsad,b\n", "an expression's name"),
    "an underscore": (b"label,expression\nhappy,above_chance\nsad,b\n", "an expression's name"),
    "an endless name": (b"label,expression\nhappy," + b"a" * 5000 + b"\nsad,b\n", "an expression's name"),
    "another column's name": (b"label,expression\nhappy,Image\nsad,b\n", "an expression's name"),
    "too many": (
        b"label,expression\n" + b"".join(b"l%d,e%d\n" % (number, number) for number in range(MOST + 1)),
        "33 in own.csv",
    ),
}


@pytest.mark.parametrize(("given", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_breaks_a_rule_is_refused_in_one_line(given, told, tmp_path):
    asked = write(tmp_path, given) if isinstance(given, bytes) else given(tmp_path)

    with in_time(), pytest.raises(InputError) as caught:
        read_expressions(asked)

    line = str(caught.value)
    assert told in line and line.isprintable() and len(line) < 800


# What is stored.


@pytest.mark.parametrize("asked", ["7", "8", VALENCE, "label,expression\nb,low\na,high\n哀,high\n"])
def test_stored_expressions_come_back_as_they_were(asked, tmp_path):
    expressions = read_expressions(write(tmp_path, asked) if "," in asked else asked)
    stored = expressions.to_json()

    assert is_stored_expressions(stored) and ExpressionSet.from_json(stored) == expressions


def test_the_seven_leave_no_trace_in_what_is_stored_or_digested():
    assert SEVEN.to_json() == {} and SEVEN.digest_text() == ""
    assert ExpressionSet.from_json(None) == ExpressionSet.from_json({}) == SEVEN


def test_other_expressions_their_order_and_their_labels_have_digests_of_their_own(tmp_path):
    texts = [VALENCE, VALENCE + "fear,negative\n", VALENCE.replace("positive", "good")]
    lines = VALENCE.splitlines()
    texts.append("\n".join([lines[0], *reversed(lines[1:])]))

    digests = {read_expressions(write(tmp_path, text)).digest_text() for text in texts}

    assert len(digests | {SEVEN.digest_text(), EIGHT.digest_text()}) == len(texts) + 2


ODD_STORED = [
    *ODD.values(),
    {"names": ["a"]},
    {"names": ["a", "A"], "labels": {}},
    {"names": ["a", "b"]},
    {"names": ["a", "b"], "labels": {"x": 2}},
    {"names": ["a", "b"], "labels": {"x": True}},
    {"names": ["a", "b"], "labels": [1]},
    {"names": ["a", "b\n"], "labels": {}},
    {"names": "ab", "labels": {}},
    {"names": [[], {}], "labels": {}},
    {"names": [f"e{number}" for number in range(1000)], "labels": {}},
]


@pytest.mark.parametrize("stored", ODD_STORED, ids=lambda value: str(value)[:30].replace("\0", ""))
def test_odd_stored_expressions_are_known_as_such_and_read_as_the_seven(stored):
    assert is_stored_expressions(stored) == (stored == {})
    assert ExpressionSet.from_json(stored) == SEVEN


# Labels that no image has.


@pytest.mark.parametrize(
    ("labels", "met", "unmet"),
    [
        ({"hapy": "good", "anger": "bad"}, ["happiness", "anger"], {"hapy": "happy"}),
        ({"hapy": "good", "anger": "bad"}, ["happy", "anger"], {"hapy": "happy"}),
        ({"hapy": "good", "anger": "bad"}, ["hapy", "angry"], {}),
        ({"happy": "good", "anger": "bad"}, ["HA", "AN_01"], {}),
        ({"happy": "good", "happiness": "better", "anger": "bad"}, ["happy", "anger"], {"happiness": ""}),
        ({"elated": "good", "anger": "bad"}, ["happiness", "anger"], {"elated": ""}),
        ({"kvalm": "bad", "glad": "good"}, ["kvalme", "GLAD", "sint"], {"kvalm": "kvalme"}),
        ({"1": "good", "2": "bad"}, ["1", "3"], {"2": ""}),
        ({"glad": "good", "sint": "bad"}, [], {"glad": "", "sint": ""}),
    ],
)
def test_a_label_that_no_image_has_is_told_with_the_one_that_it_resembles(labels, met, unmet, tmp_path):
    lines = "".join(f"{label},{name}\n" for label, name in labels.items())
    assert read_expressions(write(tmp_path, f"label,expression\n{lines}")).find_unmet(met) == unmet
