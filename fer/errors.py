"""The one error that a user can mend, and text that is safe to show."""

LONGEST_VALUE = 300
"""Characters of a value that an error shows; a file may hold a name of a million."""


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
