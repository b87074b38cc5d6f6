# make reproduce | plan | test | book | help; every target makes its own .venv first.
PYTHON ?= python3
TIER ?= smoke
MANIFEST ?= workflow/manifest.csv
SEEDS ?= $(if $(ALL),all,first)
PROFILE ?= local
BIN := .venv/bin
READY := .venv/ready

.PHONY: help reproduce plan book lint test test-browser torture whole bench pair readme
.DELETE_ON_ERROR:

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST)

reproduce: $(READY) ## the runs of MANIFEST, the table, the book; TIER=smoke|quick|paper SEEDS="0 1" or ALL=1 PROFILE=slurm
	@$(BIN)/python -m evalib reproduce --tier $(TIER) --seeds "$(SEEDS)" --manifest $(MANIFEST) --profile $(PROFILE)

plan: $(READY) ## which of these runs are done, stale, begun or to do, and the time
	@$(BIN)/python -m evalib plan --tier $(TIER) --seeds "$(SEEDS)" --manifest $(MANIFEST)

book: $(READY) ## the book, warnings as errors, into _build/html
	$(BIN)/jupyter-book build . -n -W --keep-going

test: $(READY) ## the whole suite
	$(BIN)/python -m pytest

test-browser: $(READY) ## the pages in Chromium, after make book; a missing browser is an error here
	EVALIB_BROWSER=required $(BIN)/python -m pytest tests/browser

lint: $(READY) ## style of the code and of the notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check

pair: $(READY) ## bring each notebook's .ipynb in step with its .py
	for page in notebooks/*.py; do $(BIN)/jupytext --quiet --to ipynb --update $$page; done

torture: $(READY) ## kill a run at 20 random moments
	EVALIB_KILLS=20 $(BIN)/python -m pytest tests/test_faults.py -k kill_9

whole: $(READY) ## the whole manifest at the smoke tier through both profiles; an hour or so on two cores
	EVALIB_WHOLE=1 $(BIN)/python -m pytest tests/test_slurm.py -s -k whole

bench: $(READY) ## attention and trainer timed against others, into results/benchmarks/
	$(BIN)/python -m pip install --quiet --no-deps -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/attention.py $(BENCH)
	$(BIN)/python benchmarks/training.py

readme: $(READY) ## write Table 1 into README.md, and the effects into book/departures.md
	$(BIN)/python scripts/update_readme.py

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
