# Two commands for newcomers: `make demo` and `make test`. Everything else is in `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
# protoc looks for its plug-ins on the PATH.
PROTOS := PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python scripts/generate_protos.py
PIP := $(BIN)/python -m pip --disable-pip-version-check
# No test run takes longer than this; each test has a limit of its own (pyproject.toml).
TEST_SECONDS := 1500
COVERAGE_SECONDS := 3600
# Lines and branches of the product that the tests run, in percent: just below the last result, so that it falls only knowingly.
COVERAGE_PERCENT := 96
# Tests wait much of their time, so there are more processes than small machines have cores. Each has servers of its own;
# a module is never split, since its tests share processes. In the order of the folders the quick modules come last.
TEST_PROCESSES ?= 4
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help venv demo up test test-fast coverage faults fuzz plans test-outside lint audit licenses sbom secret-scan format wheel version proto baseline reference clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(DEV) ## Create .venv with everything that development needs

demo: $(RUNTIME) ## Run a demo storyboard through the whole system and write a gallery page
	@$(BIN)/python -m devstack.demo $(if $(WITH_ENV),--with-env)

up: $(RUNTIME) ## Run the whole system on fixed ports until Ctrl-C; TLS=1 lets the services speak mutual TLS
	@$(BIN)/python -m devstack.up $(if $(WITH_ENV),--with-env) $(if $(TLS),--tls)

test: lint ## Check everything, then run all tests on real Postgres and RabbitMQ
	$(BIN)/python -m pytest --session-timeout=$(TEST_SECONDS) -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder

test-fast: lint ## Check everything, then run the unit tests: no servers, about a minute
	$(BIN)/python -m pytest --session-timeout=$(TEST_SECONDS) -n 2 --dist loadscope tests/unit

coverage: $(DEV) ## Run all tests and print what of each package they do not run, in any process (about 40 minutes)
	$(BIN)/python scripts/measure_coverage.py --at-least $(COVERAGE_PERCENT) --session-timeout=$(COVERAGE_SECONDS) -n $(TEST_PROCESSES) --dist loadscope

faults: $(DEV) ## Inject one fault after the other under load; count jobs and charged calls (about 30 minutes)
	$(BIN)/python -m tests.faults.race --seconds 60
	$(BIN)/python -m tests.faults

fuzz: $(DEV) ## Send 50,000 hostile inputs to every way in; count endings, search for planted secrets (about 10 minutes)
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) --write docs/FUZZ.md

plans: $(DEV) ## Check query plans on tables of a million rows (make test uses 200,000)
	PLAN_ROWS=1000000 $(BIN)/python -m pytest tests/integration/test_plans.py tests/integration/test_history_plans.py

test-outside: $(DEV) ## Run the tests that need root or packages of the system: PostgreSQL 15, pgbouncer, TLS, older PGMQ, pg_cron
	$(BIN)/python -m pytest -o addopts="-ra --strict-markers --import-mode=importlib" tests/outside

lint: $(DEV) ## Check style, types, import rules, protos, migrations, shell scripts and generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@! git grep -nE '^\s*(from google\.genai|import google\.genai|from google import .*genai)' -- \
		superstoryboard services storyboard devstack ':!superstoryboard/providers' \
		|| { echo "google-genai is imported only under superstoryboard/providers"; exit 1; }
	$(PROTOS) --check
	$(BIN)/python scripts/generate_reference.py --check
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PROTOS) --descriptor-set "$$folder/protos.binpb" && \
	buf=$(abspath $(BIN))/buf && cd proto && \
	echo "buf lint" && "$$buf" lint "$$folder/protos.binpb" --path superstoryboard && \
	echo "buf breaking" && "$$buf" breaking "$$folder/protos.binpb" --against baseline.binpb --path superstoryboard
	$(BIN)/squawk migrations/*.sql
	$(BIN)/shellcheck .ci/run $$(git ls-files '*.sh')

audit: $(DEV) ## Ask a database about vulnerabilities of every locked package; DATABASE=URL names a mirror of OSV
	$(BIN)/python scripts/audit_packages.py $(if $(DATABASE),--database $(DATABASE))

licenses: $(DEV) ## List the licenses of all packages in the image; fails on one that nobody accepted
	$(BIN)/python scripts/list_licenses.py

sbom: $(DEV) ## Write what the image installs to dist/sbom.cdx.json (CycloneDX)
	$(BIN)/python scripts/make_sbom.py

secret-scan: $(DEV) ## Look for secrets in all files; HISTORY=1 in all commits too
	$(BIN)/python scripts/scan_secrets.py $(if $(HISTORY),--history)

format: $(DEV) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV) ## Generate superstoryboard/v1 from proto/
	$(PROTOS)

baseline: $(DEV) ## Save the current protos and migrations as the released ones (only at a release)
	$(PROTOS) --descriptor-set proto/baseline.binpb
	cd migrations && sha256sum *.sql > released.sha256

reference: $(DEV) ## Generate the pages of docs/reference from the code
	$(BIN)/python scripts/generate_reference.py

wheel: $(DEV) ## Build the wheel into dist/
	rm -rf build dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .

version: ## Set the version of the next release: make version VERSION=0.3.0
	@[[ "$(VERSION)" =~ ^[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "Say which: make version VERSION=0.3.0"; exit 1; }
	sed -i.old 's/^version = ".*"/version = "$(VERSION)"/' pyproject.toml && rm pyproject.toml.old
	sed -i.old 's/image: superstoryboard:.*/image: superstoryboard:$(VERSION)/' k8s/base/*.yaml && rm k8s/base/*.old

clean: ## Remove .venv, caches and the state of `make up` and `make demo`
	rm -rf $(VENV) .devstack .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which one: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "This Python cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements/runtime.txt pyproject.toml setup.py | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/runtime.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml setup.py | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(RUNTIME)
