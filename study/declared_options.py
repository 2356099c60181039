"""Options that are declared once, as fields of a dataclass; parsers and checks are derived from the declarations.

Example:
    >>> @dataclass
    ... class Search:
    ...     trials: int = option(200, "total of trials", parse=integer, metavar="N", check=must(...))
    >>> groups = add_options(parser, Search)
    >>> options = read_options(Search, parser, None)

Light to import: `--help` must answer at once.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from fer.errors import InputError
from study.arguments import from_environment, one_of
from study.command_parser import Parser, Switch

Check = Callable[[Any], None]
"""Raises InputError for a value that the option cannot have."""

Options = TypeVar("Options")


class TakesArguments(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *flags: str, **settings: Any) -> argparse.Action:  # noqa: ANN401  # as argparse has them
        """Adds an argument as `argparse.ArgumentParser.add_argument` does."""


@dataclasses.dataclass(frozen=True)
class Option:
    """How an option is written on a command line, read and checked.

    Attributes:
        help: One line for --help.
        group: Heading that it has in --help, none for the general ones.
        flag: How it is written, where not as its field.
        parse: Turns text into a value; raises argparse.ArgumentTypeError.
        metavar: Placeholder of its value in --help; several where it takes several values.
        choices: All values that there are, where they can be listed.
        repeatable: Whether it may be given several times; its value is the tuple of all.
        separated: Whether its text is several values with commas, which Python may give as a sequence.
        environment: Variable that holds its default, empty where there is none.
        check: Raises InputError for a value that no study can have; not called where there is no value.
        resumable: Whether it may change between two runs of a study without making it another study.
        everyday: Whether most users need it.
        unlisted: Whether --help-all alone shows it, and --help does not even name it.
        aliases: Further names, under which other programs have it.
    """

    help: str
    group: str = ""
    flag: str = ""
    parse: Callable[[str], Any] = str
    metavar: str | tuple[str, ...] | None = None
    choices: tuple[str, ...] | None = None
    repeatable: bool = False
    separated: bool = False
    environment: str = ""
    check: Check | None = None
    resumable: bool = False
    everyday: bool = False
    unlisted: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def takes_several(self) -> bool:
        """Whether its value is a tuple."""
        return self.repeatable or isinstance(self.metavar, tuple)


def option(default: Any, help: str, **settings: Any) -> Any:  # noqa: ANN401  # a field of any type, as dataclasses.field
    """Declares a field of a dataclass as an option.

    Args:
        default: Its value where it is not given; dataclasses.MISSING where it must be given. False makes it a
            switch, True one that `--no-…` turns off.
        help: One line for --help.
        **settings: Attributes of `Option`.

    Returns:
        The field.
    """
    return dataclasses.field(default=default, metadata={"option": Option(help, **settings)})


def must(rule: str, holds: Callable[[Any], bool], fix: str) -> Check:
    """Returns a check that raises InputError with this rule and fix unless `holds` is true of the value."""

    def check(value: object) -> None:
        if not holds(value):
            raise InputError(rule, value, fix)

    return check


def flag_of(name: str, declaration: Option) -> str:
    """Returns how an option is written on a command line, given its field's name."""
    return declaration.flag or f"--{name.replace('_', '-')}"


def declared(options: type) -> dict[str, Option]:
    """Returns the options that a dataclass declares, by the names of their fields."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(options)}


# Parser.


def add_options(
    parser: argparse.ArgumentParser, options: type, names: Collection[str] | None = None, grouped: bool = True
) -> dict[str, TakesArguments]:
    """Adds a dataclass's options to a parser.

    Args:
        parser: The parser.
        options: The dataclass.
        names: Fields to add, None for all.
        grouped: Whether --help shows them under the headings of their groups.

    Returns:
        The parser's groups by their headings, for arguments that are no options.
    """
    groups: dict[str, TakesArguments] = {"": parser}
    for field in dataclasses.fields(options):
        if names is not None and field.name not in names:
            continue
        declaration: Option = field.metadata["option"]
        heading = declaration.group if grouped else ""
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        _add_option(groups[heading], field)

        # What only a command's own parser knows, not one that lends it options.
        if isinstance(parser, Parser):
            parser.aliases |= dict.fromkeys(declaration.aliases, flag_of(field.name, declaration))
            if declaration.unlisted:
                parser.unlisted.add(field.name)
    return groups


def _add_option(group: TakesArguments, field: dataclasses.Field) -> None:
    """Adds a field's option to a parser or to a group of it."""
    declaration: Option = field.metadata["option"]
    settings: dict[str, Any] = {"dest": field.name, "help": declaration.help}

    # What it is worth where it is not given.
    if field.default is dataclasses.MISSING:
        settings["required"] = True
    elif declaration.repeatable:
        settings["default"] = list(field.default)
    else:
        settings["default"] = field.default
    if declaration.environment:
        settings["default"] = from_environment(declaration.environment) or field.default

    # How it is given.
    if field.default is False:
        settings["action"] = "store_true"
    elif field.default is True:
        settings["action"] = Switch
    elif declaration.choices is not None:
        settings |= {"type": one_of(declaration.choices), "metavar": f"{{{','.join(declaration.choices)}}}"}
    else:
        settings |= {"type": declaration.parse, "metavar": declaration.metavar}
    if declaration.repeatable:
        settings["action"] = "append"
    if isinstance(declaration.metavar, tuple):
        settings["nargs"] = len(declaration.metavar)
    group.add_argument(flag_of(field.name, declaration), **settings)


# Values.


def read_options(options: type[Options], parser: argparse.ArgumentParser, arguments: list[str] | None) -> Options:
    """Parses a command line into a dataclass of options and checks each of them.

    Args:
        options: The dataclass; the parser has all of its options and no other arguments.
        parser: The parser.
        arguments: Words of the command line; None are the process's own.

    Raises:
        InputError: A value is one that the option cannot have.
    """
    values = vars(parser.parse_args(arguments))

    # argparse gives a list to an option that takes several values, and for "--name=--" to any other.
    for name, declaration in declared(options).items():
        if not isinstance(values[name], list):
            continue
        if not declaration.takes_several:
            parser.error(f"{flag_of(name, declaration)} needs a value")
        values[name] = tuple(values[name])

    parsed = options(**values)
    check_values(parsed)
    return parsed


def check_values(options: object) -> None:
    """Raises InputError for the first option whose own check its value does not pass."""
    for name, declaration in declared(type(options)).items():
        value = getattr(options, name)
        if declaration.check is not None and value is not None:
            declaration.check(value)


# Values from Python.


def options_from_values(options: type[Options], values: Mapping[str, Any]) -> Options:
    """Returns a dataclass of options from values that Python code gives; each is read as a command line's would be.

    Args:
        options: The dataclass.
        values: By the names of its fields; what is left out has its default, or that of its environment variable.

    Raises:
        InputError: A name is no option, or a value is one that the option cannot have.
    """
    declarations = declared(options)
    unknown = [name for name in values if name not in declarations]
    if unknown:
        near = difflib.get_close_matches(unknown[0], declarations, n=1)
        fix = f"Did you mean {near[0]}?" if near else f"There are {', '.join(declarations)}."
        raise InputError("an option is one of those of the command line, with underscores", unknown[0], fix)

    fields = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]  # a dataclass
    read: dict[str, Any] = {}
    for name, declaration in declarations.items():
        if name in values:
            read[name] = _read_value(fields[name], values[name])
        elif declaration.environment and from_environment(declaration.environment):
            read[name] = from_environment(declaration.environment)
    result = options(**read)
    check_values(result)
    return result


def _read_value(field: dataclasses.Field, value: Any) -> Any:  # noqa: ANN401  # of the option's type
    """Returns a value as a command line would have given it.

    Raises:
        InputError: It cannot be one of the option.
    """
    name, declaration = field.name, field.metadata["option"]
    is_switch = isinstance(field.default, bool)
    may_be_none = field.default is None
    if is_switch:
        return _read_switch(name, value)
    if declaration.separated and isinstance(value, Iterable) and not isinstance(value, str):
        value = ",".join(str(member) for member in value)
    if value is None or isinstance(value, bool) or (isinstance(value, Iterable) and not declaration.takes_several):
        if value is None and may_be_none:
            return None
        if not isinstance(value, str):
            raise InputError(f"{name} is a single value", repr(value), declaration.help)
    if not declaration.takes_several:
        return _read_text(name, declaration, value)

    members = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if isinstance(declaration.metavar, tuple) and len(members) != len(declaration.metavar):
        raise InputError(f"{name} is {len(declaration.metavar)} values", repr(value), declaration.help)
    return tuple(_read_text(name, declaration, member) for member in members)


def _read_switch(name: str, value: object) -> bool:
    """Returns a switch's value, which may be written as on a command line.

    Raises:
        InputError: It is neither a bool nor one of these words.
    """
    if isinstance(value, bool):
        return value
    words = {"on": True, "off": False}
    if not isinstance(value, str) or value not in words:
        raise InputError(f"{name} is True or False", repr(value), "Give one of them.")
    return words[value]


def _read_text(name: str, declaration: Option, value: object) -> Any:  # noqa: ANN401  # of the option's type
    """Returns the value that an option's text stands for.

    Raises:
        InputError: It stands for none.
    """
    try:
        read = declaration.parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"{name} must be such a value", f"{value} ({error})", declaration.help) from None
    if declaration.choices is not None and read not in declaration.choices:
        raise InputError(f"{name} is one of {', '.join(declaration.choices)}", value, "Give one of them.")
    return read
