# make demo: train a network by reordering its random weights.  make test: what CI runs first.  make help: all targets.
# Each makes the environment it needs, with nothing but Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile
CORE = $(addprefix tests/,sync/test_reconnect.py test_transform.py test_error_feedback.py test_state.py test_redraw.py \
  test_optax_interop.py test_odd_trees.py test_inner.py)

.PHONY: help demo test newest nightly tpu docs newcomer format readme clean

help:  ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/lab  ## train a small network on scikit-learn's digits, in seconds
	$(BIN)/laperm train

test: $(VENV)/dev  ## lint, types by two checkers, wheel, and the tests: the core on one device, the rest on eight
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyrefly check
	$(BIN)/python -m build --wheel --outdir $(VENV)/dist
	LAPERM_TEST_DEVICES=1 $(PYTEST) $(CORE)
	$(PYTEST) $(CORE:%=--ignore=%)

newest: $(VENV)/dev  ## the tests on eight devices, with their coverage: make newest PYTHON=python3.13 VENV=.venv-newest
	$(PYTEST) --cov --cov-report=term

nightly: $(VENV)/dev $(VENV)/docs  ## what takes too long for every run: the core on eight devices and without its kernel, kills, full disks, every placement
	$(PYTEST) $(CORE)
	LAPERM_NATIVE=0 LAPERM_TEST_DEVICES=1 $(PYTEST) $(CORE)
	$(PYTEST) -m nightly --hypothesis-profile nightly

tpu: $(VENV)/dev  ## compile training steps for TPUs, on this machine, and count what the compiler made
	$(BIN)/python -m pip install --quiet "jax[tpu]"
	JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 $(BIN)/python benchmarks/tpu.py

docs: $(VENV)/docs  ## the site, into site/
	$(BIN)/zensical build --clean --strict

newcomer:  ## what a newcomer does: a clone, and every command and block of README and Quick start, with the minutes of each
	$(PYTHON) benchmarks/newcomer.py

format: $(VENV)/dev  ## format, and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

readme: $(VENV)/dev  ## tables of results in README.md and docs/, from the committed results
	$(BIN)/python benchmarks/readme.py

clean:  ## remove environments and builds
	rm -rf $(VENV) .venv-newest dist site .coverage

$(VENV)/lab: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[lab]"
	touch $@

$(VENV)/dev: $(VENV)/lab
	$(BIN)/python -m pip install --quiet --editable ".[lab,dev]"
	touch $@

$(VENV)/docs: $(VENV)/lab
	$(BIN)/python -m pip install --quiet --editable ".[lab,docs]"
	touch $@
