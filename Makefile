# Each target works as the first command after cloning: it makes what it needs in $(VENV) from a lock file.
VENV ?= .venv
PYTHON ?= python3
TEST_WORKERS ?= 2

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PY := $(VENV)/bin/python
# The commands in dvc.yaml say `python`: here that is the one of $(VENV).
IN_VENV := PATH="$(abspath $(VENV))/bin:$$PATH"

export DVC_NO_ANALYTICS := 1
export TOKENIZERS_PARALLELISM := false
# Eighty short processes a study: let Python keep their bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help repro recompute core test test-full bench lint scale graph analysis remote lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

repro: .bitlake/pulled ## compute the whole study from published embeddings (reruns only what changed)
	@$(PY) -m stages graph --check
	@$(IN_VENV) python -m dvc repro

recompute: $(VENV)/.installed-encode ## compute everything anew, from the texts, and compare it with the last commit
	@$(PY) -m stages graph --check
	@$(IN_VENV) python -m dvc repro --force
	@$(IN_VENV) lake diff HEAD
	@$(IN_VENV) python -m dvc metrics diff HEAD

core: .bitlake/pulled ## compute E1 to E8 alone, without further codecs, the cube and the report
	@$(PY) -m stages graph --check
	@$(IN_VENV) python -m dvc repro quality geometry correlate

test: $(VENV)/.installed-dev ## run the tests with reduced counts
	@$(IN_VENV) OMP_NUM_THREADS=1 python -m pytest -n $(TEST_WORKERS) --dist loadfile -rs

test-full: $(VENV)/.installed-dev ## run every test with full counts
	@$(IN_VENV) OMP_NUM_THREADS=1 BITLAKE_FULL=1 python -m pytest -n $(TEST_WORKERS) --dist loadfile -rs --timeout 1800

bench: $(VENV)/.installed-dev ## run the benchmark suites, each to report/benchmarks/<suite>.json
	@set -e; for suite in $(filter-out _%,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
	    echo "bench: $$suite"; $(IN_VENV) python -m benchmarks.$$suite; \
	done
	@$(MAKE) scale

scale: $(VENV)/.installed-dev ## write the tables of docs/scale.md from what make bench measured
	@$(IN_VENV) python -m benchmarks._scale

lint: $(VENV)/.installed-dev ## check style, formatting, types and imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-logo

graph: $(VENV)/.installed-analysis ## write the cells of params.yaml into dvc.yaml
	@$(PY) -m stages graph

analysis: $(VENV)/.installed-analysis ## install what pulling and analysing need (no torch)
	@echo "ready: $(PY)"

remote: $(VENV)/.installed-analysis ## rewrite remote/, what a fresh clone pulls, from the computed study
	@$(IN_VENV) lake publish --remote shipped

lock: $(VENV)/.installed-dev ## rewrite requirements/*.txt from what the environment holds
	@$(PY) requirements/lock.py

clean: ## remove the environment, staging and caches (artifacts stay)
	rm -rf .venv .bitlake .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Once a clone: from then on, what is here may be ahead of what was published.
.bitlake/pulled: | $(VENV)/.installed-encode
	@$(IN_VENV) lake pull || echo "Nothing is pulled: everything is computed."
	@mkdir -p $(@D) && touch $@

# A lock file includes the one before it: a stamp depends on all it installs, and installing it settles those before.
analysis_chain := analysis
encode_chain := encode analysis
dev_chain := dev encode analysis
$(VENV)/.installed-analysis: $(analysis_chain:%=requirements/%.txt)
$(VENV)/.installed-encode: $(encode_chain:%=requirements/%.txt)
$(VENV)/.installed-dev: $(dev_chain:%=requirements/%.txt)
$(VENV)/.installed-%: | $(VENV)/.created
	@echo "Installing requirements/$*.txt into $(VENV): some minutes the first time, seconds later."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-input -r requirements/$*.txt
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps --editable .
	@touch $($*_chain:%=$(VENV)/.installed-%)

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on PATH; Bitlake needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: Bitlake needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())');" \
	        "name another, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
