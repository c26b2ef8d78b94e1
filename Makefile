# What a person or a pipeline runs here. Needs Python >= 3.11, make and a package registry; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
# One more than the cores of a small machine: tests that wait for a program or a clock leave theirs to others.
WORKERS ?= 3
# Nothing of `full` waits.
FULL_WORKERS ?= 2
# What `make test` does not run it need not collect: there are thousands of tests of rights.
HERE := -m "not soak and not e2e and not chaos and not denied" $(addprefix --ignore=tests/,soak e2e chaos test_denied.py)
BIN := .venv/bin
STAMP := .venv/.set-up
# The function's runtime is the version of the interpreter that packages: the newest one where it is there.
PACKAGE_PYTHON ?= $(shell python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(BIN)/python)
PACKAGE_STAMP := build/venv/.set-up
AUDIT_STAMP := build/audit-venv/.set-up
E2E_STAMP := build/e2e-venv/.set-up

export UV_PYTHON_DOWNLOADS := never
# Empty is unset: without bytecode every worker, and every program that a test starts, compiles all it imports anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup run test full lint style types size bench package release e2e denied audit chaos soak pins clean

help:
	@echo "make setup    install everything into .venv"
	@echo "make run      set up, start the local stack on 127.0.0.1:8000, play the demo, keep serving"
	@echo "make test     set up, lint, check types, run every test, with a part of the random runs; SEED="
	@echo "make full     the tests of which make test does a part, with all their runs; SEED="
	@echo "make lint     ruff and mypy, and the size of it all against the budgets in pyproject.toml"
	@echo "make bench    measure what is claimed: units, calls, ratios"
	@echo "make package  build and check the bundle and its CloudFormation template in build/package, twice: they must be equal"
	@echo "make release  build wheel, bundle, template, SBOM and checksums of a clean commit in build/release"
	@echo "make e2e      the packaged artefact deployed in a local AWS, and under Lambda's own runtime client"
	@echo "make denied   every function has exactly the rights it uses, and each of them taken away once is missed aloud; no secret is told meanwhile"
	@echo "make audit    known vulnerabilities of what we depend on, static rules on code and template; what is SKIPPED is not clean"
	@echo "make chaos    5,000 events in bad weather, and what an event costs while the table grows; SEED=, EVENTS="
	@echo "make soak     the long property runs"
	@echo "make pins     compile every requirements file"

setup: $(STAMP)

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted && !/^ *#/' requirements-dev.txt > .venv/uv.txt
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	$(BIN)/lazaretto run

# mypy and the walks of the sizes keep one core busy: beside the tests, which wait now and then. What they say comes last.
test: style
	@mkdir -p build
	@$(MAKE) --no-print-directory types size > build/lint.log 2>&1 & beside=$$!; trap "kill $$beside 2> /dev/null || true" EXIT; \
	failed=0; \
	$(BIN)/python -m pytest $(HERE) -n $(WORKERS) --dist worksteal || failed=$$?; \
	wait $$beside || failed=$$?; \
	cat build/lint.log; \
	exit $$failed

full: setup
	timeout --foreground 900 $(BIN)/python -m pytest -m "sampled and not soak" --hypothesis-profile=ci -n $(FULL_WORKERS) --dist worksteal

lint: style types size

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy --strict chalicelib app.py

size: setup
	$(BIN)/python -m bench.size

bench: setup
	$(BIN)/python -m bench.measure

package: setup $(PACKAGE_STAMP)
	$(BIN)/python -m chalicelib.build.package --python build/venv/bin/python --prove

# The stage of a released template is prod, unless LAZARETTO_STAGE says otherwise.
release: setup
	$(BIN)/python -m chalicelib.build.release --check
	LAZARETTO_STAGE=$${LAZARETTO_STAGE:-prod} $(MAKE) package
	$(BIN)/python -m chalicelib.build.release

# Chalice imports app.py: so it and what the bundle needs, in an interpreter of its own, from the same pins and hashes.
$(PACKAGE_STAMP): $(STAMP) requirements.txt
	@rm -rf build/venv && mkdir -p build
	$(PACKAGE_PYTHON) -m venv --without-pip build/venv
	$(BIN)/uv pip install --quiet --python build/venv/bin/python --require-hashes --constraints requirements-dev.txt -r requirements.txt $$(grep -oE "^(boto3|chalice)==[^ ]+" requirements-dev.txt)
	@touch $@

e2e: package $(E2E_STAMP)
	timeout --foreground 600 $(BIN)/python -m pytest -m e2e tests/e2e --durations=10

# ministack runs the functions by its own interpreter: the one that they were packaged for.
$(E2E_STAMP): $(PACKAGE_STAMP) tests/e2e/requirements-ministack.txt tests/e2e/requirements-awslambdaric.txt
	@rm -rf build/e2e-venv build/e2e-ric
	$(PACKAGE_PYTHON) -m venv --without-pip build/e2e-venv
	$(BIN)/uv pip install --quiet --python build/e2e-venv/bin/python --require-hashes -r tests/e2e/requirements-ministack.txt
	$(BIN)/uv pip install --quiet --python build/venv/bin/python --target build/e2e-ric --require-hashes -r tests/e2e/requirements-awslambdaric.txt
	@touch $@

denied: setup
	timeout --foreground 900 $(BIN)/python -m pytest -m denied tests/test_permissions.py tests/test_denied.py \
	  tests/test_secrets_stay_secret.py --durations=3

audit: setup $(AUDIT_STAMP)
	$(BIN)/python -m tests.audit.run

$(AUDIT_STAMP): $(STAMP) tests/audit/requirements.txt
	@rm -rf build/audit-venv && mkdir -p build
	$(BIN)/python -m venv --without-pip build/audit-venv
	$(BIN)/uv pip install --quiet --python build/audit-venv/bin/python --require-hashes -r tests/audit/requirements.txt
	@touch $@

chaos: setup
	timeout --foreground 900 $(BIN)/python -m tests.chaos.run $(addprefix --seed ,$(SEED)) $(addprefix --events ,$(EVENTS))
	timeout --foreground 600 $(BIN)/python -m pytest -m chaos -n 2 --dist worksteal tests/chaos

soak: setup
	LAZARETTO_SOAK=1 $(BIN)/python -m pytest -m soak --hypothesis-profile=ci -n $(WORKERS) --dist worksteal

pins: setup
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" --extra cli --group dev -o requirements-dev.txt
	echo "ministack[full]" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" -o tests/e2e/requirements-ministack.txt
	echo "awslambdaric" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" -o tests/e2e/requirements-awslambdaric.txt
	printf "bandit\ncheckov\npip-audit\n" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --custom-compile-command "make pins" -o tests/audit/requirements.txt

clean:
	rm -rf build .venv
