# make reproduce | test | book | help; every target makes its own .venv first.
PYTHON ?= python3
TIER ?= smoke
SEED ?= 0
BIN := .venv/bin
READY := .venv/ready
EXPERIMENTS := resnet20-small sanet20-small evanet20-small resnet20-large sanet20-large evanet20-large
RECORDS := $(EXPERIMENTS:%=results/$(TIER)/%-seed$(SEED).json)

.PHONY: help reproduce book test torture pair readme
.DELETE_ON_ERROR:

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1  /p' $(MAKEFILE_LIST)

reproduce: $(RECORDS) ## six rows of Table 1 through papermill, the table, the book; TIER=smoke|quick|paper SEED=0
	@$(MAKE) --no-print-directory book
	@$(BIN)/python -m evalib table
	@echo "Open $(CURDIR)/_build/html/index.html"

results/$(TIER)/%-seed$(SEED).json: | $(READY)
	@mkdir -p $(@:.json=)
	$(BIN)/papermill notebooks/train.ipynb $(@:.json=)/train.ipynb -k python3 --no-progress-bar --log-output \
	    -p experiment $* -p seed $(SEED) -p tier $(TIER)

book: $(READY) ## the book, warnings as errors, into _build/html
	$(BIN)/jupyter-book build . -n -W --keep-going

test: $(READY) ## the whole suite
	$(BIN)/python -m pytest

pair: $(READY) ## bring each notebook's .ipynb in step with its .py
	for page in notebooks/*.py; do $(BIN)/jupytext --quiet --to ipynb --update $$page; done

torture: $(READY) ## kill a run at 20 random moments
	EVALIB_KILLS=20 $(BIN)/python -m pytest tests/test_faults.py -k kill_9

readme: $(READY) ## write Table 1 into README.md
	$(BIN)/python scripts/update_readme.py

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
