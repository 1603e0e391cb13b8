# Needs Python 3.11 or newer with venv and pip; everything else comes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

TREE := {{cookiecutter.project_slug}}
# More processes than two cores: while one waits for a server the others compute. Modules share their
# servers, and one of them the port of XGBoost's tracker, so the runtime's tests are dealt out by
# file, the longest first (conftest.py). What holds a loaded server to time limits takes fewer.
PROCESSES := 3
BY_FILE = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
# Of an environment with all that a project needs, made once under build/.
PROJECT_PYTHON = "$$($(BIN)/python tests/environment.py)"
# Tests read what a make of theirs prints, and inherit the flags of the one that runs them.
MAKEFLAGS += --no-print-directory
# The threads of XGBoost in two processes would spin while they wait for each other's cores: a test
# takes seven times the CPU seconds.
export OMP_WAIT_POLICY := passive
# What `make test` does with small numbers, at length.
LONG := RANDOM_MODELS=1000 CATEGORY_MODELS=500 CATEGORY_SEEDS=60 FORMAT_EXAMPLES=2000 \
    FUZZ_REQUESTS=20000 HEALTH_SECONDS=60 KILLS=20 KILL_SECONDS=60 STOPS=20 DEATHS=200 \
    FORKS=2000 SLOW_READERS=8
# The other suites of servers look from outside: test-container runs them against the image.
BEHIND_NGINX := test_server_*.py test_serving_life.py test_serving_spread.py test_acceleration_forks.py
# What was recorded from the built-in, whose XGBoost is 3.2: that of Python 3.11.
AS_BUILT_IN := test_differential.py test_framework_modules.py test_framework_serving.py
LONG_FILES := test_acceleration_random.py test_acceleration_categories.py test_formats_fuzz.py \
    test_formats_numbers.py test_serving_echo.py test_serving_fuzz.py test_serving_strings.py \
    test_server_health.py test_training_checkpoints.py test_serving_life.py \
    test_server_stopping.py test_server_metrics.py test_server_slow_readers.py

.PHONY: help demo test environment test-fast test-runtime test-long test-servers test-built-in test-mlflow test-rendered test-container test-bare lint readme manifest clean
.SILENT:

help:  ## show what there is to run
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: $(VENV)/ready  ## render with the defaults, prove it, and show what was proved
	$(BIN)/python .ci/demo.py build/demo

test: $(VENV)/ready  ## everything that needs no container engine, layer by layer
	$(BIN)/python .ci/layers.py lint+test-fast+test-rendered+test-runtime

environment: $(VENV)/ready  ## install all that the other targets need
	$(BIN)/python tests/environment.py >/dev/null

test-fast: $(VENV)/ready  ## the template alone: seconds
	$(BIN)/python -m pytest -n 2 -m "not container and not rendered"

test-runtime: $(VENV)/ready  ## the program of every project, unrendered; ARGS="test_settings.py"
	python=$(PROJECT_PYTHON) && cd tests/runtime && "$$python" -m pytest $(BY_FILE) $(ARGS)

test-long: $(VENV)/ready  ## of the runtime, what draws at random or lasts, at length: 20 minutes
	$(MAKE) test-runtime PROCESSES=2 ARGS="$(LONG_FILES)" $(LONG)

test-servers: $(VENV)/ready  ## of the runtime, what starts servers, behind nginx
	REQUIRE_NGINX=1 $(MAKE) test-runtime PROCESSES=2 ARGS="$$(cd tests/runtime && echo $(BEHIND_NGINX))"

test-built-in: $(VENV)/ready  ## of the runtime, what is compared with the built-in container
	$(MAKE) test-runtime ARGS="$(AS_BUILT_IN)"

test-mlflow: $(VENV)/ready  ## of the runtime, what talks to MLflow's own servers
	client=$$($(BIN)/python tests/environment.py mlflow) && server=$$($(BIN)/python tests/environment.py mlflow-server) \
	    && cd tests/runtime && MLFLOW_SERVER="$$server" "$$client" -m pytest test_mlflow_*.py

test-rendered: $(VENV)/ready  ## rendered projects: their targets, tests and validation
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup -m rendered

test-container: $(VENV)/ready  ## build, train and serve every combination with Docker
	$(BIN)/python -m pytest -n $(PROCESSES) --durations 8 -m "container and not timed"
	$(BIN)/python -m pytest -m "container and timed"

test-bare:  ## README's commands in a container with Python, make and git alone
	.ci/bare

lint: $(VENV)/ready  ## style and types; check, never change
	$(BIN)/ruff check -q .
	$(BIN)/ruff format --check -q .
	$(BIN)/zizmor --offline -q --min-severity medium .
	sed -e 1d -e '$$d' '$(TREE)/.github/workflows/ci.yml' | $(BIN)/zizmor --offline -q --min-severity medium -
	python=$(PROJECT_PYTHON) && cd '$(TREE)' && "$$python" -m mypy --cache-dir ../build/mypy

readme: $(VENV)/ready  ## renew the tables of the rendered README from the code
	python=$(PROJECT_PYTHON) && cd tests/runtime && NUM_CLASSES='{{ cookiecutter.num_classes }}' "$$python" readme.py

manifest: $(VENV)/ready  ## write down the files and modes of a rendered project
	cd tests && ../$(BIN)/python -m rendering > manifest.new && mv manifest.new manifest.txt

clean:  ## remove what the other targets made
	rm -rf build $(VENV) .pytest_cache .ruff_cache

$(VENV)/ready: requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is Python %d.%d; needed: 3.11 or newer, as in: make PYTHON=python3.12" % sys.version_info[:2])'
	echo "note: making $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-compile --disable-pip-version-check -r requirements-dev.txt
	touch $@
