"""The one error that a user can mend, and text that is safe to show."""

from collections.abc import Iterable

LONGEST_VALUE = 300
"""Characters of a value that an error shows; a file may hold a name of a million."""
LONGEST_WORD = 200
"""Characters of a mistyped word that is compared with others."""


class InputError(ValueError):
    """Wrong use or bad data, told as one line: the rule, the value that breaks it, what to do.

    The commands print it without a traceback and exit with code 2.

    Attributes:
        rule: What must hold, as half a sentence: "a network file must exist".
        value: What breaks the rule.
        fix: What the user can do about it, as a sentence.
    """

    def __init__(self, rule: str, value: object, fix: str) -> None:
        super().__init__(rule, value, fix)
        self.rule = rule
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        value = shorten(printable(self.value), LONGEST_VALUE)
        return f"{printable(self.rule)}; got {value}. {printable(self.fix)}"


def printable(text: object) -> str:
    r"""Returns text on one line that a terminal shows and does not obey.

    The names of files and of archive members, labels, and the messages of libraries may hold any character. Control
    characters, line and direction marks and bytes that are not UTF-8 become escapes: "\x1b[31m" is shown, and the
    terminal does not turn red.
    """
    return "".join(_escape(character) for character in str(text))


def _escape(character: str) -> str:
    """Returns a character, or its escape where a terminal would not show it."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def shorten(text: str, most: int) -> str:
    """Returns a text of at most `most` characters; a longer one loses its middle.

    >>> shorten("abcdefghij", 8)
    'abc...ij'
    """
    if len(text) <= most:
        return text

    end = most // 3
    start = most - end - len("...")
    return f"{text[:start]}...{text[-end:]}"


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate that is most like a mistyped word, None where none is much like it; case counts nothing.

    >>> closest("lapto", ["paper", "laptop"])
    'laptop'
    """
    import difflib  # noqa: PLC0415  only where something is wrong: --help need not wait for it

    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    similar = difflib.get_close_matches(shorten(word, LONGEST_WORD).lower(), by_lower_case, n=1)
    return by_lower_case[similar[0]] if similar else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Returns the question whether a mistyped word was meant for one of the candidates, empty where none is like it.

    The question ends with a space, so that it can stand before another sentence.
    """
    candidate = closest(word, candidates)
    return f"Did you mean {candidate}? " if candidate is not None else ""
