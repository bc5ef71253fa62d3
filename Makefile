# Borderline. `make help` lists the targets.
PYTHON ?= python3.11
EXPERIMENTS ?= sft,dmpo-k1,dmpo-k15,sdpo-k15,dynamicpo-dmpo-k15,dynamicpo-sdpo-k15,item-cooccurrence,item-knn
DATASET ?= demo
BIN := .venv/bin

.PHONY: help install run ui test check bench image clean

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

test: install check  ## everything: what `make check` runs, then pipeline and integration tests
	$(BIN)/pytest -n 2 tests/pipeline tests/integration tests/gpu

check: install  ## ruff, pyright, import directions, doctests, unit tests and laws
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --doctest-modules training evaluation assets/lake/validate.py assets/transforms/database.py assets/sources assets/transforms contracts tests/contracts tests/assets tests/training tests/evaluation tests/orchestration tests/borderline tests/laws tests/golden

image: install  ## replay the Dockerfile on a bare Debian and work in it (root, debootstrap)
	docker/prove_image.sh

bench: install  ## the named benchmarks, each a ratio against an opponent in the same run
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:  ## remove what runs wrote (.borderline), not the environment
	rm -rf .borderline
