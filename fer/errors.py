"""The one error that a user can mend, and text that is safe to show."""

LONGEST_VALUE = 300
"""Characters of a value that an error shows; a file may hold a name of a million."""


class InputError(ValueError):
    """Wrong use or bad data, told as one line: the rule, the value that breaks it, what to do.

    The commands print it without a traceback and exit with code 2.
    """

    def __init__(self, rule: str, value: object, mend: str) -> None:
        self.rule, self.value, self.mend = rule, value, mend
        super().__init__(rule, value, mend)

    def __str__(self) -> str:
        value = shorten(printable(self.value), LONGEST_VALUE)
        return f"{printable(self.rule)}; got {value}. {printable(self.mend)}"


def printable(text: object) -> str:
    r"""Returns text on one line that a terminal shows and does not obey.

    File and member names, labels and what a library says may hold anything. Control characters, line and direction
    marks and bytes that were no UTF-8 come back as escapes: "\x1b[31m" instead of red.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in str(text)
    )


def shorten(text: str, most: int) -> str:
    """Returns the text, its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]}...{text[-end:]}"
