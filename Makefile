# Borderline. `make help` lists the targets.
PYTHON ?= python3.11
EXPERIMENTS ?= sft,dmpo-k1,dmpo-k15,sdpo-k15,dynamicpo-dmpo-k15,dynamicpo-sdpo-k15,item-cooccurrence,item-knn
DATASET ?= demo
BIN := .venv/bin

# Two workers with one thread each: on two cores more threads only wait for each other.
PYTEST = OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/pytest -n 2 --durations=20 --durations-min=1
DOCTESTS = training evaluation contracts assets/lake/validate.py assets/sources assets/transforms
LAWS = quick

.PHONY: help install run ui test check lint types imports unit coverage image bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

install: .venv/installed  ## create .venv with every package pinned in constraints.txt

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: install  ## the built-in demo from raw log to leaderboard; or: make run DATASET=ml-100k EXPERIMENTS=sft,dmpo-k15
	$(BIN)/borderline run --dataset $(DATASET) --experiments $(EXPERIMENTS)

ui: install  ## the Dagster UI and MLflow, on loopback
	$(BIN)/borderline ui

test: LAWS = thorough
test: check  ## everything: what `make check` runs, with more examples a law, then the slow tests (processes, walks, servers)
	$(PYTEST) --dist loadfile --no-loadscope-reorder -m slow tests

check: install lint types imports unit  ## ruff, pyright, import directions, doctests, unit tests and laws; no walks

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: install
	$(BIN)/lint-imports

unit: install
	$(PYTEST) --dist worksteal -m "not slow" --hypothesis-profile=$(LAWS) --doctest-modules $(DOCTESTS) tests

coverage: install  ## all tests once with coverage of lines, their processes included; writes .coverage and prints what is not covered
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder --doctest-modules $(DOCTESTS) tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

image: install  ## replay the Dockerfile on a bare Debian and work in it (root, debootstrap)
	docker/prove_image.sh

bench: install  ## the named benchmarks, each a ratio against an opponent in the same run
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove what runs wrote (.borderline), not the environment
	rm -rf .borderline
