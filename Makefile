# Two commands from nothing: `make study` runs the main job, `make test` the tests. Both make .venv first.
PYTHON ?= python3
TARGET ?= tfeid
TRIALS ?= 200
STUDY_ARGS ?=
INSTALLED := .venv/.installed

.PHONY: study test check audit docs
study: $(INSTALLED)
	.venv/bin/python -m study.run --target $(TARGET) --trials $(TRIALS) $(STUDY_ARGS)

test: $(INSTALLED)
	.venv/bin/python -m pytest

check: $(INSTALLED)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

# Known vulnerabilities of what is installed; says "not audited" where no database on the internet answers.
audit: $(INSTALLED)
	.venv/bin/python .ci/audit.py

# The documentation as a site, docs/_build/index.html.
docs: $(INSTALLED)
	.venv/bin/python -m pip install --quiet --editable '.[docs]'
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[test]'
	touch $(INSTALLED)
