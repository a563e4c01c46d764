# `make` lists the targets. Every one but help and clean first makes .venv, once.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt
RESNET := benchmarks/resnet50v2_backbone
RESNET_PROJECT := $(wildcard $(RESNET)/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 8
	@echo "The Python that makes .venv: make PYTHON=python3.12 setup. The exact pins want 3.11 or newer."

setup: .venv/.done ## make .venv with uop3d and all it needs (first time: about 2.9 GB, 2 minutes)

.venv/.done: pyproject.toml setup.py package.xml constraints.txt $(RESNET_PROJECT)
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "Installing uop3d with torch and the rest into .venv: about 2.9 GB and 2 minutes the first time ..."
	@$(PIP) -e '.[dinov2,test,dev]'
	@$(if $(RESNET_PROJECT),$(PIP) --no-deps -e $(RESNET))
	@touch $@
	@echo "Ready: .venv/bin/uop3d"

demo: setup ## learn a category and estimate poses, into runs/demo
	@.venv/bin/uop3d demo --out runs/demo

# One thread per worker: torch gets many times slower when its threads outnumber the cores.
test: setup ## run the tests (without those that need ROS 2)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 test

lint: setup ## check style, formatting and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy uop3d_core

docs: setup ## the documentation as a site that works from disk, into site/
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(PY) -m mkdocs build --quiet --strict
	@echo "Open site/index.html"

bench: demo ## compare with the published method, on the demo's captures and model
	@$(PY) benchmarks/alignment.py runs/demo/captures/mug --backbone hog --only mug_00 mug_01 mug_02 mug_03 --json runs/demo/bench_alignment.json
	@$(PY) benchmarks/pose.py runs/demo/run runs/demo/captures/mug --every 4 --json runs/demo/bench_pose.json

clean: ## remove .venv, caches and build products, but not runs/
	@rm -rf .venv build install log site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage ./*.egg-info
	@find uop3d_core uop3d_ros test benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
