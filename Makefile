# Everything from a fresh clone and a bare Python 3.11 or newer; only a package index has to be reachable.
#
#   make demo        an example project in ./demo, made and run       make ui      look at it in a browser (PORT=3000)
#   make test        the tests                                        make lint    style
#   make test-long   the tests that take minutes, too                 make bench   benchmarks
#   make parity GOLDEN=folder   our results against golden cases      make clean   remove .venv and ./demo

PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	command -v $$candidate >/dev/null && $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$candidate; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
PROJECT ?= $(DEMO)
PYTEST_OPTIONS ?= -n 2 --dist loadfile --no-loadscope-reorder
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo ui test test-long lint bench parity pictures constraints clean

demo: $(VENV)/.run-ready
	@$(BIN)/cytopipe demo $(DEMO)

ui: $(VENV)/.run-ready
	@test -e $(PROJECT)/cytopipe.yaml || $(BIN)/cytopipe demo $(PROJECT)
	@$(BIN)/cytopipe --project $(PROJECT) ui $(if $(PORT),--port $(PORT))

test: $(VENV)/.test-ready
	$(BIN)/python -m pytest -m "not long" $(PYTEST_OPTIONS)

test-long: $(VENV)/.test-ready
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/.bench-ready
	$(BIN)/python -m cytopipe_tests.benchmarks

parity: $(VENV)/.test-ready
	$(BIN)/python -m cytopipe_tests.parity $(GOLDEN)

pictures: $(VENV)/.test-ready
	$(BIN)/python -m cytopipe_tests.ui.pictures docs/pictures

# The versions that were tested together; no index or host is named in it.
constraints: $(VENV)/.test-ready
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | grep -v -e ' @ ' -e '^secactpy' > constraints.txt

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "cytopipe needs Python 3.11 or newer: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "making a Python environment in $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv is missing (Debian: apt-get install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.run-ready: $(VENV)/.made pyproject.toml setup.cfg constraints.txt
	@echo "installing cytopipe and its libraries into $(VENV); this takes one to three minutes the first time"
	@$(INSTALL) --editable .
	@touch $@

# Two wheels are installed for the tables they carry (CytoSig and SecAct signatures, pbmc68k) and never
# imported: without their dependencies, which contradict ours.
DATA_WHEELS := secactpy==0.3.1 scanpy==1.11.5

$(VENV)/.test-ready: $(VENV)/.run-ready
	@echo "installing what the tests need into $(VENV)"
	@$(INSTALL) --editable '.[test]'
	@$(INSTALL) --no-deps $(DATA_WHEELS)
	@touch $@

$(VENV)/.bench-ready: $(VENV)/.test-ready
	@echo "installing the peers of the benchmarks into $(VENV)"
	@$(INSTALL) --editable '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
