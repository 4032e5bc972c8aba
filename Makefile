# Every target does its own set-up: a virtual environment in .venv, and what is needed in it. What
# is there already is not done again. Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# ONNX Runtime would tell its makers what demo, tests and benchmarks run.
export ORT_DISABLE_TELEMETRY ?= 1

NEEDED := 3.11
# Without a GPU's libraries, of which PyPI's PyTorch brings gigabytes.
TORCH := torch==2.13.0+cpu
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CAN_RUN := import sys; sys.exit(sys.version_info < tuple(map(int, "$(NEEDED)".split("."))))

# Stamps: a Python of this version made the environment, and these extras are in it.
MADE := $(VENV)/.made-with-$(VERSION)
DEMO := $(VENV)/.has-demo
DEV := $(VENV)/.has-dev
ALL := $(VENV)/.has-all

.DEFAULT_GOAL := help
.PHONY: help demo test check conformance e2e docs bench setup clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(DEMO) ## Serve two real models, ask them in three protocols, put 64 clients on each
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(ALL) ## Run every test (ARGS="tests/unit -k queue" for some)
	@$(BIN)/python -m pytest $(ARGS)

conformance: $(ALL) ## Run clients of others against a server and print the table
	@$(BIN)/python -m tests.conformance $(ARGS)

e2e: $(DEV) ## Run the tests with real servers only
	@$(BIN)/python -m pytest tests/e2e $(ARGS)

check: $(DEV) ## Lint, format, types and the import rule
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(DEV) ## Write the generated pages of docs/ anew
	@$(BIN)/python docs/build.py $(ARGS)

bench: $(DEV) ## Measure (ARGS="--help" for what)
	@$(BIN)/python -m benchmarks $(ARGS)

setup: $(ALL) ## Only set up what the other targets need

clean: ## Remove everything the other targets made, fetched models too
	rm -rf $(VENV) .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip before 24 needs many minutes to resolve these extras: it is upgraded before anything else.
$(MADE):
	@test -n "$(VERSION)" || \
		{ echo "No '$(PYTHON)' here: install Python $(NEEDED) or newer, or name one: make PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c '$(CAN_RUN)' || \
		{ echo "Headrace needs Python $(NEEDED) or newer and '$(PYTHON)' is $(VERSION); name another: make PYTHON=python3.12"; exit 1; } >&2
	@$(BIN)/python -c 'import sys; sys.exit(not "$(VERSION)" == "%d.%d" % sys.version_info[:2])' 2>/dev/null || \
		{ echo "Setting up $(VENV) with Python $(VERSION)"; $(PYTHON) -m venv --clear $(VENV); } || \
		{ echo "That Python cannot make virtual environments; on Debian: apt install python$(VERSION)-venv"; exit 1; } >&2
	@rm -f $(VENV)/.made-with-* $(DEMO) $(DEV) $(ALL)
	@$(BIN)/python -m pip install -qq --upgrade pip
	@touch $@

$(DEMO): pyproject.toml $(MADE)
	@echo "Installing Headrace and the clients of the demo (about a minute)"
	@$(BIN)/python -m pip install -qq --editable '.[demo]'
	@touch $@

$(DEV): pyproject.toml $(MADE)
	@echo "Installing Headrace, its tests and its tools (about two minutes)"
	@$(BIN)/python -m pip install -qq --editable '.[demo,dev]'
	@touch $(DEMO) $@

# Clients of others, TensorFlow among them. Its stubs ask for all of TensorFlow; the CPU build will do.
$(ALL): $(DEV)
	@echo "Installing clients of others for the conformance suite (about three minutes)"
	@{ $(BIN)/python -m pip install -qq --editable '.[demo,dev,conformance]' && \
		$(BIN)/python -m pip install -qq --no-deps 'tensorflow-serving-api>=2.18'; } || \
		echo "Not all of them can be had for this Python: their tests will be skipped"
	@$(BIN)/python -m pip install -qq --retries 1 --timeout 15 \
		--extra-index-url https://download.pytorch.org/whl/cpu '$(TORCH)' || \
		echo "$(TORCH) cannot be had here: the tests of PyTorch files will be skipped"
	@touch $@
