# KubeNexus: `make run` and `make test` need Python 3.11+, make and git, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk 'BEGIN {FS = ":.*?## "} {printf "  %-12s %s\n", $$1, $$2}'

# A stamp per lock: nothing is installed again until the lock changes.
$(VENV)/.bootstrap: requirements/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit("KubeNexus needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

$(VENV)/.app: $(VENV)/.bootstrap requirements/app.lock pyproject.toml
	@echo "==> installing the locked dependencies"
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/app.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.app requirements/test.lock
	@echo "==> installing what the tests need"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/test.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.test requirements/bench.lock
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.lock
	@touch $@

.PHONY: run
run: $(VENV)/.app ## Start everything on this machine, with live clusters in the browser
	@exec $(BIN)/kubenexus run

.PHONY: test
test: $(VENV)/.test packages lint ## Install what the tests need and run them
	@$(BIN)/pytest -m "not slow"

.PHONY: packages
packages: # Debian's packages that the tests drive: a browser and kubectl
	@./tests/install-packages.sh

.PHONY: faults
faults: $(VENV)/.test packages ## The slow suites: kill, stop and starve every part
	@$(BIN)/pytest -m slow

.PHONY: cases
cases: $(VENV)/.test ## Checklist rows, their tests and last results
	@$(BIN)/python -m tests.cases

.PHONY: lint
lint: $(VENV)/.test ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: make fix"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > /tmp/lint-imports.$$$$ 2>&1 || { cat /tmp/lint-imports.$$$$; exit 1; }

.PHONY: fix
fix: $(VENV)/.test ## Format and repair what ruff can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

.PHONY: bench
bench: $(VENV)/.bench ## Measure the hot paths beside their peers; writes bench/results/latest.json
	@$(BIN)/python -m bench run

.PHONY: lock
lock: $(VENV)/.bootstrap ## Resolve the locks again from pyproject.toml
	@for set in "app" "test --group test" "bench --group test --group bench"; do \
	  set -- $$set; name=$$1; shift; \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --extra embedded "$$@" pyproject.toml -o requirements/$$name.lock; done

.PHONY: vendor
vendor: ## Fetch the front-end files again and record package, version, hash and licence
	@$(BIN)/python ui/static/vendor.py

.PHONY: clean
clean: ## Remove the environment and this machine's data
	@rm -rf $(VENV) .kubenexus
