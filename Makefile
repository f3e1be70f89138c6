# Everything a fresh machine needs is installed by these targets: Python packages from the lock into .venv, tools into
# ~/.cache/rollout, Debian's prometheus through apt where there is none on the PATH.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
CACHE ?= $(or $(ROLLOUT_CACHE),$(HOME)/.cache/rollout)
export ROLLOUT_CACHE := $(CACHE)
UV_VERSION := 0.13.9
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: venv
venv: .venv/.installed ## Create .venv from the lock file

.venv/.installed: pyproject.toml uv.lock | $(UV)
	@UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --locked --all-extras --python $(PYTHON)
	@touch $@

$(UV):
	@PYTHON=$(PYTHON) scripts/uv.sh $(CACHE)/uv-$(UV_VERSION) $(UV_VERSION)

.PHONY: prometheus
prometheus: ## Install Debian's prometheus where none is on the PATH
	@scripts/prometheus.sh

.PHONY: kubernetes
kubernetes: ## Build a real Kubernetes API for the tests, once (needs Go; minutes); KUBEBUILDER_ASSETS is used if set
	@scripts/kubernetes.sh $(CACHE)

.PHONY: demo
demo: venv prometheus ## Play the story: five releases on real Envoy and Prometheus (about a minute)
	@exec $(BIN)/rollout sandbox demo

.PHONY: test
test: venv prometheus ## Run all tests, those on the real Envoy and Prometheus included (about five minutes)
	@echo "The core, with its coverage (every branch):"
	@$(BIN)/coverage run -m pytest -q tests/core
	@$(BIN)/coverage report --include='rollout/core/*' --fail-under=100 --show-missing --skip-covered
	@echo "Everything else, on the real parts:"
	@$(BIN)/pytest -q --ignore=tests/core

.PHONY: check
check: venv ## Lint, types, layers, generated files
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m rollout.documents --check

.PHONY: generate
generate: venv ## Write the generated files anew: schema, CRDs, docs, state diagram
	@$(BIN)/python -m rollout.documents

.PHONY: bench
bench: venv prometheus ## Measure what the hot paths cost
	@$(BIN)/python benchmarks/bench.py

.PHONY: bench-api
bench-api: venv ## Measure what a start over HTTP takes at 50 a second, with the controller at work
	@$(BIN)/python -m benchmarks.api

.PHONY: bench-judge
bench-judge: venv ## Compare the judge with others on the same simulated traffic (three minutes; RUNS=2000 for the full table)
	@$(BIN)/python -m benchmarks.judge

.PHONY: figures
figures: venv ## Draw the pictures of docs/judge.md anew
	@$(BIN)/python benchmarks/figures.py

.PHONY: simulate
simulate: venv ## Play 20,000 seeded simulations (SEEDS=n for another number)
	@ROLLOUT_SEEDS=$${SEEDS:-20000} $(BIN)/pytest -q tests/simulation

.PHONY: clean
clean: ## Remove what was built here (not the cache)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist
