# The project's commands. Each sets up by itself what it needs; `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-alerts bench-jobs torture compose-test lock docs rules dashboards clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.installed ## the whole stack on generated data, until Ctrl-C (ARGS=--check: verify and exit)
	@$(BIN)/python -m scripts.dev.demo $(ARGS)

test: $(VENV)/.installed ## all tests, on real servers
	@$(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder $(ARGS)

torture: $(VENV)/.installed ## corrupt backups and kill jobs, hundreds of times; says what was found
	@$(BIN)/python -m pytest tests/scripts -q -n 2 --dist loadscope -m torture $(ARGS)

check: $(VENV)/.installed ## lint, format and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.installed ## apply the formatter and the safe fixes
	@$(BIN)/ruff check --fix-only . ; $(BIN)/ruff format .

bench: $(VENV)/.installed ## measure against the naive queries and query-exporter (ARGS="--audit-rows 10000000")
	@$(BIN)/python -m scripts.dev.bench $(ARGS)

bench-jobs: $(VENV)/.installed ## measure backup and archive against the shell pipelines that they replace
	@$(BIN)/python -m scripts.dev.bench.jobs $(ARGS)

bench-alerts: $(VENV)/.installed ## measure how long it takes from a fault to its notification, with the shipped intervals
	@$(BIN)/python -m scripts.dev.bench_alerts $(ARGS)

docs: $(VENV)/.installed ## regenerate the pages in docs/ that are made from code
	@$(BIN)/python -m scripts.dev.docs

rules: $(VENV)/.installed ## regenerate prometheus/rules/ from scripts/alerting
	@$(BIN)/python -m scripts.alerting.rules

dashboards: $(VENV)/.installed ## regenerate grafana/dashboards/ from grafana/boards/
	@$(BIN)/python -m grafana.generate

compose-test: $(VENV)/.installed ## docker-compose brought up for real, where Docker runs
	@TMPDIR=$${TMPDIR:-/tmp} $(BIN)/python -m pytest tests/compose -m compose $(ARGS)

lock: $(VENV)/.installed ## resolve the dependencies anew into the lock files
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	@printf 'query-exporter\npsycopg2-binary\n' | $(BIN)/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade -o scripts/dev/bench-requirements.lock

clean: ## remove the virtual environment and the caches
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
