# Every target sets up .venv when it must. PYTHON=… chooses the interpreter that makes it (3.11 or newer), JOBS=… how
# many tests run at once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
READY  := $(VENV)/.ready
MODEL  := $(VENV)/.model
BOOK   := _build/html/.built
JOBS   ?= auto
# One process a core, one thread each; a file's tests stay together.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) --maxprocesses 8 --dist loadfile
PAGES  := _config.yml _toc.yml CITATION.cff recipes/registry.py artifacts/manifest.json $(wildcard benchmarks/*.json benchmarks/*.md) benchmarks/headlines.py $(shell find book notebooks helpers -type f -not -name '*.tmp' -not -path '*/.*' -not -path '*/__pycache__/*')

.DEFAULT_GOAL := help
.PHONY: help book pdf test run lab artifacts status bench colab publish thread clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.txt pyproject.toml
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . 2>/dev/null \
	  || $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(MODEL): $(READY)
	$(PY) -m helpers.lm
	@touch $@

book: $(BOOK)  ## build the site into _build/html (no model needed)

$(BOOK): $(READY) $(PAGES)
	$(BIN)/jupyter-book build . --all -n -W --keep-going
	@touch $@

pdf: $(BOOK)  ## the whole book as one file, _build/pdf/book.pdf (needs Chromium)
	$(PY) tools/pdf.py

test: $(MODEL) $(BOOK)  ## lint, tests, and every notebook run again and compared
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(PYTEST) tests
	$(PYTEST) --doctest-modules helpers recipes/command.py
	$(PYTEST) --nbval notebooks

run: $(MODEL)  ## run the notebooks and write their outputs back
	$(BIN)/ruff format --quiet notebooks
	$(PY) tools/execute.py $(NOTEBOOKS)

lab: $(MODEL)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

artifacts: $(MODEL)  ## repeat the long computations (REDUCED=1 for a small version)
	$(PY) -m recipes --all $(if $(REDUCED),--reduced)

status: $(MODEL)  ## run every notebook again, compare, and write down when it agreed and how long it took
	$(PY) tools/status.py $(NOTEBOOKS)

bench: $(MODEL)  ## compare with other libraries, side by side
	bash benchmarks/peers.sh
	$(PY) -m benchmarks.bench
	$(PY) -m benchmarks.superposition
	$(PY) -m benchmarks.geometry
	$(PY) -m benchmarks.singular
	$(PY) -m benchmarks.whole
	$(PY) -m benchmarks.costs
	$(PY) -m benchmarks.dashboard
	$(PY) tools/readme.py

colab: $(READY)  ## rehearse Colab: fresh environment, one notebook alone in an empty folder
	$(PY) tools/rehearse.py --python $(PYTHON) $(NOTEBOOK)

publish: $(READY)  ## build with URL=https://github.com/you/book stamped in; prepare the colab branch
	@test -n "$(URL)" || { echo "make publish needs URL=https://github.com/you/book"; exit 2; }
	$(PY) tools/publish.py $(URL)

thread: $(MODEL)  ## begin a chapter: TITLE="…" QUESTION="…"
	@test -n "$(TITLE)" || { echo 'make thread needs TITLE="Three riffles"'; exit 2; }
	$(PY) tools/thread.py "$(TITLE)" $(if $(QUESTION),"$(QUESTION)")

clean:  ## remove the built site (the environment and the cache stay)
	rm -rf _build
