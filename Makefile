PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13
BIN := .venv/bin

.PHONY: run test slow mutate build check prove lint bench pdf compatible lowest newest pythons clean

run: .venv/installed
	$(BIN)/python -m generated.run --compare

test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

slow: .venv/installed
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

mutate: .venv/mutmut
	$(BIN)/python -m tests.tools.mutate $(ROOM) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(TESTS),--tests $(TESTS))

build: .venv/installed
	$(BIN)/python -m derive.build

check: .venv/installed
	$(BIN)/python -m derive.build --check

prove: .venv/installed
	$(BIN)/python -m derive.prove

bench: .venv/installed
	$(BIN)/python -m tests.tools.benchmark

pdf: .venv/installed
	$(BIN)/python -m derive.build --pdf

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.house

# The versions that pyproject.toml allows. torch is the one of constraints.txt throughout: on Linux, the others that PyPI
# has are CUDA builds of gigabytes. Pythons without a torch derive, check and prove the package, but do not run it.
compatible: lowest newest pythons

lowest newest: %: .venv-%/installed
	.venv-$@/bin/python -m pytest -n auto --dist worksteal

.venv-lowest/installed: pyproject.toml tests/tools/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c tests/tools/lowest.txt setuptools wheel
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c tests/tools/lowest.txt \
		--no-build-isolation -e ".[test,plot,weights]"
	touch $@

.venv-newest/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade setuptools wheel
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		--no-build-isolation $$(grep ^torch== constraints.txt) -e ".[test,plot,weights]"
	touch $@

pythons:
	for python in $(PYTHONS); do \
		$$python --version || continue; \
		$$python -m venv --clear .venv-python && \
		.venv-python/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt sympy numpy jinja2 && \
		.venv-python/bin/python -m derive.build --check && .venv-python/bin/python -m derive.prove || exit 1; \
	done

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[test,plot,weights]"
	touch $@

.venv/mutmut: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[mutate]"
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
