PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CODE := label_guard scripts tests
ENVIRONMENT := $(VENV)/.installed
PYTEST_ARGS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install run test test-long test-clients test-engines test-lowest test-wheel check torture fuzz bench bench-quick bench-scale bench-causes docs screenshots format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(ENVIRONMENT) ## Make the environment, with the tested versions of everything

$(ENVIRONMENT): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev
	@touch $@

run: $(ENVIRONMENT) ## Train on faulty digits without and with the guard, and show the difference
	$(BIN)/python scripts/demo.py

# The browser tests need Chromium: installed where this machine allows it, else they are skipped (in CI they fail).
$(VENV)/.browser: $(ENVIRONMENT)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium >/dev/null 2>&1; } \
		|| echo "Chromium is missing and could not be installed"
	@touch $@

test: $(VENV)/.browser ## Run the tests but for the full matrices
	$(BIN)/python -m pytest -m "not long and not clients" $(PYTEST_ARGS)

test-long: $(VENV)/.browser ## Run every test
	$(BIN)/python -m pytest -m "not clients" $(PYTEST_ARGS)

test-clients: $(ENVIRONMENT) ## Run the guard in Keras, PyTorch, TensorFlow and Hugging Face datasets; installs some gigabytes
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group clients
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/clients

# A Ray, a Spark and a Dask are more than a GiB, so they have an environment of their own. Spark needs Java 17: it is
# installed where this machine allows it, else the tests of Spark fail and say so.
$(VENV)-engines/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-engines
	$(VENV)-engines/bin/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(VENV)-engines/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[parquet,ray,spark]" --group engines
	@command -v java >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y default-jre-headless >/dev/null 2>&1; } \
		|| echo "Java is missing and could not be installed"
	@touch $@

test-engines: $(VENV)-engines/.installed ## Run audits on local clusters of Ray, Spark and Dask whose workers are killed
	LABEL_GUARD_CLUSTERS=1 $(VENV)-engines/bin/python -m pytest --confcutdir=tests/clusters -W default tests/clusters

test-lowest: ## Run the tests with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --upgrade --constraint constraints-lowest.txt pip
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[all]" --group test
	$(VENV)-lowest/bin/python -m pytest -m "not long and not clients" -W default $(PYTEST_ARGS)

test-wheel: $(ENVIRONMENT) ## Build the wheel, run the tests against it, and try it with each extra in an environment of its own
	rm -rf build/wheel dist && mkdir -p build/wheel
	$(BIN)/python -m hatchling build -t wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(VENV)-wheel/bin/python -m pip install --quiet --constraint constraints.txt --force-reinstall --no-deps dist/*.whl
	$(VENV)-wheel/bin/python -m pip install --quiet --constraint constraints.txt "label-guard[all]" --group dev
	git ls-files | grep -v ^label_guard/ | tar -c -T - | tar -x -C build/wheel
	cd build/wheel && ../../$(VENV)-wheel/bin/python -m pytest -m "not long and not clients and not source" $(PYTEST_ARGS) tests
	$(BIN)/python scripts/extras.py dist/*.whl

torture: $(ENVIRONMENT) ## Kill, stop and starve runs and audits a thousand times, and count what is lost; about 10 minutes
	$(BIN)/python scripts/torture --json runs/torture.json

$(VENV)/.fuzz: $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group fuzz
	@touch $@

fuzz: $(VENV)/.fuzz ## Fuzz every reader of foreign bytes for a minute, guided by coverage
	$(BIN)/python scripts/fuzz

check: $(ENVIRONMENT) ## Check format, style, types, imports and the shipped schemas
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/label-guard lint configs

$(VENV)/.bench: $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	@touch $@

bench: $(VENV)/.bench ## Compare every promise of speed with the alternatives; figures in runs/bench.json
	cd scripts && ../$(BIN)/python -W ignore -m bench --json ../runs/bench.json

bench-causes: $(ENVIRONMENT) ## How often the right cause is named, and whether a suggested change or a draft ever does harm
	cd scripts && ../$(BIN)/python -W ignore -m bench.causes

bench-quick: $(ENVIRONMENT) ## The same in a minute: few rounds, small data
	cd scripts && ../$(BIN)/python -W ignore -m bench --quick --json ../runs/bench-quick.json

bench-scale: $(ENVIRONMENT) ## How every cost grows over three decades of shards, classes and records; fails on a wrong exponent
	cd scripts && ../$(BIN)/python -W ignore -m bench.scale --json ../runs/bench-scale.json

$(VENV)/.docs: $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	@touch $@

docs: $(VENV)/.docs ## Build the site into build/site; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

screenshots: $(VENV)/.browser ## Take pictures of HTML reports, the one of the README included
	$(BIN)/python scripts/screenshots.py runs/screenshots --readme docs/images/report.png

format: $(ENVIRONMENT) ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## Remove the environment, the data and what runs have left
	rm -rf $(VENV) $(VENV)-engines $(VENV)-lowest $(VENV)-wheel data runs build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
