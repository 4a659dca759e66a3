# From a fresh clone with Python 3.11-3.13, bash and make: `make demo`, `make test`.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help setup demo test test-slow lint format bench bench-data clean

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

setup: ## make .venv with everything pinned (uv when on PATH, else pip)
	@tools/setup.sh

demo: setup ## the main job: Fashion-MNIST -> trained, judged, exported and served DCGAN in demo/
	@$(PY) -m pipeline.demo --root=demo

test: setup ## lint, import rules and the default tests (under 10 minutes on 2 cores)
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -m pytest -n 2 --dist loadfile

test-slow: setup ## the tests marked slow
	@$(PY) -m pytest -m slow

lint: setup ## ruff check and format check
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

format: setup ## ruff format and the fixes it is sure of
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

bench: setup ## DCGAN-32 against eager PyTorch, alternately (installs torch into .venv-bench)
	@benchmarks/run.sh

bench-data: setup ## preparing and reading data: images/s, memory, exactness (15 minutes, fetches packages)
	@$(PY) benchmarks/prepare.py && $(PY) benchmarks/reader.py

clean: ## remove the demo's folder and caches; keep .venv
	rm -rf demo .pytest_cache .ruff_cache
