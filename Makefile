# Everything here works on a fresh machine with Python 3.11 and make: each target sets up what it needs in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
AZURE := .venv-azure
PEERS := .venv-peers
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := .ci/constraints.txt
ARGS ?= experiment=digits
# Without compiled modules kept, each of hundreds of started processes compiles what it imports, and pytest every test.
unexport PYTHONDONTWRITEBYTECODE
PYTEST ?= $(BIN)/python -m pytest

.PHONY: help run azure horovod test test-slow check docs bench bench-setup clean setup setup-dev browser
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(VENV)/.train ## train: make run ARGS="experiment=digits distribution=pytorch"
	$(BIN)/amlrun run $(ARGS)

azure: $(VENV)/.azure ## add azureml-core: the same runs on Azure ML, or on its emulator on this machine

horovod: $(VENV)/.horovod ## build Horovod for distribution=mpi distribution.engine=horovod (about 6 minutes, once)

test: $(VENV)/.dev ## the fast tests (under a minute)
	$(PYTEST) -n 2 --dist loadfile

test-slow: $(VENV)/.dev $(VENV)/.horovod $(AZURE)/.ready browser ## end to end, distributed, faults, Azure's SDK, other Pythons (FULL=1 for all)
	$(PYTEST) -m slow --timeout=600
	$(AZURE)/bin/python -m pytest -m slow --timeout=600 tests/azureml tests/emulator
	$(AZURE)/bin/python -m pytest -m slow --timeout=600 tests/contract/test_target.py  # the SDK has one cloud a process

check: $(VENV)/.dev ## lint, format, types, import layers, sizes, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m check

bench: $(VENV)/.dev bench-setup ## every benchmark against its peers: one table, and tests/benchmarks/results.json
	$(BIN)/python -m tests.benchmarks

bench-setup: $(PEERS)/.ready ## install what is measured against, from PyPI, into $(PEERS)

docs: $(VENV)/.dev ## write the generated pages of docs/
	$(BIN)/python docs/generate.py

setup: $(VENV)/.train ## .venv with what training here needs
setup-dev: $(VENV)/.dev ## .venv with what tests and checks need

# The emulator's page is tested in a real one; where none can be had, that test is skipped and says why.
browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=env; elif sudo -n true 2>/dev/null; then as_root='sudo -n env'; fi; \
	if [ -z "$$as_root" ] || ! command -v apt-get >/dev/null; then \
	  echo "no chromium and chromedriver here, and no right to install them: the page's browser test will be skipped"; exit 0; fi; \
	echo "installing chromium and chromium-driver with apt-get, for the browser test of the emulator's page"; \
	{ $$as_root apt-get update -qq && $$as_root DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; } \
	  || echo "that failed: the page's browser test will be skipped"

clean: ## remove caches and the virtual environment (.runs/ stays)
	rm -rf $(VENV) $(AZURE) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet -c $(CONSTRAINTS) -e '.[train,mpi,sweep,plots,onnx]'
	touch $@

$(VENV)/.azure: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet -c $(CONSTRAINTS) -e '.[train,mpi,sweep,plots,onnx,azure,emulator]'
	touch $@ $(VENV)/.train

# From source, against the torch and the Open MPI of $(VENV): a build for another pair does not load.
$(VENV)/.horovod: .ci/cxx17 $(CONSTRAINTS) | $(VENV)/.train
	@command -v g++ >/dev/null && command -v cmake >/dev/null || { echo "Horovod is built from source: install g++ and cmake (apt-get install g++ cmake)"; exit 1; }
	$(PIP) install --quiet -c $(CONSTRAINTS) 'setuptools<81' wheel packaging cffi cloudpickle psutil pyyaml
	PATH="$(CURDIR)/$(BIN):$$PATH" CXX="$(CURDIR)/.ci/cxx17" MAKEFLAGS=-j2 HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 \
	  HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITH_MPI=1 \
	  $(PIP) install --no-build-isolation --no-cache-dir -c $(CONSTRAINTS) horovod==0.28.1
	$(BIN)/python -c 'import horovod.torch'
	touch $@

# A machine that submits has the SDK and no torch; jobs run in the interpreter of $(VENV).
$(AZURE)/.ready: pyproject.toml $(CONSTRAINTS)
	test -x $(AZURE)/bin/python || $(PYTHON) -m venv $(AZURE)
	$(AZURE)/bin/python -m pip --disable-pip-version-check install --quiet -c $(CONSTRAINTS) -e '.[azure,mlflow,emulator,mpi,dev]'
	touch $@

$(PEERS)/.ready: .ci/peers.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -r .ci/peers.txt
	touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet -c $(CONSTRAINTS) -e '.[train,mpi,sweep,tracking,onnx,plots,pretrained,dev]'
	touch $@ $(VENV)/.train
