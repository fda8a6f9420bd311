# Everything a person or CI does here. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCE ?= examples/hutong.txt
NOTE_OUT ?= out/$(notdir $(basename $(SOURCE)))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | sort

$(VENV)/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Redloom 需要 Python 3.11 以上；Redloom needs Python 3.11 or newer (PYTHON=…)." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/dev: $(VENV)/core
	@$(BIN)/pip install -q -c constraints.txt coverage fonttools hypothesis mypy opentelemetry-sdk pypdf pytest pytest-xdist ruff
	@touch $@

note: $(VENV)/core ## examples/hutong.txt into a note under out/, offline (SOURCE=… for another)
	@$(BIN)/redloom note $(SOURCE) --offline --out $(NOTE_OUT)

test: $(VENV)/dev lint ## lint, types, every test
	@sh tools/system_packages.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not chaos"

lint: $(VENV)/dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: $(VENV)/dev ## the long fault suite: kills, faults, interleavings
	$(BIN)/python -m pytest -m chaos

bench: $(VENV)/dev ## every benchmark, as ratios against a baseline in the same run
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean: ## remove what was built; keeps out/
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help note test lint chaos bench clean
