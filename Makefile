PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two threads beside another job run slower than one; the tests train small networks.
export OMP_NUM_THREADS ?= 2

.PHONY: install demo test check bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

demo: install
	$(BIN)/fms-hub demo

test: install
	$(BIN)/python -m pytest -q

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m training.benchmarks.overhead
	$(BIN)/python -m training.benchmarks.against_random

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
