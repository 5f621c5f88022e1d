# make app    set up and open the app         (make app PORT=9000: that port; otherwise 8501 or the next that is free)
# make test   set up and run the tests        (make test ARGS="-k package": some of them)
# make test-slow  run those that it leaves out, and write what they found to tests/slow.md (several processes, compilers)
# make bench-app   time each control of each page and the first paint, and write assets/app-speed.md (minutes)
# make bench-load  twenty visitors at once for ten minutes, and write assets/app-load.md
# make bench  measure pruned beside dense in every engine, and write assets/benchmarks.json and its table (half an hour)
# make lint   set up and check style, format and types (a minute)
# make docs   the reference of core and viz in build/docs, from the docstrings; fails where a reference is broken
# make wheel  the package in dist/, as `pip wheel` makes it
#
# The set-up makes .venv and fills it from requirements.txt, for all but the app from requirements-dev.txt too. It runs
# once, and again when they change; after it nothing here needs a network. make app PYTHON=/path/to/python: another
# Python, 3.11 or later. Where there is no NVIDIA GPU, torch is its build for CPUs, without 5 GB of CUDA; where that
# cannot be had, and with make app CPU_INDEX=, it is the usual one.

PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3 python)
VENV_PYTHON := .venv/bin/python
READY := .venv/requirements.installed
DEV_READY := .venv/requirements-dev.installed
CPU_INDEX = https://download.pytorch.org/whl/cpu
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

# Idle threads sleep instead of spinning: on few cores, spinning ones make a model run fifty times slower.
# Some microseconds of it are harmless, and make a small model a quarter faster.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 10000
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled modules are kept, whatever this machine's setting: else each of the tests' processes compiles them all again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: app test test-slow bench bench-app bench-load lint docs wheel

app: $(READY)
	@$(VENV_PYTHON) -m streamlit run app.py $(if $(PORT),--server.port=$(PORT))

# Files of tests side by side, one more than there are cores, as some wait, so that none needs a second thread; then the
# browser tests, three at a time on one server. Without a Chromium these fail; all others still run.
BROWSER_TESTS := $(sort $(wildcard tests/test_browser*.py)) tests/test_accessibility.py

SIDE_BY_SIDE = $(shell $(VENV_PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))')

test: $(DEV_READY)
	@$(VENV_PYTHON) tests/find_chromium.py --install || true
ifdef ARGS
	@$(VENV_PYTHON) -m pytest $(ARGS)
else
	@failed=0; \
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n $(SIDE_BY_SIDE) --dist loadfile -m "not slow" $(BROWSER_TESTS:%=--ignore=%) || failed=1; \
	$(VENV_PYTHON) -m pytest -n 3 --dist worksteal --one-server -m "not slow" $(BROWSER_TESTS) || failed=1; \
	exit $$failed
endif

test-slow: $(DEV_READY)
	@$(VENV_PYTHON) tests/find_chromium.py --install || true
	@$(VENV_PYTHON) -m pytest -m slow --record tests/slow.md

bench: $(READY)
	@$(VENV_PYTHON) -m core bench --record --engine all $(ARGS)

bench-app: $(DEV_READY)
	@$(VENV_PYTHON) tests/find_chromium.py --install || true
	@$(VENV_PYTHON) -m tests.bench_app $(ARGS)

bench-load: $(DEV_READY)
	@$(VENV_PYTHON) tests/find_chromium.py --install || true
	@$(VENV_PYTHON) -m tests.bench_load $(ARGS)

lint: $(DEV_READY)
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV_PYTHON) -m pyright

docs: $(DEV_READY)
	@$(VENV_PYTHON) -m docs.build build/docs

wheel: $(READY)
	@$(VENV_PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . && ls dist/*.whl

# An environment whose Python went away (a system upgrade) is set up again.
ifneq ($(shell $(VENV_PYTHON) -c "import pip; print('works')" 2>/dev/null),works)
.PHONY: $(READY)
endif

# The last line is reached only when everything is installed, so that an interrupted set-up starts again.
$(READY): requirements.txt
	@rm -f $@; \
	$(VENV_PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exit 0; \
	for attempt in 1 2; do \
		for python in $(PYTHONS); do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
			recent=$$python; \
			"$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
			echo "Making .venv with $$("$$python" --version)."; \
			exec "$$python" -m venv --clear .venv; \
		done; \
		[ -n "$$recent" ] && [ $$attempt = 1 ] && command -v apt-get >/dev/null || break; \
		echo "Python's venv module is missing; installing Debian's python3-venv."; \
		$(AS_ROOT) apt-get update && $(AS_ROOT) apt-get install -y python3-venv || break; \
	done; \
	if [ -n "$$recent" ]; then \
		echo "Python's venv module is missing: install it (apt install python3-venv), then run make again." >&2; \
	else \
		echo "Prunescope needs Python 3.11 or later, and there is none here (tried: $(PYTHONS))." >&2; \
	fi; \
	exit 1
	@if [ "$$(uname -s)" = Linux ] && [ -n "$(CPU_INDEX)" ] && ! nvidia-smi >/dev/null 2>&1 \
		&& ! $(VENV_PYTHON) -c 'from importlib.metadata import version as of; exit("+cpu" in of("torch"))' 2>/dev/null; then \
		echo "There is no NVIDIA GPU here: installing torch's build for CPUs."; \
		$(VENV_PYTHON) -m pip install --quiet --no-deps --retries 1 --timeout 20 --index-url $(CPU_INDEX) \
			$$(grep -E '^torch(vision)?==' requirements.txt) \
			|| echo "It cannot be had here; installing the usual one."; \
	fi
	@echo "Installing the packages into .venv (1.7 GB with torch's build for CPUs, else 6.7 GB; once)."
	@$(VENV_PYTHON) -m pip install --requirement requirements.txt
	@touch $@

$(DEV_READY): $(READY) requirements-dev.txt
	@$(VENV_PYTHON) -m pip install --requirement requirements-dev.txt
	@touch $@
