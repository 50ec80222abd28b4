# `make` alone lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests
# More processes than two cores: those with a Ray or a browser wait as long as they compute.
PARALLEL ?= -n 3 --dist worksteal

# Test processes share the cores, and every worker pins its own threads.
export OMP_NUM_THREADS ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0
# Data sets that some tests need; those tests say so when it is unset.
ifdef SWEEPER_DATA
export SWEEPER_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help demo test fast check bench docs clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Sweeper needs Python 3.11 or newer; try make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,check]'
	@touch $@

demo: $(STAMP) ## a batch-size sweep on digits, and its report (five minutes on two cores)
	@mkdir -p demo
	$(BIN)/sweeper launch batch_size --storage sqlite:///demo/sweeper.db --yes
	$(BIN)/sweeper report --storage sqlite:///demo/sweeper.db --out demo/report.html --force

test: $(STAMP) ## every test
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)

fast: $(STAMP) ## the tests without real Ray, kills and browsers
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' $(TESTS)

check: $(STAMP) ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP) ## the claims about speed, measured on this machine
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py

docs: $(STAMP) ## write docs/spec.md again from the models
	$(BIN)/python -c 'from pathlib import Path; from sweeper.spec import markdown; Path("docs/spec.md").write_text(markdown(), encoding="utf-8")'

clean: ## remove what the commands above made, the environment included
	rm -rf $(VENV) demo dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
