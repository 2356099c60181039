"""The seven expressions in one order, and every dataset's own codes and spellings mapped to them."""

import re
from collections.abc import Sequence

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
CHANCE = 1 / len(EXPRESSIONS)
"""The accuracy of guessing."""

# Spellings and codes in the datasets' folder names, file names and label columns. TFEID's last tokens are
# ng ag dg fg hg sg pg: neutral, anger, disgust, fear, happiness, sadness, surprise.
_SPELLINGS = {
    "anger": "anger angry an ang ag",
    "disgust": "disgust disgusted disguest disgusting di dis dg",
    "fear": "fear fearful fearfull afraid af fe fea fg scared",
    "happiness": "happiness happyness happy ha hap hg joy smile",
    "sadness": "sadness sad sa sg",
    "surprise": "surprise surprised suprise suprised su sur pg",
    "neutral": "neutral ne neu neutrality neural ng calm",
}
_CODES = {spelling: code for code, name in enumerate(EXPRESSIONS) for spelling in _SPELLINGS[name].split()}

# For each dataset the words that the numbers in its label files stand for, from 0 on; "" where a number is not used.
NUMBERS: dict[str, tuple[str, ...]] = {
    "fer2013": EXPRESSIONS,
    "ckplus": ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    "rafdb": ("", "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "affectnet": (
        "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
        "none", "uncertain", "no face",
    ),
}  # fmt: skip


def parse_expression(text: str) -> int | None:
    """Returns the index in `EXPRESSIONS` that a dataset's spelling stands for, or None for other labels.

    Case and everything but letters are ignored: "Happy_01" and "happy" are the same spelling.
    """
    letters = re.sub(r"[^a-z]", "", text.lower())
    return _CODES.get(letters)


def spell_label(text: str, numbers: Sequence[str] = ()) -> str:
    """Returns the word that a label stands for: a number's word, any other text as it is.

    Args:
        text: As the dataset has it; CK+ writes its numbers like `6.0000000e+00`.
        numbers: The dataset's row of `NUMBERS`; without one, numbers are words like any other.

    Raises:
        ValueError: The number is not one of the dataset's.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    if not numbers:
        return text

    is_index = number.is_integer() and 0 <= number < len(numbers)
    word = numbers[int(number)] if is_index else ""
    if not word:
        raise ValueError(f"{text} is not a label of the dataset")
    return word
