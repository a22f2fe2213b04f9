# Everything here needs python3 >= 3.11, pip and make, and nothing else. Another interpreter: PYTHON=python3.12 make setup

PYTHON ?= python3
BIN    := .venv/bin
STAMP  := .venv/.set-up

.DEFAULT_GOAL := help
# One more than there are cores, since some tests wait for processes of their own.
WORKERS = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: help setup demo test check fix bench bench-gates soak lock clean FORCE

help:     ## list these targets
	@sed -n 's/^\([a-z-]*\): .*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMP)  ## make .venv from requirements.lock, the project itself installed editable

demo: setup   ## a monolith gets a fan-out in shadow, ramps up, breaks and rolls back by itself (one minute)
	$(BIN)/rollout demo

test: setup   ## the test suite, in less than five minutes
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: setup  ## formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

fix: setup    ## let ruff repair formatting and what lint it can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: setup  ## the benchmarks but those of the gates, as ratios measured in one run
	$(BIN)/pytest -m bench -s tests/bench --ignore=tests/bench/gates

bench-gates: setup  ## what the gates promise: error bounds, delays, costs (a quarter of an hour)
	$(BIN)/pytest -m bench -s tests/bench/gates

soak: setup   ## the tests that take long
	$(BIN)/pytest -m soak

lock:     ## pin the newest releases that pyproject.toml allows (needs uv); the file records no address
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-header --no-annotate \
	    --upgrade --output-file requirements.lock

clean:    ## remove what these targets made
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

# An interpreter that was asked for by name and is not the one of the .venv: make the .venv anew.
VERSION = $(shell $(1) -c 'import sys; print(*sys.version_info)' 2>&1)
ifneq ($(origin PYTHON),file)
ifneq ($(call VERSION,$(PYTHON)),$(call VERSION,$(BIN)/python))
$(STAMP): FORCE
endif
endif

# Debian's python3 comes without ensurepip unless python3-venv is installed: then its pip installs into the .venv from outside.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make setup needs Python 3.11 or later, and $(PYTHON) is %d.%d: PYTHON=python3.12 make setup" % sys.version_info[:2])'
	@echo "Setting up .venv from requirements.lock: about a minute, once."
	@$(if $(filter FORCE,$^),rm -rf .venv)
	@$(BIN)/python -c pass 2>/dev/null || $(PYTHON) -m venv --clear .venv >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip .venv
	@pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	$$pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock && \
	$$pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
