# make reproduce | plan | test | book | help; every target makes its own .venv first.
PYTHON ?= python3
TIER ?= smoke
MANIFEST ?= workflow/manifest.csv
SEEDS ?= $(if $(ALL),all,first)
PROFILE ?= local
BIN := .venv/bin
READY := .venv/ready
WORKERS ?= auto
# A worker a core, one thread each. loadfile: the tests of a file, and what they share, stay with one worker.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist

NPM := .venv/npm
LOWEST := .venv-lowest

.PHONY: help reproduce plan book pdf fresh links lighthouse lint test test-slow test-browser test-door test-lowest torture bench pair readme \
  lock set-repository
.DELETE_ON_ERROR:

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST)

reproduce: $(READY) ## the runs of MANIFEST, the table, the book; TIER=smoke|quick|paper SEEDS="0 1" or ALL=1 PROFILE=slurm
	@$(BIN)/python -m evalib reproduce --tier $(TIER) --seeds "$(SEEDS)" --manifest "$(MANIFEST)" --profile "$(PROFILE)"

plan: $(READY) ## which of these runs are done, begun or to do, and the time
	@$(BIN)/python -m evalib plan --tier $(TIER) --seeds "$(SEEDS)" --manifest "$(MANIFEST)"

book: $(READY) ## the book, warnings as errors, into _build/html
	$(BIN)/jupyter-book build . -n -W --keep-going

pdf: $(READY) ## the built book as one file, into _build/evalib.pdf
	$(BIN)/python scripts/pdf.py

test: $(READY) ## the suite; WORKERS=0 for one test after the other
	$(PYTEST) loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY) ## what starts Snakemake and Slurm, kills what runs, or takes minutes
	$(PYTEST) worksteal -m slow

test-browser: $(READY) ## the pages in Chromium, after make book; a missing browser is an error here
	EVALIB_BROWSER=required $(PYTEST) worksteal tests/browser

test-door: $(READY) ## each notebook alone, installing evalib as in Colab, from the last commit
	$(PYTEST) worksteal tests/door

test-lowest: $(READY) ## the same with the lowest versions that evalib[book] admits; 3 GB to fetch
	$(BIN)/uv pip compile --quiet --python-version 3.11 --resolution lowest-direct --extra book --no-header --no-annotate -o .venv/lowest.txt pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -r .venv/lowest.txt pip setuptools ipykernel
	EVALIB_DOOR_PYTHON="$(CURDIR)/$(LOWEST)/bin/python" $(PYTEST) worksteal tests/door

fresh: $(READY) ## the pages of the built book that would change if it were built now
	$(BIN)/python book/finishing.py

links: $(READY) ## every link of the built book, those to other hosts too
	$(BIN)/lychee --no-progress --include-fragments --exclude-path 'macros\.html$$' --root-dir "$(CURDIR)/_build/html" '_build/html/**/*.html'

lighthouse: $(READY) $(NPM) ## Lighthouse over the built book, by .lighthouserc.json: all pages or PAGES="index.html …"
	CHROME_PATH="$${EVALIB_CHROMIUM:-$$(command -v chromium)}" $(NPM)/node_modules/.bin/lhci collect $(PAGES:%=--url=http://localhost/%)
	$(NPM)/node_modules/.bin/lhci assert

lint: $(READY) ## style and types of the code and the notebooks, the workflows, the citation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

lock: $(READY) ## requirements.txt, versions with hashes, from requirements.in; and LICENCES.md
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  -o requirements.txt requirements.in
	$(MAKE) $(READY)
	$(BIN)/python scripts/licences.py

set-repository: $(READY) ## the repository's address, everywhere: REPO=owner/name
	$(BIN)/python scripts/set_repository.py $(REPO)
	@touch $(READY)  # pyproject.toml has changed, and no dependency

pair: $(READY) ## bring each notebook's .ipynb in step with its .py
	$(BIN)/jupytext --quiet --to ipynb --update notebooks/*.py

torture: $(READY) ## kill a run at 20 random moments
	EVALIB_KILLS=20 $(BIN)/python -m pytest tests/test_faults.py -k kill_9

bench: $(READY) ## attention and trainer timed against others, into results/benchmarks/
	$(BIN)/python -m pip install --quiet --no-deps -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/training.py

readme: $(READY) ## write Table 1 and its picture into README.md, effects and times into book/departures.md and book/running.md
	$(BIN)/python scripts/update_readme.py
	$(BIN)/python scripts/picture.py

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null || true  # as pip does, but on every core; some packages hold bad Python
	@touch $@

$(NPM): Makefile
	npm install --silent --no-fund --no-audit --prefix $(NPM) @lhci/cli@0.15.1
	@touch $@
