"""Run by ComfyUI's own Python: what a picture to correct costs a step of ComfyUI's own FLUX.

    python native_step.py COMFYUI PACK [--pairs 7]

The same shape, pairs and figures as tests/benchmarks/bench_corrector_step.py, for the native branch
against a plain step of the unpatched MODEL; both as a sampler asks for them. Prints JSON.
"""

# ruff: noqa: E402, T201
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

PAIRS = int(sys.argv[sys.argv.index("--pairs") + 1]) if "--pairs" in sys.argv else 7
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from native_setup import Case, comfy_model, corrected  # isort: skip
import torch
from bench_corrector_step import GOAL, MIDDLE, operations, random_flux, random_lora, versions


def mid_size_case() -> Case:
    """MIDDLE's tokens and weights instead of the tiny ones."""
    case = Case(size=(MIDDLE.image_side,) * 2, seen=(MIDDLE.condition_side,) * 2)
    case.transformer = random_flux(MIDDLE, "cpu", torch.float32)
    case.text, case.pooled = torch.randn(1, MIDDLE.text, MIDDLE.text_width), torch.randn(1, 768)
    return case


def seconds(case: Case, model: object, with_picture: bool) -> float:
    begin = time.process_time()
    case.native(model, corrected=with_picture)
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    case = mid_size_case()
    base = comfy_model(case.transformer)
    models = {False: base, True: corrected(base, random_lora(case.transformer, MIDDLE.rank))}
    found: list[tuple[float, float]] = []
    for pair in range(-1, PAIRS):  # the first warms up
        order = (False, True) if pair % 2 else (True, False)
        took = {
            with_picture: seconds(case, models[with_picture], with_picture)
            for with_picture in order
        }
        if pair >= 0:
            found.append((took[False], took[True]))
    ratio = statistics.median(ours / plain for plain, ours in found)
    expected = operations(MIDDLE, True) / operations(MIDDLE, condition=False)
    result = {
        "what": "CPU time of a step with a picture by that of a plain ComfyUI step, one thread",
        "versions": versions(),
        "seconds_plain": statistics.median(plain for plain, _ in found),
        "seconds_corrector": statistics.median(ours for _, ours in found),
        "ratios": sorted(round(ours / plain, 4) for plain, ours in found),
        "ratio": round(ratio, 4),
        "operations_ratio": round(expected, 4),
        "above_operations": round(ratio / expected, 4),
        "goal": GOAL,
        "reached": ratio / expected <= GOAL,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
