# The targets here are what CI runs. Needed: Python 3.11+, a C++ compiler, Python's headers (hnswlib is built from source).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet

.DEFAULT_GOAL := help
.PHONY: help run test test-export lint lock audit fuzz chaos docs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

run: $(VENV)/run.stamp ## The demo: signups in, duplicate clusters out, no service needed
	$(BIN)/dedup demo

test: $(VENV)/dev.stamp ## Every test; those whose service is missing are skipped with the reason (in CI they fail)
	$(BIN)/pytest

test-export: $(VENV)-export/export.stamp ## The tests of `export/`, in an environment with torch (5 GB)
	$(VENV)-export/bin/python -m pytest tests/export

lint: $(VENV)/dev.stamp ## Rules, format, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock: $(VENV)/dev.stamp ## Resolve pyproject.toml again; `make lock UPGRADE=--upgrade` takes newer versions
	$(LOCK) $(UPGRADE) --extra demo -o requirements.lock
	$(LOCK) $(UPGRADE) --extra demo --extra evaluate --extra s3 --extra test --extra dev -c requirements.lock --no-annotate -o requirements-dev.lock
	$(LOCK) $(UPGRADE) --extra export --extra test -c requirements-dev.lock --no-annotate -o requirements-export.lock
	$(LOCK) $(UPGRADE) --extra s3 --extra loadtest --overrides deploy/docker/override-cpu.txt -c requirements-dev.lock --no-annotate -o deploy/docker/requirements-cpu.lock
	$(LOCK) $(UPGRADE) --extra s3 --extra loadtest --overrides deploy/docker/override-cuda.txt -c requirements-dev.lock --no-annotate -o deploy/docker/requirements-cuda.lock

audit: $(VENV)/dev.stamp ## Known vulnerabilities of the locked versions; `make audit AUDIT=--tolerant` where pypi.org is out of reach
	$(BIN)/python -m tests.audit $(AUDIT)

fuzz: $(VENV)/dev.stamp ## A million bad inputs; `make fuzz FUZZ='--seed 2 --inputs 5000'` for others
	$(BIN)/python -m tests.fuzz $(FUZZ)

chaos: $(VENV)/dev.stamp ## Half an hour of kills, failovers and cut networks; `make chaos CHAOS='--seed 2 --faults 20'` for less
	$(BIN)/python -m tests.chaos $(CHAOS)

docs: $(VENV)/dev.stamp ## Schemas, AsyncAPI, the settings table and the chart's values schema, from the code
	$(BIN)/python -m consumer.schemas docs
	$(BIN)/python -m tests.chart.values_schema

clean: ## Everything made here, the virtual environment included
	rm -rf $(VENV) $(VENV)-export .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find consumer export loadtest tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp is newer than what it was installed from, so a second `make` installs nothing.
$(VENV)/run.stamp: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) -r requirements.lock
	$(PIP_INSTALL) --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps -e .
	@touch $@

$(VENV)-export/export.stamp: requirements-export.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)-export
	$(VENV)-export/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-export.lock
	$(VENV)-export/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
