# make demo: train a network by reordering its random weights.  make test: everything CI runs.
# Both make the environment they need, with nothing but Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test format readme clean

demo: $(VENV)/lab
	$(BIN)/laperm train

test: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m build --wheel
	$(BIN)/python -m pytest -n auto

format: $(VENV)/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tables of results in README.md and docs/, from the files in benchmarks/results and results.
readme: $(VENV)/dev
	$(BIN)/python benchmarks/readme.py

clean:
	rm -rf $(VENV) dist

$(VENV)/lab: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[lab]"
	touch $@

$(VENV)/dev: $(VENV)/lab
	$(BIN)/python -m pip install --quiet --editable ".[lab,dev]"
	touch $@
