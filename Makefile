# Two commands matter: `make reproduce` and `make test`. Both prepare .venv when it is missing or when settings.ini has changed.
PRESET ?= cpu
SEEDS ?= 0
ONLY ?=
PIP_ARGS ?=
# Packages of this machine's own Python that are kept as they are, for example KEEP="torch transformers accelerate" with a GPU
KEEP ?=
SUPPORTED := import sys; sys.exit(sys.version_info[:2] < (3,11))
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,$(shell command -v $(p) >/dev/null && $(p) -c '$(SUPPORTED)' 2>/dev/null && echo $(p))))
BIN := .venv/bin
READY := .venv/.installed
BROWSER := .venv/.browser
LIST := import configparser as c, sys; s=c.ConfigParser(); s.read("settings.ini"); d=s["DEFAULT"]; print(*[p for p in (d["requirements"]+" "+d["dev_requirements"]).split() if p.split("==")[0] not in sys.argv])

# One torch thread a process (two processes run side by side), no network once installed, nothing left to chance.
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
export PYTHONHASHSEED := 0

.PHONY: help install reproduce exhibits test export clean-nbs readme
.DELETE_ON_ERROR:

help:
	@echo "make reproduce   the whole study at PRESET=$(PRESET) with SEEDS=$(SEEDS) (0: as many as the preset has): tables, figures and pages under reports/$(PRESET)/"
	@echo "                 PRESET=smoke|cpu|gpu|paper; ONLY=13_train or ONLY=t3 runs one part; a run that was stopped resumes"
	@echo "make exhibits    redraw tables, figures and pages of PRESET from reports/$(PRESET)/data, no training"
	@echo "make test        every check that CI runs"
	@echo "make install     .venv with the pinned packages (PIP_ARGS are passed on to pip: --extra-index-url, for example; KEEP=\"torch transformers\" keeps those of this machine)"
	@echo "make export      write ded/ anew from nbs/;  make clean-nbs: strip notebook noise;  make readme: README.md from nbs/index.ipynb"

install: $(READY) $(BROWSER)

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and none is on the PATH: install one, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "creating .venv with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(if $(KEEP),--system-site-packages) .venv

$(READY): settings.ini setup.py | $(BIN)/pip
	@echo "installing the pinned packages of settings.ini into .venv"
	@$(BIN)/pip install -q --disable-pip-version-check $(PIP_ARGS) $$($(BIN)/python -c '$(LIST)' $(KEEP))
	@$(BIN)/pip install -q --disable-pip-version-check $(PIP_ARGS) --no-deps -e .
	@touch $@

# A browser for tests/test_page.py alone: fixed by a lock file, no package runs a script. Nothing else needs npm, and without it that test is skipped.
$(BROWSER): tests/browser/package-lock.json tests/browser/unpack.mjs | $(BIN)/pip
	@echo "installing the browser of tests/test_page.py into .venv/browser"
	@command -v npm >/dev/null && npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retry-mintimeout=1000 >/dev/null \
		&& node tests/browser/unpack.mjs .venv/browser && rm -rf tests/browser/node_modules && touch $@ \
		|| echo "no browser: npm is missing or failed, so tests/test_page.py will be skipped" >&2

reproduce: $(READY)
	@$(BIN)/ded reproduce --preset $(PRESET) --seeds $(SEEDS) $(if $(ONLY),--only $(ONLY))

exhibits: $(READY)
	@$(BIN)/ded exhibits --preset $(PRESET)

test: $(READY) $(BROWSER)
	@echo "== notebooks are clean, ded/ is what they export"
	@$(BIN)/python -m pytest -q -x tests/test_clean.py tests/test_sync.py
	@echo "== the library notebooks test themselves"
	@$(BIN)/nbdev_test --n_workers 2
	@echo "== what no notebook can say about itself"
	@$(BIN)/python -m pytest -q -x -rs --durations=8 tests

export: $(READY)
	@$(BIN)/nbdev_export

clean-nbs: $(READY)
	@$(BIN)/nbdev_clean

readme: $(READY)
	@$(BIN)/python tests/readme.py
