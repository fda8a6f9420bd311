# Everything a person or CI does here. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := .venv-extras
SOURCE ?= examples/hutong.txt
NOTE_OUT ?= out/$(notdir $(basename $(SOURCE)))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 makes .venv with another Python; SOURCE=story.md another note"

$(VENV)/core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Redloom 需要 Python 3.11 以上；Redloom needs Python 3.11 or newer (PYTHON=…)." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/dev: $(VENV)/core
	@$(BIN)/pip install -q -c constraints.txt httpx coverage fonttools hypothesis mcp mkdocs-material mypy openai opentelemetry-exporter-otlp-proto-http opentelemetry-sdk playwright pypdf pytest pytest-xdist ruff schemathesis
	@touch $@

note: $(VENV)/core ## a note under out/ from examples/hutong.txt, offline and free
	@$(BIN)/redloom note $(SOURCE) --offline --out $(NOTE_OUT)

test: $(VENV)/dev lint ## lint, types, every test; what CI runs
	@sh tools/system_packages.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not chaos and not extras"

# What starts a program, opens a port or draws in a browser is left to `make test`.
ELSEWHERE := subprocess|sys\.executable|helpers[. ]|studio_rig|emulators|conformance|canned|redloom\.cli|import cli|aiohttp|playwright
test-fast: $(VENV)/dev ## the fast part of the tests, while you work: no other program, no port
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not chaos and not extras" \
		$$(grep -LE '$(ELSEWHERE)' tests/test_*.py)

lint: $(VENV)/dev ## ruff, formatting, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/dev ## the site in build/site, from docs/; stops at a broken link or a page left out
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/site/index.html"

reference: $(VENV)/dev ## docs/reference-*.md anew, from parsers, settings and docstrings
	@$(BIN)/python tools/reference.py

# The extras' heavy packages have a virtual environment of their own, so that `make test` stays
# light. Where the package index has no CPU build of torch by itself: TORCH_FROM='--index-url …'.
# Without torch or ray (no wheel for this platform) their tests are skipped by name.
$(EXTRAS)/done: pyproject.toml constraints.txt constraints-extras.txt
	@test -x $(EXTRAS)/bin/python || $(PYTHON) -m venv $(EXTRAS)
	@$(EXTRAS)/bin/pip install -q -c constraints.txt -e . hypothesis pytest
	@$(EXTRAS)/bin/pip install -q -c constraints.txt -c constraints-extras.txt $(TORCH_FROM) torch || echo "torch: no wheel here; its tests are skipped" >&2
	@if $(EXTRAS)/bin/python -c 'import torch' 2>/dev/null; then $(EXTRAS)/bin/pip install -q -c constraints.txt -c constraints-extras.txt -e '.[gpu]'; fi
	@$(EXTRAS)/bin/pip install -q -c constraints.txt -c constraints-extras.txt -e '.[ray]' || echo "ray: no wheel here; its tests are skipped" >&2
	@touch $@

test-extras: $(EXTRAS)/done ## what the heavy extras do: tiny GPU pipelines on the CPU, Ray
	OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest -rs -m extras $$(grep -l 'pytest.mark.extras' tests/*.py)

# pip-audit has an environment of its own: it is no part of what is audited.
.venv-audit/done:
	@test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install -q pip-audit
	@touch $@

audit-deps: .venv-audit/done ## known vulnerabilities in what constraints.txt pins (asks a public database)
	@.venv-audit/bin/python tools/audit_deps.py

chaos: $(VENV)/dev ## the long fault suite: kills, storms, interleavings (FAULT_FIGURES=FILE keeps its figures)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m chaos

bench: $(VENV)/dev ## every benchmark, against a baseline in the same run (hours)
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done
	@$(BIN)/pip install -q -c constraints.txt aiolimiter dashscope
	@$(BIN)/redloom bench && $(BIN)/redloom bench --table

clean: ## remove .venv and what was built; keeps out/
	rm -rf $(VENV) .venv-audit build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

clean-extras: ## remove the extras' environment
	rm -rf $(EXTRAS)

.PHONY: help note test test-fast test-extras clean-extras lint docs reference audit-deps chaos bench clean
