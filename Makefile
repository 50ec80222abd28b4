# `make` alone lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Or constraints-lowest.txt; or /dev/null: the newest version of each dependency.
CONSTRAINTS ?= constraints.txt
TESTS ?= tests
DRAWN := analysis/test_coverage analysis/test_real_noise analysis/test_stopping \
  topics/test_critical_batch_size topics/test_screening topics/test_subset_variance \
  topics/test_tuning_curve topics/test_variance_sources
# auto: two processes more than there are cores (tests/conftest.py).
PARALLEL ?= -n auto --dist worksteal

# Compiled files are kept: without them each of many processes compiles all of the code again.
unexport PYTHONDONTWRITEBYTECODE
# Test processes share the cores, and every worker pins its own threads.
export OMP_NUM_THREADS ?= 1
export RAY_USAGE_STATS_ENABLED ?= 0
# Data sets that some tests need; those tests say so when it is unset.
ifdef SWEEPER_DATA
export SWEEPER_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help demo serve test soak fast check audit bench docs site clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit("Sweeper needs Python 3.11 or newer; try make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[test,check]'
	@touch $@

demo: $(STAMP) ## a batch-size sweep on digits, and its report (five minutes on two cores)
	@mkdir -p demo
	$(BIN)/sweeper launch batch_size --storage sqlite:///demo/sweeper.db --yes
	$(BIN)/sweeper report --storage sqlite:///demo/sweeper.db --out demo/report.html --force

serve: $(STAMP) ## the service on this machine, with SQLite, and its page: submit from another shell
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[service]'
	@mkdir -p service
	$(BIN)/sweeper serve --storage sqlite:///service/sweeper.db --folder service --dashboard 8091 --open

test: $(STAMP) ## every test but those of soak (at most fifteen minutes on two cores)
	$(BIN)/python -m pytest $(PARALLEL) $(TESTS)

soak: $(STAMP) ## the long tests: more kills, more seeds, new examples
	$(BIN)/python -m pytest $(PARALLEL) -m 'soak or hypothesis' --hypothesis-profile=new $(TESTS)
	COVERAGE_DRAWS=4000 $(BIN)/python -m pytest $(PARALLEL) $(DRAWN:%=tests/%.py)

fast: $(STAMP) ## the quick tests (under a minute on two cores), and which ten were slowest
	$(BIN)/python -m pytest $(PARALLEL) -q --durations=10 -m 'not slow and not soak' $(TESTS)

check: $(STAMP) ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pyright -p tests
	$(BIN)/lint-imports

audit: $(STAMP) ## secrets in the files, and known holes in what is pinned (asks the advisory service)
	.ci/secrets
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) 'pip-audit>=2.9'
	$(BIN)/pip-audit --strict --progress-spinner off --no-deps --disable-pip -r constraints.txt

bench: $(STAMP) ## the claims about speed, measured on this machine
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[bench]'
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/trainer.py
	$(BIN)/python benchmarks/packs.py
	$(BIN)/python benchmarks/threads.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/pruning.py

docs: $(STAMP) ## write again what is made from the code: references, docs/science, lowest constraints
	$(BIN)/python -c 'from pathlib import Path; from sweeper.spec import markdown; Path("docs/spec.md").write_text(markdown(), encoding="utf-8")'
	$(BIN)/python -c 'from pathlib import Path; from sweeper.cli.reference import markdown; Path("docs/cli.md").write_text(markdown(), encoding="utf-8")'
	.ci/lowest > constraints-lowest.txt
	$(BIN)/python .ci/pages

site: $(STAMP) ## build the documents as a web site in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	rm -rf build/site
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site -d build/site-cache . build/site
	@echo build/site/index.html

clean: ## remove what the commands above made, the environment included
	rm -rf $(VENV) demo dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
