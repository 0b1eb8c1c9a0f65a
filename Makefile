PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test mutate build check prove lint bench pdf clean

run: .venv/installed
	$(BIN)/python -m generated.run --compare

test: .venv/installed
	$(BIN)/python -m pytest

mutate: .venv/mutmut
	$(BIN)/python -m tests.mutate $(if $(SAMPLE),--sample $(SAMPLE)) $(ONLY)

build: .venv/installed
	$(BIN)/python -m derive.build

check: .venv/installed
	$(BIN)/python -m derive.build --check

prove: .venv/installed
	$(BIN)/python -m derive.prove

bench: .venv/installed
	$(BIN)/python -m tests.benchmark

pdf: .venv/installed
	$(BIN)/python -m derive.build --pdf

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[test,plot,weights]"
	touch $@

.venv/mutmut: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[mutate]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
