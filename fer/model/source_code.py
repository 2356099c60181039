"""Hashes of source files: of what their code says, whatever its comments, docstrings and formatting."""

import ast
import hashlib
from typing import Any

_UNSPOKEN = ("ctx", "kind", "type_comment", "type_ignores")
"""Fields of a syntax tree that say nothing that its other fields do not say."""


def hash_bytes(source: bytes) -> str:
    """Returns a hash of a file's bytes, 128 hex digits."""
    return hashlib.blake2b(source).hexdigest()


def hash_code(source: bytes) -> str:
    """Returns a hash of a file's code, 128 hex digits; of its bytes where they are no Python that can be parsed.

    Code that differs in comments, docstrings, formatting and the quotes of texts alone has the same hash.
    """
    try:
        described = _describe(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return hash_bytes(source)
    return hash_bytes(described.encode(errors="surrogatepass"))


def _describe(node: Any) -> str:  # noqa: ANN401  a node of a tree, a list of nodes, or a value
    """Returns a syntax tree as text.

    Versions of Python differ in what `ast.dump` writes of empty fields, so these are left out.
    """
    if isinstance(node, list):
        return f"[{','.join(_describe(item) for item in node)}]"
    if isinstance(node, ast.Constant):
        return f"Constant({node.value!r})"
    if not isinstance(node, ast.AST):
        return repr(node)

    described = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = _without_docstring(value)
        if name not in _UNSPOKEN and value is not None and value != []:
            described.append(f"{name}={_describe(value)}")
    return f"{type(node).__name__}({','.join(described)})"


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """Returns the statements of a module, class or function without the text that they may begin with."""
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if is_text and isinstance(first.value.value, str):  # type: ignore[union-attr]
        return body[1:]
    return body
