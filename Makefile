# Everything a checkout needs: python3 (3.11 or newer), make and a package registry.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
WORKERS ?= 8

.PHONY: run test lint check bench clean

run: $(VENV)/installed
	@exec $(BIN)/python -m hsrv start hsrv.demo:app --workers $(WORKERS) --bind 127.0.0.1:$(PORT)

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/python -m ruff check hsrv tests
	$(BIN)/python -m ruff format --check hsrv tests
	$(BIN)/python -m mypy

check: lint test

bench: $(VENV)/installed
	$(BIN)/python bench/lateness.py

# The newest Python that works: a launcher may exist and fail, and a distribution may ship it without ensurepip.
$(VENV)/installed: pyproject.toml
	@for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	  if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$python; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "hsrv needs Python 3.11 or newer with venv and ensurepip (on Debian: python3-venv)" >&2; exit 1; \
	fi; \
	echo "setting up $(VENV) with $$($$found --version)"; \
	$$found -m venv --clear $(VENV) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
