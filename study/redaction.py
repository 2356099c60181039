"""Hides passwords and tokens in whatever is shown, stored or sent."""

import re
from typing import Any
from urllib.parse import unquote_plus

from fer.errors import printable, shorten

MOST_LAYERS = 6
"""Layers of percent-encoding that are decoded; a value with more is hidden."""

# A value that is one URL: all of it up to the last "@", as its password may hold anything, even line breaks.
_URL = re.compile(r"\A(\s*)([\w.+-]+)://(/?)([^/\s].*)@", re.DOTALL)
# A URL in a sentence: up to the last "@" of the line, as a raw password may hold "/", "@", "?", "#" and spaces.
_URL_IN_TEXT = re.compile(r"()\b([\w.+-]+)://(/?)([^/\s][^\n]*)@")
_SCHEMES_OF_FILES = ("sqlite", "file")
# "me:secret@host", as somebody writes who leaves the scheme out.
_WITHOUT_SCHEME = re.compile(r"(?<![\w@/.%-])[\w.+%-]{0,80}:(?!//)[^\s@]{1,500}@(?=[\w\[.%-])")

# Bounded here and below, so that the longest text is searched in time.
_NAME = r"[\w%-]{0,80}?(?:pass|pwd|token|secret|credential|signature|sig(?=\s*=)|key)[\w-]{0,30}?"
_QUOTED = r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|\{(?:[^}]|\}\})*\}?"
# "name=value" up to "&": in a URL's query, and in the connection strings of libpq and ODBC, quoted there or not.
_PAIR = re.compile(rf"(?i)(?<![\w%-])({_NAME})(\s*=\s*|%(?:25)*3d)(?:{_QUOTED})?[^&]*")
# "'password': 'value'", as Python and JSON write it.
_ITEM = re.compile(rf"(?i)(['\"]{_NAME}['\"]\s*:\s*)(?:{_QUOTED})")
_HEADER = re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?(?!\w+\s)|bearer\s+)[\w.+/=~-]{6,}")
_ENCODED_PAIR = re.compile(r"([\w.%+-]{1,80})=([^&\s]{0,2000}%[^&]*)")
_ENCODED_NAME = re.compile(r"(?<![\w%-])([\w-]{0,80}%[\w%-]{0,80})=([^&]+)")


def hide_secrets(value: Any) -> Any:  # noqa: ANN401  # of a text it returns a text, of a dict a dict
    """Returns a copy of text, dicts and lists in which passwords and tokens inside URIs are starred.

    Three kinds are recognised: users and passwords before an "@", however they are written; named secrets in queries,
    in connection strings and in what Python or JSON writes; and both inside percent-encoded values, such as
    `odbc_connect`. Where in doubt, more is hidden.
    """
    if isinstance(value, dict):
        return {key: hide_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    if not isinstance(value, str):
        return value

    # Users and their passwords.
    if "@" in value:
        value = _URL.sub(_without_user, value)
        value = _URL_IN_TEXT.sub(_without_user, value)
        value = _WITHOUT_SCHEME.sub("***@", value)

    # Secrets by their names.
    if "%" in value:
        value = _ENCODED_PAIR.sub(_without_encoded_secret, value)
        value = _ENCODED_NAME.sub(_without_encoded_secret, value)
    value = _PAIR.sub(r"\1\2***", value)
    value = _ITEM.sub(r"\1'***'", value)
    return _HEADER.sub(r"\1***", value)


def _without_user(url: re.Match) -> str:
    """Returns a match of a URL with its user and password starred."""
    before, scheme, third_slash, _ = url.groups()
    if third_slash and scheme.startswith(_SCHEMES_OF_FILES):
        return url[0]  # a path, in which "@" is a letter
    return f"{before}{scheme}://***@"


def _without_encoded_secret(pair: re.Match) -> str:
    """Returns a match of "name=value", the value starred where decoding shows a secret."""
    name, value = pair.groups()
    return f"{name}=***" if _is_secret_when_decoded(name, value) else pair[0]


def _is_secret_when_decoded(name: str, value: str) -> bool:
    """Returns whether a pair holds a secret under any of its layers of percent-encoding."""
    for _ in range(MOST_LAYERS):
        decoded = unquote_plus(name), unquote_plus(value)
        if decoded == (name, value):
            return False
        name, value = decoded
        is_named = _PAIR.search(f"{name}={value}") is not None
        has_user = _URL_IN_TEXT.search(value) is not None or _WITHOUT_SCHEME.search(value) is not None
        if is_named or has_user:
            return True
    return True


def one_line(error: BaseException, most: int = 300) -> str:
    """Returns an error's message, or its class where it has none, on one line and without secrets.

    Args:
        error: The error.
        most: Characters, beyond which the middle is left out.
    """
    message = hide_secrets(str(error)).strip() or type(error).__name__
    first_line = message.splitlines()[0]
    return shorten(printable(first_line), most)
