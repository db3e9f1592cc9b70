# Everything a checkout needs: python3 (3.11 or newer), make and a package registry.

VENV := .venv
PYTHON := $(VENV)/bin/python
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 8
ADMIN ?= 127.0.0.1:8001

SOURCES := hatch_build.py hsrv supervisor worker asyncpool tests bench examples deploy

# Whether benchmarks measure the compiled hsrv, as a wheel for this platform has it: yes, where there is a C compiler.
COMPILE ?= $(if $(shell command -v cc 2>/dev/null),1,0)
MYPYC_OPT_LEVEL ?= 0
COMPILED_TESTS ?= tests/test_compiled.py tests/unit/http tests/unit/worker tests/unit/logs/test_accesslog.py \
  tests/unit/board tests/unit/net tests/conformance
MODULES := $(shell find hsrv supervisor worker asyncpool -name '*.py')

.PHONY: run test test-compiled wheel lint check bench bench-reload bench-micro chaos siege fuzz autobahn nginx-soak deploy-rehearsal upgrade-soak soak docs clean

# exec: Ctrl-C and the exit code are the server's own.
run: $(VENV)/installed
	@exec $(PYTHON) -m hsrv start hsrv.demo:app --workers $(WORKERS) --bind $(HOST):$(PORT) --admin $(ADMIN)

# Four at a time, also on two cores: most tests wait for processes. A file stays together, for what its tests share.
test: $(VENV)/installed
	$(PYTHON) -m pytest -n 4 --dist loadfile

# A wheel for this Python and platform, in dist/, its hot path compiled (see hatch_build.py). It takes a C compiler.
wheel: $(VENV)/installed
	HSRV_COMPILE=1 $(PYTHON) -m build --wheel --no-isolation

# What compiled code can break: the tests of the compiled modules and of HTTP, with such a wheel. It is not optimised,
# which takes the C compiler a minute. Before a release: make test-compiled MYPYC_OPT_LEVEL=3 COMPILED_TESTS=tests
# PYTHONSAFEPATH: else the checkout comes before the wheel.
test-compiled: .compiled/built-$(MYPYC_OPT_LEVEL)
	HSRV_TEST_OF_A_WHEEL=1 PYTHONPATH=$(CURDIR)/.compiled/site PYTHONSAFEPATH=1 \
	  $(PYTHON) -m pytest -n 4 --dist loadfile $(COMPILED_TESTS)

.compiled/built-$(MYPYC_OPT_LEVEL): $(VENV)/installed hatch_build.py $(MODULES)
	rm -rf .compiled
	HSRV_COMPILE=1 MYPYC_OPT_LEVEL=$(MYPYC_OPT_LEVEL) $(PYTHON) -m build --wheel --no-isolation --outdir .compiled
	$(PYTHON) -m zipfile -e .compiled/*.whl .compiled/site
	@touch $@

lint: $(VENV)/installed
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy --strict hsrv tests

check: lint test

# Storms against the real server, with kills; a failure prints its seed. CHAOS='--minutes 60 --profile calm' for more.
chaos: $(VENV)/installed
	$(PYTHON) -m tests.chaos $(CHAOS)

# Thousands of clients that take their time, and the latency of one that doesn't. SIEGE='--scale 0.1' for less.
siege: $(VENV)/installed
	$(PYTHON) -m tests.siege $(SIEGE)

# The WebSocket judge. It needs a Python 2.7: exit code 77 says that none is here. AUTOBAHN='--cases 12.*' for less.
autobahn: $(VENV)/installed
	@$(PYTHON) -m tests.autobahn $(AUTOBAHN)

# The whole server is replaced under load, again and again.
upgrade-soak: $(VENV)/installed
	HSRV_TEST_UPGRADES=20 $(PYTHON) -m pytest tests/integration/test_upgrade.py -k under_load

# What the tests try some thousand times, tens of thousands of times: reloads, kills, connections, hangs on a busy machine.
soak: $(VENV)/installed
	HSRV_TEST_LONG=1 SOAK_BUSY_SECONDS=60 SOAK_IMPORT_SECONDS=20 $(PYTHON) -m pytest --timeout 900 -rP -k 'reloads_in_a_row or \
	  many_connections_a_third or legal_way or kill_of_either_side or machine_is_busy or slow_import or nothing_lives' tests

# Each parser and codec against anything. FUZZ='--minutes 10 --target heads' for more.
fuzz: $(VENV)/installed
	$(PYTHON) -m tests.fuzz $(FUZZ)

# 50 reloads of hsrv behind nginx under load, over TCP and over a Unix socket: 0 errors.
nginx-soak: $(VENV)/installed
	NGINX_RELOADS=50 $(PYTHON) -m pytest -n 0 -rP --timeout 600 tests/deploy/test_proxies.py -k reloads

# deploy/ with nothing shortened: pods replaced with the waits that the manifests have, each image built.
deploy-rehearsal: $(VENV)/installed
	HSRV_TEST_LONG=1 $(PYTHON) -m pytest -n 2 --dist loadfile --durations 5 tests/deploy

# The documentation as a site, in site/.
docs: $(VENV)/installed
	$(PYTHON) -m mkdocs build --strict --quiet

# The servers to compare with have an environment of their own: they are no business of the tests. wrk and nginx come
# from the system. BENCH='hello fastapi --rounds 2' runs less; the output of everything goes to docs/benchmarks/.
bench: .bench/hsrv-$(COMPILE)
	.bench/venv/bin/python -m bench $(BENCH)

# From a save to the first answer of new code, side by side.
bench-reload: .bench/hsrv-$(COMPILE)
	.bench/venv/bin/python -m bench.devreload --out docs/benchmarks $(BENCH)

# The parts of the hot path one by one.
bench-micro: .bench/hsrv-$(COMPILE)
	PYTHONSAFEPATH=1 .bench/venv/bin/python -m pytest -p no:cacheprovider -n 0 bench/micro.py --benchmark-columns min,median,iqr $(BENCH)

# gunicorn_h1c by its own name: as gunicorn[fast] it can pull in an older gunicorn.
.bench/installed: $(VENV)/installed Makefile
	$(PYTHON) -m venv --clear .bench/venv
	.bench/venv/bin/python -m pip install --quiet --disable-pip-version-check . \
	  'uvicorn[standard]' gunicorn gunicorn_h1c 'granian[uvloop]' 'hypercorn[uvloop]' fastapi flask py-spy sqlalchemy numpy 'granian[reload]' pytest pytest-benchmark pytest-xdist pytest-timeout
	@touch $@

.bench/hsrv-$(COMPILE): .bench/installed hatch_build.py $(MODULES)
	HSRV_COMPILE=$(COMPILE) .bench/venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	@rm -f .bench/hsrv-* && touch $@

# The newest Python that works, found by using it: a launcher may exist and fail, and a distribution may ship
# it without ensurepip. An environment that works already is kept.
$(VENV)/installed: pyproject.toml
	@ready='import sys, pip; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)'; \
	$(PYTHON) -c "$$ready" 2>/dev/null || \
	for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	  $$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	  $$python -m venv --clear $(VENV) >/dev/null 2>&1 && $(PYTHON) -c "$$ready" 2>/dev/null && break; \
	done || true; \
	$(PYTHON) -c "$$ready" 2>/dev/null || { \
	  echo "hsrv needs Python 3.11 or newer with venv and ensurepip (on Debian: python3-venv)" >&2; exit 1; }; \
	echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test,deploy,docs,lint]'
	@touch $@

clean:
	rm -rf $(VENV) .bench .compiled .autobahn dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
