# What a person or a pipeline runs here. Needs Python >= 3.11, make and a package registry; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# One more than two cores: some tests wait for a server or a clock most of their time.
WORKERS ?= 3
BIN := .venv/bin
STAMP := .venv/.set-up
# The function's runtime is the version of the interpreter that packages: the newest one where it is there.
PACKAGE_PYTHON ?= $(shell python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(BIN)/python)
PACKAGE_STAMP := build/venv/.set-up

export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup run test lint types bench package soak pins clean

help:
	@echo "make setup    install everything into .venv"
	@echo "make run      set up, start the local stack on 127.0.0.1:8000, play the demo, keep serving"
	@echo "make test     set up, lint, check types, run every test"
	@echo "make lint     ruff and mypy"
	@echo "make bench    measure what is claimed: units, calls, ratios"
	@echo "make package  build and check the bundle and its CloudFormation template in build/package"
	@echo "make soak     the long property runs"
	@echo "make pins     compile requirements.txt and requirements-dev.txt from pyproject.toml"

setup: $(STAMP)

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted && !/^ *#/' requirements-dev.txt > .venv/uv.txt
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	$(BIN)/lazaretto run

test: lint
	$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict chalicelib app.py

types: setup
	$(BIN)/mypy --strict chalicelib app.py

bench: setup
	$(BIN)/python -m bench.measure

package: setup $(PACKAGE_STAMP)
	$(BIN)/python -m chalicelib.cli.package --python build/venv/bin/python

# Chalice imports app.py: so it and what the bundle needs, in an interpreter of its own, from the same pins and hashes.
$(PACKAGE_STAMP): $(STAMP) requirements.txt
	@rm -rf build/venv && mkdir -p build
	$(PACKAGE_PYTHON) -m venv --without-pip build/venv
	$(BIN)/uv pip install --quiet --python build/venv/bin/python --require-hashes --constraints requirements-dev.txt -r requirements.txt $$(grep -oE "^(boto3|chalice)==[^ ]+" requirements-dev.txt)
	@touch $@

soak: setup
	LAZARETTO_SOAK=1 $(BIN)/python -m pytest -m soak -n $(WORKERS) --dist worksteal

pins: setup
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" --extra cli --group dev -o requirements-dev.txt

clean:
	rm -rf build .venv
