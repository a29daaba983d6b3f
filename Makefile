# `make run` and `make test` do all the set-up they need. `make help` lists the commands.
.DEFAULT_GOAL := help
.PHONY: help setup run test lint format demo bench lock
export UV_PYTHON_DOWNLOADS := never
# Where this is set, every process compiles the program and its libraries anew.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3.11
BIN := .venv/bin

help:  ## List the commands
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(BIN)/tracker  ## Make .venv with the hash-pinned packages and the program in it

run: setup  ## Set up what is missing and serve the tracker with the OHCHR assessment
	@$(BIN)/tracker run

test: .venv/tested  ## Pass all tests, on SQLite and PostgreSQL, with a real browser
	@sh tests/browser/install.sh
	@sh tests/install.sh
	@$(BIN)/python -m pytest -q -n 3 --dist worksteal $(T)

lint: .venv/tested  ## Check style, types and templates
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/djlint --lint --quiet templates

format: .venv/tested  ## Bring the code into shape
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

demo: setup  ## Add the fictional Republic of Arvenia, to try things on
	@$(BIN)/tracker init
	@$(BIN)/tracker demo

bench: .venv/tested  ## Measure, and print a table
	@$(BIN)/python -m tests.benchmarks

lock: .venv/tested  ## Renew the locks in requirements/
	@for name in uv base test; do $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url \
	  --no-header --python-version 3.11 --quiet --upgrade requirements/$$name.in -o requirements/$$name.txt; done

# pip only fetches uv, by hash; uv then installs the rest in seconds. `--without-pip` and `--python` need neither
# Debian's python3-venv nor --break-system-packages.
$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -m venv --without-pip .venv
	@$(PYTHON) -m pip --quiet --disable-pip-version-check --python $(BIN)/python install --require-hashes -r requirements/uv.txt
	@touch $@

$(BIN)/tracker: requirements/base.txt $(BIN)/uv
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements/base.txt
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "tracker.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@printf '#!%s\nfrom tracker.cli import main\n\nif __name__ == "__main__":\n    main()\n' "$$PWD/$(BIN)/python" > $@
	@chmod +x $@

.venv/tested: requirements/test.txt $(BIN)/tracker
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements/test.txt
	@touch $@
