# Few verbs, one or two lines each; anything longer is a script in scripts/ with a test.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
HEAVY := .venv-heavy/bin
RUN := $(BIN)/python -m
# files of tests run side by side, each file in one process; JOBS=0 for one after the other
JOBS ?= 2
PYTEST := pytest -n $(JOBS) --dist loadfile
UNIT := tests/unit
INTEGRATION := tests/integration

.PHONY: help setup dev run test test-all test-unit test-integration test-fast test-coverage test-handler lint lint-fix \
	format format-check types layers check quality-check bench soak build build-cpu check-images wheel lock clean dev-dashboard

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

# in .venv, so that whoever removes that has it made again
STAMP := .venv/.setup-stamp
setup: $(STAMP)  ## Create .venv with everything, and build the dashboard
$(STAMP): pyproject.toml requirements.lock scripts/setup.sh $(shell git ls-files src/dashboard 2>/dev/null)
	PYTHON=$(PYTHON) scripts/setup.sh
	@touch $@

dev: setup  ## The same as setup

run: setup  ## Train 8 classifiers side by side on a local RunPod (the main job)
	$(BIN)/flashtrial run examples/digits_sweep.py

test: setup  ## All tests that need nothing heavy
	$(RUN) $(PYTEST) -m "not browser and not slow and not heavy"

test-all: test $(HEAVY)/.setup-stamp  ## Those, then what needs torch and its like, a browser or minutes
	$(HEAVY)/python -m $(PYTEST) -m heavy
	$(RUN) $(PYTEST) -m "(browser or slow) and not heavy"

$(HEAVY)/.setup-stamp: $(STAMP) scripts/setup_heavy.sh
	scripts/setup_heavy.sh
	@touch $@

test-unit: setup  ## No process, no socket; seconds
	$(RUN) pytest $(UNIT)

test-integration: setup  ## Real children, sockets, SDKs
	$(RUN) pytest $(INTEGRATION) -m "not browser and not slow and not heavy"

test-fast: setup  ## Unit tests on all cores, stop at the first failure
	$(RUN) pytest $(UNIT) -n auto -x

test-coverage: setup  ## Coverage as HTML and XML, with the floor of pyproject.toml
	$(RUN) pytest -m "not browser and not slow and not heavy" --cov --cov-report=html --cov-report=xml --cov-report=term:skip-covered

test-handler: setup  ## Run src/tests/test_*.json through the handler and compare the answers
	$(BIN)/python scripts/test_handler.py src/tests

lint: setup  ## Ruff's rules
	$(BIN)/ruff check .

lint-fix: setup  ## Ruff's rules, mending what can be mended
	$(BIN)/ruff check --fix .

format: setup  ## Format the code
	$(BIN)/ruff format .

format-check: setup  ## Is the code formatted?
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict
	$(BIN)/mypy

layers: setup  ## Which package may import which
	$(BIN)/lint-imports

check: lint format-check types layers  ## Every gate but the tests
quality-check: check

bench: setup  ## Measure against floors and peers; writes bench/RESULTS.md
	$(BIN)/python bench/run.py $(BENCH)

soak: setup  ## The fault matrix at full counts: misbehaving calls, kills of builders and of all that tracks, leaving workers
	$(BIN)/python bench/soak_calls.py --calls 1000
	$(BIN)/python bench/soak_layers.py
	$(BIN)/python bench/soak_loop.py
	$(BIN)/python bench/soak_tracking.py --kills 1000
	$(BIN)/python bench/soak_life.py

build:  ## Build the worker image with CUDA and torch, with docker, podman or buildah
	scripts/build_image.sh gpu

build-cpu:  ## Build the worker image without a GPU
	scripts/build_image.sh cpu

check-images:  ## Lint Dockerfiles, shell scripts and workflows
	scripts/check_images.sh

wheel: setup  ## Build the wheel, the dashboard in it
	scripts/uv.sh build --wheel

lock:  ## Renew the lock files
	scripts/lock.sh

dev-dashboard: setup  ## The dashboard with hot reload, against a running instance
	cd src/dashboard && npm run dev

clean:  ## Remove what setup and the tests made
	rm -rf .venv .venv-heavy .venv-peers .uv .node dist build htmlcov coverage.xml src/dashboard/node_modules src/flashtrial/server/static
