# Needs Python 3.11 or newer with venv and pip; everything else comes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-fast test-rendered test-container lint manifest clean
.SILENT:

help:  ## show what there is to run
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: $(VENV)/ready  ## render with the defaults, prove it, and show what was proved
	$(BIN)/python .ci/demo.py build/demo

test: lint $(VENV)/ready  ## everything that needs no container engine
	$(BIN)/python -m pytest -m "not container"

test-fast: $(VENV)/ready  ## the template alone: seconds
	$(BIN)/python -m pytest -m "not container and not rendered"

test-rendered: $(VENV)/ready  ## the runtime's tests, and the checks and tests of rendered projects
	$(BIN)/python -m pytest -m rendered

test-container: $(VENV)/ready  ## build, train and serve every combination with Docker
	$(BIN)/python -m pytest -m container

lint: $(VENV)/ready  ## check, never change
	$(BIN)/ruff check -q .
	$(BIN)/ruff format --check -q .

readme: $(VENV)/ready  ## renew the tables of the rendered README from the code
	cd tests/runtime && NUM_CLASSES='{{ cookiecutter.num_classes }}' ../../$(BIN)/python readme.py

manifest: $(VENV)/ready  ## write down the files and modes of a rendered project
	cd tests && ../$(BIN)/python -m rendering > manifest.new && mv manifest.new manifest.txt

clean:  ## remove what the other targets made
	rm -rf build $(VENV) .pytest_cache .ruff_cache

$(VENV)/ready: requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is Python %d.%d; needed: 3.11 or newer, as in: make PYTHON=python3.12" % sys.version_info[:2])'
	echo "note: making $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	touch $@
