# Every target builds .venv by itself where it is missing or older than the lock; only python3 is needed.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/python -m uv
READY := .venv/.ready
WORKERS ?= 2
# A process per core with one thread each is twice as fast as one process with all threads.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
BENCH := benchmarks/.venv

.PHONY: help demo test test-all bench bench-metrics bench-lock lint lock env clean

help:
	@sed -n 's/^## //p' Makefile

## make demo      train and evaluate on the embedded phantom cohort, and write the report
demo: $(READY)
	$(BIN)/medseg train experiment=demo id=demo
	$(BIN)/medseg evaluate run=runs/phantom/demo part=test

## make test      the test suite (under 20 minutes on 2 cores); WORKERS=8 on a larger machine
test: $(READY)
	$(PYTEST) -m "not slow"

## make test-all  the test suite and the long tests
test-all: $(READY)
	$(PYTEST)

## make bench     the patch queue beside nnU-Net's loader, MONAI and TorchIO (25 minutes on 2 quiet cores)
bench: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/patches.py

## make bench-metrics  Dice, HD95 and surface Dice beside MONAI, DeepMind and SimpleITK (5 minutes)
bench-metrics: $(BENCH)/.ready
	$(BENCH)/bin/python benchmarks/metrics.py

## make bench-lock  resolves the peers anew into benchmarks/requirements.txt, all else as in requirements.lock
bench-lock: .venv/.uv
	cp requirements.lock benchmarks/requirements.txt
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  -o benchmarks/requirements.txt pyproject.toml benchmarks/requirements.in

$(BENCH)/.ready: .venv/.uv benchmarks/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(UV) pip sync --quiet --require-hashes --python $(BENCH)/bin/python benchmarks/requirements.txt
	$(UV) pip install --quiet --no-deps --python $(BENCH)/bin/python --editable .
	touch $@

## make lint      ruff and mypy
lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

## make lock      resolves the dependencies anew into requirements.lock
lock: .venv/.uv
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra dev --upgrade -o requirements.lock pyproject.toml

## make env       builds .venv and nothing else
env: $(READY)

.venv/.uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

$(READY): .venv/.uv requirements.lock pyproject.toml
	$(UV) pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	$(UV) pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv $(BENCH) .mypy_cache .ruff_cache .pytest_cache .hypothesis
