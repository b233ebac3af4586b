# make train: set up, then learn Pong.   make test: set up, then the tests.   make setup: set up only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CUDA build of jax where an NVIDIA GPU is there, the CPU build otherwise. A GPU that comes later
# has a stamp of its own: the next `make` installs again.
CUDA := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo cuda)
STAMP := $(VENV)/.installed$(CUDA:%=-%)
ARGS ?=

.PHONY: train test test-slow lint setup clean

train: setup
	$(BIN)/python scripts/train_dqn.py --game Pong $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev$(CUDA:%=,%)]' -c constraints.txt
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info
