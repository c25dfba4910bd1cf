# Two commands on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNS ?= runs/demo
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# No package hub is reached at run time, by anything.
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# Bytecode is kept, whatever the environment says: every process that a test starts would compile everything again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo gates test lint types bench browser catalogue mutants clean

demo: $(READY)
	$(BIN)/python -m training demo judge --runs $(RUNS)
	$(MAKE) --no-print-directory gates

# The last checkpoint of each stage; both are judged, so that one run tells all. Fails unless both are PROMOTE.
gates: $(READY)
	@status=0; for stage in stage3 stage4; do \
	  ckpt=$$(ls -d $(RUNS)/$$stage/checkpoint_* | sort -V | tail -n 1); \
	  $(BIN)/python -m pytest gates/$$stage --ckpt=$$ckpt || status=$$?; \
	done; exit $$status

test: $(READY) lint types
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Ratios, each to something measured in the same run; BENCH_GB is the size of each of the two models.
BENCH_GB ?= 4
bench: $(READY)
	$(BIN)/python -m bench.audit --gigabytes $(BENCH_GB)
	$(BIN)/python -m bench.scoring
	$(BIN)/python -m bench.generation
	$(BIN)/python -m bench.sampling
	$(BIN)/python -m bench.history

# Every known fault planted in copies of the finished demo and of its twin with tied embeddings; writes docs/faults.md.
catalogue: $(READY)
	$(BIN)/python -m training demo --runs $(RUNS)
	@mkdir -p $(dir $(RUNS))tied  # the twin has the demo's media and codecs
	cp -an $(RUNS)/media $(RUNS)/codecs $(RUNS)/.training-run.json $(dir $(RUNS))tied
	$(BIN)/python -m training demo --recipe tied --runs $(dir $(RUNS))tied
	CATALOGUE_RUNS=$(dir $(RUNS)) $(BIN)/python -m pytest tests/test_catalogue.py -s -k "whole_catalogue"
	CATALOGUE_RUNS=$(dir $(RUNS)) $(BIN)/python -m pytest tests/test_catalogue.py -n 2 -k "following_the_advice"
	$(BIN)/python -m gates.selftest.document docs/faults.md $(dir $(RUNS))catalogue/*/*/selftest.json

# Whether the tests notice when a judge judges otherwise (docs/mutants.md). Not part of `make test`.
mutants: $(READY)
	$(BIN)/python -m tests.mutants $(MUTANTS)

# Reports in Chromium, with axe-core; skipped, in so many words, where node, npm or Chromium is missing. docs/reports.md.
browser: $(READY)
	@sh tests/browser/run.sh $(BIN)/python

$(READY): pyproject.toml constraints.txt requirements-nodeps.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; found " + sys.version.split()[0] + ". Name one: make PYTHON=python3.11 …")'
	@echo "installing into $(VENV) (once, one to three minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --no-deps -r requirements-nodeps.txt
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs outputs .cache
