# The two commands to start with are `make demo` and `make test`. Both make and share the environment .venv, from the pinned versions in
# constraints.txt; they need Python 3.10 or newer and the package index, nothing else.
#
#   make demo                      build GemNet-OC and a variant from spec files, run both on a slab; a small ablation
#   make demo STRUCTURES=file      ... on any file that ASE reads
#   make test                      lint, types, and the unit, property, parity, compatibility and integration tests
#   make check                     lint, types, import contracts and the quickest unit tests, while you write code
#   make test-docs                 the documentation site, the long examples of its pages, and all notebooks
#   make test-slow                 the tests that take ten seconds or more each
#   make test-all                  the three together
#   make test-lowest               unit tests with the lowest versions that pyproject.toml allows, in an environment of their own
#   make test-lowest TORCH=2.13.0  ... but with this torch: the lowest is, on Linux, a CUDA build of several gigabytes
#   make properties                every property on 10,000 structures (about an hour); writes docs/properties.md
#   make properties STRUCTURES=500 ... on as many
#   make mutations                 injects faults into the library and checks that the tests catch them
#   make symmetry                  measure how symmetric energies are; writes docs/symmetry.md
#   make benchmarks REFERENCE=...  compare with the published implementation, time scaling; writes benchmarks/RESULTS.md
#   make gpu                       check and measure on a CUDA device in less than 8 minutes; writes benchmarks/GPU.md
#   make warm-starts               studies of cold against warm runs on two data sets (minutes and hours); see benchmarks/ablation/warm
#   make docs                      the documentation site, into build/docs
#   make links                     whether the site's links to other sites lead somewhere; needs a network
#   make schemas                   write the JSON Schemas beside the shipped specs, for editors
#   make format                    let the formatter rewrite the code
#   make clean                     remove the environment and all caches

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A folder with compiled builds of the optional extras, tested where it is there.
WHEELS ?= ../shared/wheels
STRUCTURES ?=
PYTEST_ARGS ?=
# The unit tests of `make check`: of the parts that all others build on, and of specs.
QUICK := $(addprefix tests/unit/,graph geometry layers spec test_structures.py) \
  $(addprefix --ignore=tests/unit/spec/test_,description.py grafting.py json_schema.py)
# The version of torch in `make test-lowest`, instead of the lowest.
TORCH ?=
LOWEST := build/lowest
# Where the property tests write what they tried.
REPORT := build/properties
# An interpreter that has the published implementation, for comparisons.
REFERENCE ?=
# Tests start many Python processes: each compiles all of its modules again unless the compiled ones may be kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check test-quick test-docs test-slow test-all test-lowest properties mutations symmetry benchmarks gpu warm-starts docs links schemas lint format clean

demo: $(VENV)/.installed
	$(BIN)/gemnet-blocks demo $(if $(STRUCTURES),--structures "$(STRUCTURES)")

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/.installed-dev lint
	$(PYTEST) -m "not docs and not slow" $(PYTEST_ARGS)

# The checker of types and the tests take about as long, each on one core.
check: $(VENV)/.installed-dev
	$(MAKE) --jobs=2 lint test-quick

test-quick: $(VENV)/.installed-dev
	JAXTYPING_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(QUICK)

test-docs: $(VENV)/.installed-dev
	$(PYTEST) -m docs $(PYTEST_ARGS) tests/integration

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m slow $(PYTEST_ARGS)

test-all: test test-docs test-slow

test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e . packaging
	$(LOWEST)/bin/python tests/lowest_versions.py $(if $(TORCH),torch==$(TORCH)) > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt \
	  -e '.[cluster,data,plot,search,testing,torchsim,train]' ase-db-backends beartype jsonschema markdown-it-py pytest
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(PYTEST_ARGS) tests/unit

properties: $(VENV)/.installed-dev
	rm -rf $(REPORT)
	PROPERTY_STRUCTURES=$(or $(STRUCTURES),10000) PROPERTY_REPORT=$(REPORT) JAXTYPING_DISABLE=1 OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n auto --dist worksteal tests/properties; \
	  $(BIN)/python tests/properties/report.py $(REPORT) --output docs/properties.md

mutations: $(VENV)/.installed-dev
	$(BIN)/python tests/mutations.py --output docs/mutations.md

symmetry: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/symmetry.py $(if $(REFERENCE),--reference "$(REFERENCE)")

benchmarks: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/compare.py $(if $(REFERENCE),--reference "$(REFERENCE)")
	$(BIN)/python benchmarks/scaling.py

gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu.py $(if $(REFERENCE),--reference "$(REFERENCE)")

docs: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html -d build/docs-doctrees docs build/docs
	@echo "open build/docs/index.html"

links: docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -b linkcheck -d build/docs-doctrees docs build/links

warm-starts: $(VENV)/.installed-dev
	for data in ethanol cu3x; do \
	  $(BIN)/gemnet-blocks train benchmarks/ablation/warm/start-$$data.yaml && \
	  $(BIN)/gemnet-blocks ablate benchmarks/ablation/warm/$$data.yaml --output runs/warm-$$data || exit 1; \
	done

schemas: $(VENV)/.installed-dev
	for kind in spec training study; do $(BIN)/gemnet-blocks schema $$kind > paper_configs/$$kind.schema.json; done

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; choose one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,plot]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@if [ -d "$(WHEELS)" ]; then \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --find-links "$(WHEELS)" \
	    -c constraints.txt torch-scatter torch-cluster \
	  || echo "the builds in $(WHEELS) do not fit this Python; tests of the optional extras are skipped"; \
	fi
	touch $@
