# Everything a person or CI runs here. Needs GNU make (3.81 is enough) and Python 3.11 to 3.14; `make` lists the targets.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000
# Which Python to make the environment from; empty looks for one.
PYTHON ?=
# Set to install the clients that take long, too.
HEAVY ?=

.PHONY: help setup demo test test-slow fuzz families check fix bench docs lock build clean

help:
	@echo "make setup      make the environment in $(VENV)/"
	@echo "make demo       serve the bundled model on 127.0.0.1:$(PORT) and ask it a question (PORT= changes it)"
	@echo "make test       run the tests"
	@echo "make test-slow  run the proofs that take long"
	@echo "make fuzz       send made-up requests to every route (installs schemathesis in $(VENV)-fuzz/)"
	@echo "make test-clients  install real clients into build/clients/ and let each do a task (HEAVY=1: Open WebUI too)"
	@echo "make families   prove every family of mlx-lm and record that"
	@echo "make check      lint, format, types, import contracts, generated docs"
	@echo "make fix        let the linter and the formatter mend what they can"
	@echo "make bench      measure a server on this machine"
	@echo "make docs       write the generated docs again"
	@echo "make lock       resolve requirements/ again (needs uv)"
	@echo "make build      build the wheel and the source archive into dist/"

setup: $(READY)

$(READY): requirements/dev.txt pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" sh tools/setup.sh $(VENV)

demo: $(READY)
	@$(BIN)/python -m tools.demo --port $(PORT)

test: $(READY)
	@$(BIN)/python -m pytest -q -m "not slow" -n 2

test-slow: $(READY)
	@$(BIN)/python -m pytest -q -m slow -o faulthandler_timeout=3600

fuzz: $(READY)
	@sh tools/fuzz.sh $(VENV) $(VENV)-fuzz

test-clients: $(READY)
	@HEAVY=$(HEAVY) $(BIN)/python -m pytest -q tests/clients -o faulthandler_timeout=3600

families: $(READY)
	@$(BIN)/python -m tools.families

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.docs --check

fix: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)
	@$(BIN)/python -m benchmarks.concurrency

docs: $(READY)
	@$(BIN)/python -m tools.docs

lock:
	@sh tools/lock.sh

build: $(READY)
	@$(BIN)/python -m build --no-isolation

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
