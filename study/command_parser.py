"""The parser of every command: help that begins with what the command does, and errors of one line.

Light to import: `--help` must answer at once.
"""

import argparse
import contextlib
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from fer.errors import did_you_mean, printable, shorten
from study.cli import tell_error
from study.exit_code import ExitCode
from study.program import DISTRIBUTION, version

WIDTH = 80
"""Columns of a terminal in which every help fits."""
HELP_COLUMN = 24
"""Where the sentences about options begin."""
LONGEST_SHOWN = 60
"""Characters of a wrong word that an error shows."""
LONGEST_MESSAGE = 400
"""Characters of an error about the command line."""

NO_VALUES = ("-h", "--help", "--help-all", "--version")
"""Options that print something and end: where one is given, other options are not looked at."""
OLD_SWITCH = {"on": True, "off": False}
"""How a switch was written before it was a switch: `--early-stop off`."""


class Writable(Protocol):
    """What text can be written to."""

    def write(self, text: str, /) -> object:
        """Writes text."""


class Switch(argparse.Action):
    """An option that is on or off: `--interpolate` and `--no-interpolate`."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:  # noqa: ANN401  # argparse's
        opposites = [f"--no-{name.removeprefix('--')}" for name in option_strings]
        super().__init__([*option_strings, *opposites], dest, nargs=0, **settings)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, name: str | None = None
    ) -> None:
        """Notes whether the option is on."""
        setattr(namespace, self.dest, not str(name).startswith("--no-"))


class Parser(argparse.ArgumentParser):
    """A parser of one command, with `-h`, `--help` and `--version`.

    An option is given by its whole name. What is wrong is told as one line, with the option or value that was probably
    meant, and nothing in it that a terminal obeys; the exit code is 2.

    Attributes:
        unlisted: Names of values whose options `--help-all` alone shows.
        aliases: Further names of options, which no help lists.
        words: The command line that is parsed.

    Example:
        >>> parser = Parser("python -m study.report", "Exports a study again.", [("STUDY", "all of it")])
    """

    def __init__(
        self,
        prog: str,
        description: str = "",
        examples: Iterable[tuple[str, str]] = (),
        everyday: Collection[str] = (),
        parents: Sequence[argparse.ArgumentParser] = (),
    ) -> None:
        """Makes a parser without options of its own.

        Args:
            prog: How the user calls the command.
            description: What the command does.
            examples: Arguments that may follow `prog`, each with what the command then does.
            everyday: Names of the values that most users need to set. With any, `--help` explains their options alone
                and `--help-all` all options.
            parents: Parsers whose arguments this one has as well.
        """
        super().__init__(
            prog=prog, description=description, parents=list(parents), add_help=False, allow_abbrev=False,
            exit_on_error=False, formatter_class=_make_formatter,
        )  # fmt: skip
        self.examples = list(examples)
        self.everyday = set(everyday)
        self.unlisted: set[str] = set()
        self.aliases: dict[str, str] = {}
        self.words: list[str] = []
        self._positionals.title = "arguments"
        self.endings = self.add_argument_group("help")
        self.endings.add_argument("-h", "--help", action="help", help="print this help and end")
        if everyday:
            self.endings.add_argument("--help-all", action=_HelpAll, help="explain all options and end")
        self.endings.add_argument("--version", action=_Version, help="print the version and end")

    # Help.

    def print_help(self, file: Writable | None = None) -> None:
        """Prints the help; argparse's own method ignores an output that cannot be written."""
        (file or sys.stdout).write(self.format_help())

    def format_help(self) -> str:
        """Returns the help: what the command does, examples, usage and options."""
        return self._format_help(all_options=not self.everyday)

    def format_full_help(self) -> str:
        """Returns the help with all options."""
        return self._format_help(all_options=True)

    def _format_help(self, all_options: bool) -> str:
        parts = [textwrap.fill(self.description or "", _width()), self._format_examples(), self._format_short_usage()]

        # What most users need, then the other groups, and last what prints something and ends.
        groups = [group for group in self._action_groups if group is not self.endings]
        everyday = [action for group in groups for action in _visible(group) if action.dest in self.everyday]
        others = {
            group.title or "": [action for action in _visible(group) if action.dest not in self.everyday]
            for group in groups
        }
        explained = others if all_options else {}
        sections = {"everyday options": everyday, **explained, "help": _visible(self.endings)}
        parts.append(self._format_sections(sections))

        # Options that are not explained are named.
        if not all_options:
            listed = [line for title, actions in others.items() for line in self._list_options(title, actions)]
            parts.append("\n".join(["further options, which --help-all explains:", *listed]))
        return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"

    def _format_examples(self) -> str:
        """Returns each example with what it does, on the same line where there is room for all of them."""
        if not self.examples:
            return ""
        lines = [f"  {self.prog} {words}" for words, _ in self.examples]
        longest = max(map(len, lines))
        comments = [f"# {does}" for _, does in self.examples]
        rows = [f"{line:{longest}}  {comment}" for line, comment in zip(lines, comments, strict=True)]
        if max(map(len, rows)) > _width():
            rows = [f"  {comment}\n{line}" for line, comment in zip(lines, comments, strict=True)]
        return "\n".join(["examples:", *rows])

    def _format_short_usage(self) -> str:
        """Returns the arguments that must be given, and that there are options."""
        actions = [action for group in self._action_groups for action in _visible(group)]
        required = [
            f"{_name(action)} {_metavar(action)}" for action in actions if action.required and _is_option(action)
        ]
        formatter = self._get_formatter()
        formatter.add_usage(None, [action for action in actions if not _is_option(action)], [], prefix="")
        positional = formatter.format_help().strip().removeprefix(self.prog).split()
        return " ".join(["usage:", self.prog, *required, "[options]", *positional])

    def _format_sections(self, sections: Mapping[str, list[argparse.Action]]) -> str:
        """Returns the sentences about arguments under their headings, without those that have no arguments."""
        formatter = self._get_formatter()
        for title, actions in sections.items():
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        return formatter.format_help()

    def _list_options(self, title: str, actions: Sequence[argparse.Action]) -> list[str]:
        """Returns the names of a group's options, but for the unlisted ones, in lines that begin with its title."""
        names = " ".join(_name(action) for action in actions if action.dest not in self.unlisted)
        if not names:
            return []
        first = f"  {title + ':':10}"
        return textwrap.wrap(
            names, _width(), initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False
        )

    # Parsing.

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Returns the values of a command line.

        Args:
            args: Its words; None are the process's own.
            namespace: Where to put them; None for a new one.

        Raises:
            SystemExit: Something is wrong, which was told.
        """
        words = self._spell_anew(sys.argv[1:] if args is None else args)
        self._check_names(words)
        self.words = words
        try:
            values, unexpected = self.parse_known_args(words, namespace)
        except argparse.ArgumentError as error:
            self._tell_argument_error(error)
        if unexpected:
            self.error(f"{_quote(unexpected[0])} is one argument too many; {self.prog} --help shows how to call it")
        assert values is not None  # argparse declares that it may be, if a None were given as the namespace
        return values

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong and ends with exit code 2."""
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = self._describe_missing(missing.split(", ")[0])
        tell_error(shorten(message, LONGEST_MESSAGE))
        sys.exit(ExitCode.WRONG_USE)

    def _spell_anew(self, words: Sequence[str]) -> list[str]:
        """Returns the words with options as they are called now.

        Aliases become the options that they stand for, and "--early-stop off", as it was written before,
        "--no-early-stop". A word that begins with "--" is never the value of an option, so it is not mistaken for one.
        """
        spelled: list[str] = []
        for place, word in enumerate(words):
            if word == "--":
                return [*spelled, *words[place:]]
            name, equals, value = word.partition("=")
            name = self.aliases.get(name, name)
            if value in OLD_SWITCH and self._is_switch(name):
                spelled.append(_switched(name, value))
            elif word in OLD_SWITCH and spelled and self._is_switch(spelled[-1]):
                spelled[-1] = _switched(spelled[-1], word)
            else:
                spelled.append(f"{name}{equals}{value}")
        return spelled

    def _is_switch(self, word: str) -> bool:
        """Returns whether a word switches an option on."""
        return isinstance(self._option_string_actions.get(word), Switch) and not word.startswith("--no-")

    def _check_names(self, words: Sequence[str]) -> None:
        """Ends with an error where an option has no name that this command knows.

        argparse would tell of a required option that is missing before it told of the mistyped one that was given.
        """
        options = words[: words.index("--")] if "--" in words else words
        if not set(options).isdisjoint(NO_VALUES):
            return
        for word in options:
            name = word.partition("=")[0]
            is_option = len(name) > 1 and name[0] == "-" and not re.match(r"-[\d.]", name) and " " not in name
            if is_option and name not in self._option_string_actions:
                self._tell_unknown_option(name)

    def _tell_unknown_option(self, name: str) -> NoReturn:
        """Tells of an option that the command does not have."""
        known = [option for option in (*self._option_string_actions, *self.aliases) if option.startswith("--")]
        beginning = [option for option in known if option.startswith(name)]
        meant = f"Did you mean {beginning[0]}? " if len(beginning) == 1 else did_you_mean(name, known)
        helps = "--help-all" if self.everyday else "--help"
        shown = shorten(name, LONGEST_SHOWN)
        self.error(f"unknown option {shown}. {meant}{self.prog} {helps} lists all options.")

    def _tell_argument_error(self, error: argparse.ArgumentError) -> NoReturn:
        """Tells which option is wrong and why; the messages of `type=` functions follow the option's name."""
        name = (error.argument_name or "").partition("/")[0]
        action = self._option_string_actions.get(name)
        if error.message.startswith("expected") and action is not None:
            self.error(f"{name} needs a value, as in {name} {_metavar(action)}")
        explicit = error.message.removeprefix("ignored explicit argument ")
        if explicit != error.message:
            self.error(f"{name} takes no value; got {shorten(explicit, LONGEST_SHOWN)}")
        self.error(f"{name} {error.message}".strip())

    def _describe_missing(self, name: str) -> str:
        """Returns that an argument is missing, and what it is."""
        actions = [action for group in self._action_groups for action in _visible(group)]
        for action in actions:
            if name in (_name(action), action.dest):
                # Its value may have been given without its name.
                stray = self._find_stray_word() if _is_option(action) else None
                if stray is not None:
                    question = f"{self.prog} {name} {shlex.quote(stray)}"
                    return f"{name} is missing before {_quote(stray)}. Did you mean {printable(question)}?"
                shown = f"{name} {_metavar(action)}" if _is_option(action) else name
                return f"{shown} is missing: {action.help}; {self.prog} --help shows examples"
        return f"{name} is missing; {self.prog} --help shows how to call it"

    @contextlib.contextmanager
    def requiring_nothing(self) -> Iterator[None]:
        """Lets command lines without the required arguments be parsed meanwhile."""
        required = [action for action in self._actions if action.required]
        for action in required:
            action.required = False
        try:
            yield
        finally:
            for action in required:
                action.required = True

    def _find_stray_word(self) -> str | None:
        """Returns the first word of the command line that is no option and no option's value; None where none is."""
        with self.requiring_nothing():
            _, unexpected = self.parse_known_args(self.words)
        return next((word for word in unexpected if not word.startswith("-")), None)


class _HelpAll(argparse.Action):
    """Prints the help with all options, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Prints and ends."""
        assert isinstance(parser, Parser)
        sys.stdout.write(parser.format_full_help())
        parser.exit()


class _Version(argparse.Action):
    """Prints the program's name and version, and ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Prints and ends."""
        print(f"{DISTRIBUTION} {version()}")
        parser.exit()


def _width() -> int:
    """Returns how many columns a line of help may fill."""
    return min(WIDTH, shutil.get_terminal_size().columns) - 1


def _make_formatter(prog: str) -> argparse.HelpFormatter:
    """Returns what lays out the sentences about options."""
    return argparse.HelpFormatter(prog, max_help_position=HELP_COLUMN, width=max(_width(), HELP_COLUMN + 12))


def _visible(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """Returns a group's arguments that --help shows."""
    return [action for action in group._group_actions if action.help != argparse.SUPPRESS]


def _is_option(action: argparse.Action) -> bool:
    return bool(action.option_strings)


def _name(action: argparse.Action) -> str:
    """Returns an argument's name as the user writes or reads it."""
    return action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)


def _metavar(action: argparse.Action) -> str:
    """Returns the placeholder of an option's value."""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return action.metavar or action.dest.upper()


def _switched(option: str, word: str) -> str:
    """Returns a switch as it is written now, given "on" or "off"."""
    return option if OLD_SWITCH[word] else f"--no-{option.removeprefix('--')}"


def _quote(word: str) -> str:
    """Returns a word of the command line, shortened and in quotes."""
    return repr(shorten(printable(word), LONGEST_SHOWN))
