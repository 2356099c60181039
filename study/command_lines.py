"""Command lines that are shown to be copied. Imports nothing: every command uses it."""


def break_command(line: str, width: int) -> list[str]:
    """Returns a command as lines that a shell reads as one, each narrower than `width` where its words are.

    >>> break_command("python -m study.confirm NAME --out /data/runs", 40)
    ['python -m study.confirm NAME \\\\', '    --out /data/runs']

    Args:
        line: The command.
        width: Columns of the terminal.
    """
    if len(line) < width:
        return [line]

    indent = line[: len(line) - len(line.lstrip())]
    lines = []
    current = ""
    for word in _words_of(line.lstrip()):
        longer = f"{current} {word}" if current else indent + word
        if current and len(longer) + len(" \\") >= width:
            lines.append(f"{current} \\")
            current = f"{indent}    {word}"
        else:
            current = longer
    return [*lines, current]


def _words_of(line: str) -> list[str]:
    """Returns the words of a command as they are written, an option together with its value."""
    words: list[str] = []
    for word in _split_outside_quotes(line):
        follows_option = bool(words) and words[-1].startswith("--") and " " not in words[-1]
        if follows_option and not word.startswith("-"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


def _split_outside_quotes(line: str) -> list[str]:
    """Returns the parts of a line between spaces that stand in no single quotes."""
    parts = [""]
    is_quoted = False
    for character in line:
        is_quoted ^= character == "'"
        if character == " " and not is_quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts
