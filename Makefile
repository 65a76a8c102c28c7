# Two commands do everything: `make book` and `make test`. Each sets up .venv by itself.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PROFILE ?= ci
BIN := .venv/bin
export MPLBACKEND := Agg

.PHONY: book figures figure test lint pair exercises bench peers lock readme clean help

book: .venv/.ready ## run the notebooks that changed and render the book (PROFILE=ci or paper)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/build.py book --profile $(PROFILE)

figures: .venv/.ready ## run the notebooks that changed, without rendering
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/build.py figures --profile $(PROFILE)

figure: .venv/.ready ## run the notebook that makes one figure (NAME=hero), if it changed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/build.py figure --name $(NAME) --profile $(PROFILE)

test: .venv/.ready ## run the tests, a file on each core, the longest files first
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: .venv/.ready ## check style, format, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pair: .venv/.ready ## rewrite notebooks/*.ipynb from their .py sources
	$(BIN)/python book/build.py pair

exercises: .venv/.ready ## write the exercises as hand-out and with solutions to _build/exercises
	$(BIN)/python book/exercises.py

bench: .venv/.ready ## print speed ratios measured in one run
	$(BIN)/python benchmarks/speed.py

peers: .venv/.ready ## tune and run other programs on the same counts, each in its own environment
	$(BIN)/python benchmarks/peers/check.py
	$(BIN)/python benchmarks/peers/tune.py
	$(BIN)/python benchmarks/peers/compare.py

readme: .venv/.ready ## refresh the README's picture and verdicts from the notebooks' results
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python book/build.py readme --profile $(PROFILE)

lock: ## solve the environment anew and rewrite constraints.txt (edit the direct pins first)
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/pip install -q -c constraints.txt ".[book,test]"
	_build/lock/bin/pip freeze | sed 's/+cpu$$//' > _build/frozen.tmp
	{ sed -n '/^#/p; /^[^#].*;/p' constraints.txt; \
	  sed -n 's/^\([^#=]*==\).*;.*/^\1/p' constraints.txt | grep -vif - _build/frozen.tmp | grep -v '^misr4d'; \
	} > _build/constraints.tmp
	mv _build/constraints.tmp constraints.txt

.venv/.ready: pyproject.toml constraints.txt
	@echo "Setting up .venv with $(PYTHON) (about a minute, and longer the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)} and "the book and its tests need Python 3.11 or 3.12, for which py4DSTEM can be had; this is " + sys.version.split()[0] + ". Name one: make PYTHON=/path/to/python3.11. On Python 3.13 the package alone works: python3.13 -m pip install -c constraints.txt .")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[book,test]"
	@touch $@

clean: ## remove everything that was built, .venv included
	rm -rf .venv _build _output build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 18
