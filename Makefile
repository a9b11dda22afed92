# `make demo` and `make test` need Python 3.10 or newer and nothing else; both install into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= a photo of a green triangle above a purple circle
QUICK := $(addprefix tests/core/test_,golden_histories.py record.py search.py search_rounds.py \
	search_properties.py previews.py thinking.py staged.py adaptive.py portfolio.py recheck.py archive.py \
	report.py registry.py verifier_spec.py vlm_answers.py vlm_writers.py vlm_verifiers.py)
# Two threads on two busy cores wait for each other more than they work.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test quick test-comfyui check check-pack benchmark gpu rehearsal clean

demo: $(VENV)/.demo
	rm -rf demo
	$(BIN)/reflectionflow run "$(PROMPT)" --out demo --strategy reflection --width 3 --seed 8

# Files are begun in our order (tests/conftest.py), the slow ones first.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The core's tests that load no model: for while one works on it.
quick: $(VENV)/.installed
	REFLECTIONFLOW_QUICK=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/test_architecture.py $(QUICK)

# Fails where `make test` would skip: needs a ComfyUI (see tests/README.md).
test-comfyui: $(VENV)/.installed
	REFLECTIONFLOW_REQUIRE_COMFYUI=1 $(BIN)/python -m pytest tests/nodes

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --threads 2

# Others' tools for node packs, in an environment of their own; their findings are to be read, since
# some are heuristics (CONTRIBUTING.md). comfy-lint asks the ComfyUI at COMFY_URL.
PACK_TOOLS := build/pack-tools
COMFY_URL ?= http://127.0.0.1:8188

check-pack: $(PACK_TOOLS)/.installed
	$(PACK_TOOLS)/bin/comfy --skip-prompt --no-enable-telemetry node validate
	-$(PACK_TOOLS)/bin/comfy-test lint
	rm -rf build/pack && mkdir -p build/pack
	git archive HEAD nodes reflectionflow_core __init__.py | tar -x -C build/pack
	$(PACK_TOOLS)/bin/nodesafe scan --fail-on none build/pack > build/nodesafe.md
	-$(PACK_TOOLS)/bin/comfy-lint --server $(COMFY_URL) workflows/api/*.json

$(PACK_TOOLS)/.installed:
	$(PYTHON) -m venv $(PACK_TOOLS)
	$(PACK_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check \
		comfy-cli comfy-lint comfy-test nodesafe
	touch $@

benchmark: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_corrector_step.py
	$(BIN)/python tests/benchmarks/bench_search.py
	PYTHONPATH=. $(BIN)/python tests/benchmarks/corrector_training.py

# On a CUDA machine: that the corrector is right there, how fast it and its training are, and the
# miniature trained anew.
gpu: $(VENV)/.installed
	PYTHONPATH=. $(BIN)/python tests/benchmarks/gpu.py
	$(BIN)/python -m train.miniature device=cuda

# The whole path on random files of FLUX.1-dev's true size (22 GB in OUT, by default a temporary
# folder); SIZE=tiny takes a minute.
SIZE ?= true
OUT ?=
rehearsal: $(VENV)/.installed
	PYTHONPATH=.:tests $(BIN)/python -m rehearsal --size $(SIZE) $(if $(OUT),--out "$(OUT)")

clean:
	rm -rf $(VENV) demo build dist *.egg-info

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What a search needs; the trainings, the tests and their tools come with the rest.
$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "Installing into $(VENV). PyTorch is large, so this is silent for some minutes."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[all]"
	touch $@

$(VENV)/.installed: $(VENV)/.demo
	$(INSTALL) -e ".[dev]"
	touch $@
