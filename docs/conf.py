"""The documentation site: `make docs`, strictly, in continuous integration too."""

from importlib.metadata import version as installed_version

from sphinx.application import Sphinx

project = "memory-integrity"
author = "The memory-integrity developers"
copyright = "2026, the memory-integrity developers"
release = installed_version("memory-integrity")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
exclude_patterns = ["_build", "house.md", "networks.md", "search.md", "users.md"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"
smartquotes = False

html_theme = "furo"
html_title = "memory-integrity"
html_show_sourcelink = False


# Links that are right in the repository, and what they are on the site.
LINKS = {
    "](../CONTRIBUTING.md": "](contributing.md",
    "](../benchmarks/README.md": "](benchmarks.md",
    "](../README.md": "](index.md",
    "](docs/": "](",
    "](benchmarks/README.md": "](benchmarks.md",
}


def translate_links(app: Sphinx, *about: object) -> None:
    """Replaces links of a page, or of a file that it includes; the last argument is a list with the page's text."""
    content = about[-1]
    assert isinstance(content, list), "as Sphinx hands it over, to be changed"
    for written, meant in LINKS.items():
        content[0] = content[0].replace(written, meant)


def setup(app: Sphinx) -> None:
    """Registers what is done with every page."""
    app.connect("source-read", translate_links)
    app.connect("include-read", translate_links)
