# Everything that a checkout needs, with only Python, its venv module and make:
#   make demo       sets up and runs the main job against the embedded emulator
#   make test       sets up and runs the whole suite, lint, types and architecture included
#   make test-real  runs one scenario against servers that nobody here wrote, installed from the package registry
#   make fuzz       attacks the readers of manifests, settings and plans for 5 minutes (FUZZ_SECONDS)
#   make mutants    changes the pure core in some 1,900 places, one at a time, and counts which changes no test notices
#   make bench      measures speed and memory side by side with bare loops, for some 10 minutes (ONLY=plan,validate: a part)
#   make clean      removes what these made

# The first of these that is new enough and can make a virtual environment; PYTHON=... names another.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
COMPLETE := import venv, ensurepip
# One line that says which Python this is; inside a virtual environment, the one that the environment was made from.
IDENTITY := import os, sys; print(os.path.realpath(sys._base_executable), sys.version.split()[0])

ifndef PYTHON
PYTHON := $(shell for name in $(CANDIDATES); do \
  $$name -c '$(COMPLETE); $(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$name; break; }; done)
endif

VENV := .venv
BIN := $(VENV)/bin
# The servers that `make test-real` starts; tests/real/ says which versions.
REAL := smg agentic-api

.PHONY: demo test test-real fuzz mutants bench check-python clean FORCE

demo: $(VENV)/runs
	@$(BIN)/python -m reconciler demo

test: $(VENV)/tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n 4 --dist worksteal --cov --cov-report=term

test-real: $(VENV)/tests $(REAL:%=$(VENV)/real/%/installed)
	$(BIN)/python -m pytest -n 2 tests/real

fuzz: $(VENV)/tests
	@PYTHONPATH=tests $(BIN)/python -m fuzz

mutants: $(VENV)/mutants
	@PYTHONPATH=tests $(BIN)/python -m mutants $(MODULES)

bench: $(VENV)/bench
	@PYTHONPATH=tests $(BIN)/python -m bench $(ONLY)

$(VENV)/runs: pyproject.toml $(VENV)/made-with
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/tests: pyproject.toml $(VENV)/runs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/mutants: pyproject.toml $(VENV)/tests
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	@touch $@

$(VENV)/bench: pyproject.toml $(VENV)/tests
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# Each in an environment of its own: what a server needs is no concern of ours. Ready wheels only: both are compiled.
$(VENV)/real/%/installed: tests/real/%.txt $(VENV)/made-with
	@rm -rf $(@D) && $(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --requirement $< || { \
	  echo "$* cannot be installed for `$(BIN)/python -V` on `uname -sm`, in the versions of $<; what pip said is above." >&2; \
	  echo "Where no wheel fits this Python, name another one: make PYTHON=/path/to/python3.12 test-real" >&2; exit 1; }
	@touch $@

# Looked at every time, written only with a new environment: where the old one does not run, was made with another Python,
# or for another folder (an editable installation names it).
$(VENV)/made-with: FORCE | check-python
	@python=`"$(PYTHON)" -c '$(IDENTITY)'`; made="$$python for $(CURDIR)"; \
	if [ "$$made" != "`cat $@ 2>/dev/null`" ] || ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
	  rm -rf $(VENV) && "$${python% *}" -m venv $(VENV) && echo "$$made" >$@; fi

check-python:
	@if [ -z "$(PYTHON)" ]; then \
	  for name in $(CANDIDATES); do if $$name -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then \
	    echo "$$name is new enough, but lacks what makes virtual environments (venv, ensurepip)." >&2; \
	    echo "On Debian and Ubuntu install the package python3-venv." >&2; exit 1; fi; done; \
	  echo "reconciler needs Python 3.11 or later, and none was found among: $(CANDIDATES)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; fi
	@"$(PYTHON)" -c '' || { echo "$(PYTHON) cannot be run; name another one: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
	  echo "reconciler needs Python 3.11 or later; $(PYTHON) is `"$(PYTHON)" -V 2>&1`." >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@"$(PYTHON)" -c '$(COMPLETE)' 2>/dev/null || { \
	  echo "$(PYTHON) lacks what makes virtual environments (venv, ensurepip)." >&2; \
	  echo "On Debian and Ubuntu install the package python3-venv." >&2; exit 1; }

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
