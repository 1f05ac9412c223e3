# `make demo` and `make test` need nothing but Python 3.11 or newer: they build .venv by themselves.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
BENCH := .venv-bench/bin
# -qq: errors only, so that an error is the only thing to read
PIP_INSTALL := -m pip install -qq --disable-pip-version-check --no-input

# Two processes. While they wait, OpenMP's threads would spin, and everything else beside them take six times as long
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=50 --durations-min=1

.DEFAULT_GOAL := help
.PHONY: help demo test bounds check fix bench clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spikeloom needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Pass another: make PYTHON=/path/to/python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing spikeloom and its tools into .venv (the first time takes a few minutes)"
	@$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

.venv-bench/.installed: pyproject.toml constraints.txt benchmarks/requirements-peers.txt
	@test -x $(BENCH)/python || $(PYTHON) -m venv .venv-bench
	@echo "Installing spikeloom and the peers into .venv-bench (the first time takes a few minutes)"
	@$(BENCH)/python $(PIP_INSTALL) -c constraints.txt -e .
	@$(BENCH)/python $(PIP_INSTALL) --no-deps -r benchmarks/requirements-peers.txt
	@touch $@

demo: .venv/.installed ## train a spiking network that remembers; ends with the report and the figures
	@$(BIN)/spikeloom train store_recall --preset quick | tee .venv/demo.log
	@run=$$(tail -n 1 .venv/demo.log) && test -f "$$run/report.html" && \
		{ echo; echo "report:  $$run/report.html"; for figure in "$$run"/figures/*.png; do echo "figure:  $$figure"; done; }

test: .venv/.installed ## all tests but those that need peers, a GPU or the network
	$(PYTEST) --cov --cov-report= -m "not peers and not gpu and not network"
	@echo; echo "Coverage by folder"; $(BIN)/python -m coverage json -q -o - | $(BIN)/python -m tests.coverage_by_folder

# Folders whose tests run compiled loops; the others only repeat what these do
LOOPS := $(addprefix tests/,contracts encoding golden hostile kernels layers neurons rules papers/diehl_cook papers/hebbian_memory data/test_spike_trains.py)

bounds: .venv/.installed ## the quick tests of the compiled loops, every index checked by Numba
	NUMBA_BOUNDSCHECK=1 $(PYTEST) -m "not peers and not gpu and not network and (listed or not slow)" $(LOOPS)

check: .venv/.installed ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

fix: .venv/.installed ## let ruff mend and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv-bench/.installed ## measure every claim beside its peers and rewrite the README's tables
	$(BENCH)/python -m benchmarks.run_all
	$(BENCH)/python -m benchmarks.tables

clean: ## remove the environments and caches, keep runs and results
	rm -rf .venv .venv-bench .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
