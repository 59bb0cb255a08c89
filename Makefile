# make demo   from nothing: environment, a classifier for handwritten digits, its report and predictions
# make test   from nothing: environment, style, types, architecture, the whole test suite
# make bench  from nothing: environments, then Eyebright beside its peers on the CPU, less than half an hour
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_OPTIONS ?= -n 2
PEERS ?= .venv-peers
DATA ?= ../shared/data
BENCH_OPTIONS ?=

DEPENDENCIES := $(VENV)/.dependencies
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all test-gpu check coverage format bench bench-gpu clean

# Other packages must not come with a newer torch than the pinned one, so everything is installed under constraints.
$(DEPENDENCIES): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $$($(BIN)/python packaging/dependencies.py)
	touch $@

# The environment may be shared by several checkouts (CI), so this one is linked in whenever it is another.
$(INSTALLED): $(DEPENDENCIES) .FORCE
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || { \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && echo "$(CURDIR)" > $@; }

.PHONY: .FORCE
.FORCE:

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow and not gpu"

test-all: check
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not gpu"

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

coverage: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not slow and not gpu" --cov --cov-report=term --cov-report=html

# The peers' environment borrows torch and the like from ours; it is made again when packaging/peers.txt changes.
bench: $(INSTALLED)
	$(BIN)/python packaging/peers.py $(PEERS)
	$(BIN)/python benchmarks/bench.py --data $(DATA) --peers $(PEERS) $(BENCH_OPTIONS)

# Without a GPU it says so and ends with exit code 2. No peer but airbench is needed: AIRBENCH=PYTHON has it.
bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/bench_gpu.py --data $(DATA) $(if $(AIRBENCH),--airbench-python $(AIRBENCH)) $(BENCH_OPTIONS)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
