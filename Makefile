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

# A process a core, each with one thread; a file's tests share one, as they share what they prepare.
# One that ended (a test waited for ever, or crashed) is not replaced: it would be given the same test again.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0

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
