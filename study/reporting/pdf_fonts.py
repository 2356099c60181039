"""The fonts that matplotlib embeds into PDF, without what a finished drawing does not need of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from fontTools.subset import Options

_DROPPED = "_drop_tables_default"
"""A private part of fontTools: the tables that every subset of a font leaves out."""
_LAYOUT_TABLES = ("GSUB", "GPOS", "GDEF")
"""They say how letters are joined and moved. In a PDF each letter has its place already."""


@contextmanager
def without_layout_tables() -> Iterator[None]:
    """Leaves the layout tables out of fonts that are embedded meanwhile: reading them is most of writing a PDF.

    What a page shows stays as it is. Where fontTools has no such list any more, fonts keep their tables.
    """
    usual = getattr(Options, _DROPPED, None)
    if usual is None:
        yield
        return
    setattr(Options, _DROPPED, [*usual, *_LAYOUT_TABLES])
    try:
        yield
    finally:
        setattr(Options, _DROPPED, usual)
