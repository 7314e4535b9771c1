# The two commands: `make lab` and `make test`.  Everything else is a step of them, or for developers.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# half of the time a test waits for its engine: two workers a core keep two cores busy
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help lab test bench check requirements clean

help:
	@echo "make lab    set everything up, start a private Docker engine and JupyterLab, print their URL"
	@echo "make test   set everything up and run the whole test suite"
	@echo "make bench  measure, side by side, and print a table (BENCH_JSON=file for rows)"
	@echo "make check  formatting, lint and types"
	@echo "make clean  end all engines and remove everything that the other commands made"

lab: $(VENV)/ready
	@$(BIN)/labkit lab --with-parent

test: $(VENV)/ready-for-tests
	@$(BIN)/labkit setup --tests
	@$(BIN)/python -m tests.suite $(WORKERS)

bench: $(VENV)/ready-for-tests
	@$(BIN)/labkit setup --tests
	@$(BIN)/python -m tests.bench

check: $(VENV)/ready-for-tests
	@$(BIN)/ruff format --check labkit tests
	@$(BIN)/ruff check labkit tests
	@$(BIN)/mypy

# The exact versions, from the ranges in pyproject.toml.
requirements: $(VENV)/ready-for-tests
	@CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --upgrade --output-file=requirements.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --unsafe-package pip --upgrade --extra=test --constraint=requirements.txt --output-file=requirements-test.txt pyproject.toml

# Install the packages that the file $(1) pins: all of them are in it, so nothing has to be resolved (which took pip through
# many versions).  Every twentieth is told; of what pip says, all is in pip.log, and the end of it shown when it fails.
define pip_install
{ $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off --no-deps --requirement $(1) 2>&1; \
    echo "pip ended with $$?"; } | { : >$(VENV)/pip.log; n=0; while IFS= read -r line; do \
    printf '%s\n' "$$line" >>$(VENV)/pip.log; \
    case $$line in \
    Collecting*|Processing*) n=$$((n + 1)); [ $$((n % 20)) -ne 0 ] || echo "  $$n of $$(grep -c == $(1))" ;; \
    Installing*) echo "  unpacking" ;; \
    "pip ended with 0") exit 0 ;; \
    "pip ended with "*) tail -n 15 $(VENV)/pip.log >&2; exit 1 ;; \
    esac; done; exit 1; }
endef

# The stamp is written last, so that an interrupted set-up is done again.
$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "labkit needs Python 3.11 or later; try: make PYTHON=python3.11 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    echo "installing python3-venv with apt-get" && apt-get -qq update && apt-get -qq install -y python3-venv; } || \
	    { echo "Python's venv module is incomplete; try: apt-get install python3-venv uidmap mmdebstrap (as root)" >&2; exit 2; }
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing the Python packages of requirements.txt"
	@$(call pip_install,requirements.txt)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@$(BIN)/python -m pip check >$(VENV)/pip.log || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

$(VENV)/ready-for-tests: $(VENV)/ready requirements-test.txt
	@echo "installing the Python packages of requirements-test.txt"
	@$(call pip_install,requirements-test.txt)
	@$(BIN)/python -m pip check >$(VENV)/pip.log || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

clean:
	@[ ! -x $(BIN)/labkit ] || $(BIN)/labkit uninstall --yes
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	@find . \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
