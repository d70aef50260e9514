# The companion's commands; `make help` lists them.
PROFILE ?= laptop
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUTPUT := $(or $(COMPANION_OUTPUT),.)
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do $$name -c '$(SUITABLE)' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup reproduce chat sweep test lab figures book bench check clean

help: ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with the pinned packages (once)

$(INSTALLED): pyproject.toml requirements.lock
	@$(if $(PYTHON),:,echo "Python 3.11 or 3.12 with venv is needed: apt-get install python3 python3-venv, or make setup PYTHON=/path/to/python3.11"; exit 1)
	@echo "Installing the pinned packages into $(VENV): once, a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --progress-bar off --editable . --constraint requirements.lock $(PIP_ARGS) || \
		{ echo "The packages could not be installed: see pip's words above; the same command tries again."; exit 1; }
	@touch $@

reproduce: $(INSTALLED) ## run every chapter of PROFILE (laptop, smoke, night, full or yours) that is not up to date
	@$(BIN)/python -m lib.engine.run all --profile $(PROFILE)

chat: $(INSTALLED) ## talk to the model that PROFILE trained; ARGS="--beside base" has the base answer too (docs/talk.md)
	@$(BIN)/python -m lib.release.chat --profile $(PROFILE) $(ARGS)

sweep: $(INSTALLED) ## run a chapter over lists of parameters: SWEEP=params/sweeps/smoke.yaml, CLUSTER=slurm on a cluster
	@$(BIN)/python -m lib.engine.sweep $(SWEEP) $(if $(CLUSTER),--cluster $(CLUSTER)) $(ARGS)

test: $(INSTALLED) ## run the whole test suite, the smoke profile included; ARGS="-m 'not chain'" leaves that out
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -c "from lib.engine import paths; paths.settle(); from jupyterlab.labapp import main; main(['notebooks'])"

figures: $(INSTALLED) ## rebuild tables and figures of PROFILE from its records alone
	@$(BIN)/python -m lib.exhibits.pages $(PROFILE)

book: $(INSTALLED) ## build a site from the executed notebooks of PROFILE, book/<profile>/html
	@$(BIN)/python -c "import latex2mathml, myst_nb, sphinx, sphinx_book_theme" 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --quiet --progress-bar off --editable .[book] --constraint requirements.lock $(PIP_ARGS)
	@$(BIN)/python -m lib.exhibits.book $(PROFILE)

bench: $(INSTALLED) ## measure text, training, scoring and generation beside the plain libraries (25 min); docs/benchmarks.md
	@for name in corpus packing throughput scoring generation; do $(BIN)/python benchmarks/$$name.py --json figures/bench/$$name.json || exit; done
	@$(BIN)/python benchmarks/table.py

check: $(INSTALLED) ## check every parameter file and sweep against its notebook
	@$(BIN)/python -m lib.engine.sweep

clean: ## remove runs/, book/ and what tools left; downloads and .venv stay
	rm -rf $(OUTPUT)/runs $(OUTPUT)/book $(OUTPUT)/.snakemake .pytest_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
