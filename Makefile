# `make` alone prints what one can do. Everything is set up on first use, inside this folder.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export PYTHONUNBUFFERED := 1

# An entry of `sources` in params.yaml: make run SOURCE=till_export, make ui SOURCE=till_export, ...
ifdef SOURCE
export SCORING_SOURCE := $(SOURCE)
endif

.DEFAULT_GOAL := help
# What needs no server, scheduler, Java or git remote, on the embedded engine.
QUICK := $(addprefix tests/,test_layers.py test_doctests.py test_lake.py expectations features models \
	monitoring deliveries plugins dags)
NOT_QUICK := $(addprefix --ignore=tests/,dags/test_run_job.py models/test_store.py models/test_golden.py \
	models/test_registry.py monitoring/test_performance.py) --deselect tests/monitoring/test_drift.py::test_false_alarms_are_rare_at_the_smallest_sample

# What is compared with a file that people read.
GOLDEN := $(addprefix tests/,dags/test_dags.py features/test_dictionary.py models/test_card.py jobs/test_show_nights.py)

# What the benchmarks compare with has an environment of its own; what both use comes in the same version.
PEERS := data/bench/peers
SHARED := numpy|pandas|pyarrow|pyspark|xgboost

.PHONY: help run describe test quick check ui airflow night faults bench train lock golden env clean

help:   ## What one can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY)   ## History, training and some nights through Airflow: make run [SOURCE=till_export]
	@python -m local.run

describe: $(READY)   ## Look at a table and lay it out by day: make describe SOURCE=till_export TABLE=till.csv
	@test -n "$(SOURCE)" -a -n "$(TABLE)" || { echo "make describe SOURCE=till_export TABLE=till.csv"; exit 2; }
	@python -m jobs.describe_source "$(TABLE)" --name "$(SOURCE)" \
		--into "$(or $(SCORING_DATA_ROOT),data/$(SOURCE))/incoming"

test: check   ## All tests, in three processes side by side
	@python -m tests.side_by_side

quick: check   ## The tests that take a minute
	@python -m pytest -q $(QUICK) $(NOT_QUICK)

check: $(READY)   ## Style and types
	@ruff check . && ruff format --check . && mypy

ui: $(READY)   ## Airflow with its UI on this machine; Ctrl-C stops it
	@python -m local.airflow ui

airflow: $(READY)   ## Airflow's own commands, on this machine's Airflow: make airflow ARGS="dags list"
	@python -m local.airflow cli $(ARGS)

night: $(READY)   ## Run one night through Airflow: make night DATE=2026-04-01
	@python -m local.airflow nights --from "$(DATE)" --until "$(DATE)"

faults: $(READY)   ## Do to a night what can happen to one, 400 times: make faults [COUNT=400 SEED=1]; an hour
	@python -m benchmarks.faults --count $(or $(COUNT),400) --seed $(or $(SEED),1) --page docs/faults.md

bench: $(READY) $(PEERS)/.ready   ## This project beside its peers, on the same work: make bench [SIZE=small REPEATS=3 PARTS=ways]
	@python -m benchmarks.bench --size $(or $(SIZE),small) --repeats $(or $(REPEATS),3) --peers $(PEERS) \
		--parts $(or $(PARTS),ways)

train: $(READY)   ## Train in this checkout (dvc repro), and show what came out
	@python -m local.train

env: $(READY)   ## Write .env with fresh secrets, for docker compose
	@python -m local.env_file

golden: $(READY)   ## Accept outlines, cards and the data dictionary as they are now; read the diff before committing
	@python -m pytest $(GOLDEN) --rewrite-golden

lock: $(READY)   ## Resolve requirements.in into requirements.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" requirements.in -o requirements.txt

clean:   ## Remove the environment and all data of this checkout
	rm -rf $(realpath $(wildcard data/*/postgres/server)) .venv data

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up .venv, about a gigabyte to load (once; one to three minutes) ..."
	@$(PYTHON) -m venv --clear .venv
	@awk '/^[a-z]/ {wanted = /^uv==/} wanted' requirements.txt > .venv/uv.txt
	@python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.txt
	@touch $@

$(PEERS)/.ready: benchmarks/requirements.txt requirements.txt
	@echo "Setting up $(PEERS), what the benchmarks compare with ..."
	@mkdir -p data/bench && uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	@sed -nE 's/^(($(SHARED))==.*[^ \\]) *\\$$/\1/p' requirements.txt > $(PEERS)/shared.txt
	@uv pip install --quiet --python $(PEERS)/bin/python -r benchmarks/requirements.txt -c $(PEERS)/shared.txt
	@touch $@
