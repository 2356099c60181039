import pytest

from fer.expressions import EXPRESSIONS, NUMBERS, SEVEN, spell_label


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


@pytest.mark.parametrize(
    ("dataset", "text", "word"),
    [
        ("fer2013", "3", "happiness"),
        ("ckplus", "   2.0000000e+00", "contempt"),
        ("ckplus", "7", "surprise"),
        ("rafdb", "1", "surprise"),
        ("affectnet", "6", "anger"),
        ("affectnet", "happy", "happy"),
    ],
)
def test_a_datasets_numbers_are_spelt_out(dataset: str, text: str, word: str) -> None:
    assert spell_label(text, NUMBERS[dataset]) == word


@pytest.mark.parametrize(("dataset", "text"), [("fer2013", "7"), ("fer2013", "-1"), ("rafdb", "0"), ("fer2013", "nan")])
def test_a_number_out_of_range_is_no_label(dataset: str, text: str) -> None:
    with pytest.raises(ValueError, match="not a label"):
        spell_label(text, NUMBERS[dataset])
