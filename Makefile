# Everything that a checkout needs, with only Python, its venv module and make:
#   make demo     sets up and runs the main job against the embedded emulator
#   make test     sets up and runs the whole suite, lint, types and architecture included
#   make clean    removes what the two made

# The first of these that is new enough; PYTHON=... names another.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check-python clean

demo: $(VENV)/runs
	@$(BIN)/reconciler demo

test: $(VENV)/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --cov --cov-report=term

$(VENV)/runs: pyproject.toml | check-python
	@"$(PYTHON)" -m venv $(VENV) || { \
	  echo "Python has no working venv module; on Debian and Ubuntu install the package python3-venv." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tests: pyproject.toml $(VENV)/runs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check-python:
	@if [ -z "$(PYTHON)" ]; then \
	  echo "reconciler needs Python 3.11 or later, and none was found among: $(CANDIDATES)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "reconciler needs Python 3.11 or later; $(PYTHON) is `"$(PYTHON)" -V 2>&1`." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
