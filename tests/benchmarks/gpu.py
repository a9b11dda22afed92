"""The condition branch on a GPU: first that it is right, then how fast it is, and its training.

    export PYTHONPATH=.
    python tests/benchmarks/gpu.py                      # full-size FLUX.1-dev, random weights
    python tests/benchmarks/gpu.py --device cpu --tiny  # the same code on a toy, as the tests do

Right: a small model in float32 and bfloat16 on the device against float32 on the CPU. Fast: plain
and corrector steps at 1024 x 1024 pixels, 512 text and 1024 condition tokens, batches of 1, 2, 4;
steps of the training (LoRA of rank 32, Prodigy, checkpointed gradients) in batches of 1, 4, 8. It
measures neither the VAE nor the text encoders, and random weights say nothing of pictures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from bench_corrector_step import (
    RESULTS,
    Bench,
    Shape,
    make_bench,
    operations,
    random_flux,
    random_inputs,
    random_lora,
    versions,
    write_result,
)
from torch import Tensor

from reflectionflow_core.flux.branch import FluxInputs, velocity
from reflectionflow_core.flux.lora import CorrectorLora
from train.checkpoints import Checkpoints
from train.corrector.loss import FlowLoss, logit_normal
from train.corrector.samples import TrainingBatch
from train.fit import Schedule, State
from train.fit import steps as training_steps

SMALL = Shape(heads=4, double=2, single=4, image_side=16, condition_side=8, text=32)
FULL = Shape(heads=24, double=19, single=38, image_side=64, condition_side=32, text=512)
TINY = replace(SMALL, heads=1, double=1, single=1, image_side=4, condition_side=2, head_width=32)
# Relative to the root mean square of the truth. bfloat16 keeps 8 bits; a CPU gets 0.006.
ALLOWED = {"fp32": 1e-4, "bf16": 0.05}


def moved(inputs: FluxInputs, device: str, dtype: torch.dtype) -> FluxInputs:
    """The inputs on the device; positions, times and guidance stay float32, as in sampling."""
    changes = {}
    for item in fields(inputs):
        tensor: Tensor = getattr(inputs, item.name)
        exact = item.name in ("image_ids", "condition_ids", "timestep", "guidance")
        changes[item.name] = tensor.to(device, torch.float32 if exact else dtype)
    return replace(inputs, **changes)


def parity(shape: Shape, device: str) -> dict[str, float]:
    """The relative error of a corrector step on the device, by dtype."""
    truth = make_bench(
        transformer := random_flux(shape, "cpu", torch.float32),
        random_lora(transformer, shape.rank),
        random_inputs(shape, 2, "cpu", torch.float32),
    )
    expected = truth.step(condition=True)
    errors = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        copy = random_flux(shape, device, dtype)
        copy.load_state_dict(truth.transformer.state_dict())
        there = make_bench(
            copy,
            truth.lora.to(device, dtype),
            moved(truth.inputs, device, dtype),
        )
        wrong = there.step(condition=True).cpu().float() - expected
        errors[name] = float(wrong.norm() / expected.norm())
    return errors


def milliseconds(step: Callable[[], Any], device: str, repeats: int) -> list[float]:
    """Times of single runs after a warm-up: CUDA events, or the clock where there is no CUDA."""
    for _ in range(2):
        step()
    times = []
    for _ in range(repeats):
        if device == "cpu":
            begin = time.perf_counter()
            step()
            times.append((time.perf_counter() - begin) * 1000)
            continue
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        step()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last))
    return times


def timing(bench: Bench, shape: Shape, batch: int, device: str, repeats: int) -> dict[str, Any]:
    result: dict[str, Any] = {"batch": batch}
    for name, condition in (("plain", False), ("corrector", True)):
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        times = milliseconds(lambda c=condition: bench.step(c), device, repeats)
        median = statistics.median(times)
        result[name] = {
            "ms": round(median, 3),
            "ms_least": round(min(times), 3),
            "ms_most": round(max(times), 3),
            "tflops": round(batch * operations(shape, condition) / median / 1e9, 3),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device != "cpu" else 0,
        }
    result["ratio"] = round(result["corrector"]["ms"] / result["plain"]["ms"], 4)
    result["operations_ratio"] = round(operations(shape, True) / operations(shape, False), 4)
    return result


def steps(
    shape: Shape, device: str, batches: tuple[int, ...], repeats: int
) -> list[dict[str, Any]]:
    transformer = random_flux(shape, device, torch.bfloat16)
    lora = random_lora(transformer, shape.rank)
    results = []
    for batch in batches:
        inputs = moved(random_inputs(shape, batch, "cpu", torch.float32), device, torch.bfloat16)
        bench = make_bench(transformer, lora, inputs)
        results.append(timing(bench, shape, batch, device, repeats))
    return results


def training(
    shape: Shape, device: str, batches: tuple[int, ...], repeats: int
) -> list[dict[str, Any]]:
    """The program's own loop and loss on a batch that is ready."""
    transformer = random_flux(shape, device, torch.bfloat16)
    transformer.enable_gradient_checkpointing()
    results = []
    for size in batches:
        lora = CorrectorLora.create(transformer, shape.rank).to(device)
        batch = random_batch(shape, size, device)
        loss = FlowLoss(
            lambda inputs, lora=lora: velocity(transformer, inputs, lora),
            lambda _, batch=batch: batch,
            logit_normal(),
        )
        schedule = Schedule(10**6, 1.0, ema=None, clip=0.5, save_every=10**6, optimiser="prodigy")
        with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
            kept = Checkpoints(Path(folder), "gpu")
            made = training_steps(State.begin(lora, schedule, kept), loss, schedule, kept)
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            median = statistics.median(milliseconds(lambda m=made: next(m), device, repeats))
        results.append(
            {
                "batch": size,
                "ms": round(median, 3),
                "steps_per_second": round(1000 / median, 4),
                # Forward, forward again, and a backward without gradients of the frozen weights.
                "tflops": round(3 * size * operations(shape, True) / median / 1e9, 3),
                "peak_gb": (
                    round(torch.cuda.max_memory_allocated() / 1e9, 2) if device != "cpu" else 0
                ),
            }
        )
    return results


def random_batch(shape: Shape, size: int, device: str) -> TrainingBatch:
    inputs = moved(random_inputs(shape, size, "cpu", torch.float32), device, torch.bfloat16)
    assert inputs.condition is not None
    return TrainingBatch(
        keys=(),
        target=inputs.latents,
        grid=(shape.image_side, shape.image_side),
        condition=inputs.condition,
        condition_grid=(shape.condition_side, shape.condition_side),
        text=inputs.text,
        pooled=inputs.pooled,
        shown=torch.ones(size, dtype=torch.bool, device=device),
    )


@torch.no_grad()
def run(device: str, tiny: bool, repeats: int) -> dict[str, Any]:
    # TensorFloat-32 would be measured as an error of ours.
    torch.backends.cuda.matmul.allow_tf32 = False
    errors = parity(TINY if tiny else SMALL, device)
    shape = TINY if tiny else FULL
    return {
        "what": "a step of FLUX with random weights, with and without the corrector's condition",
        "device": "cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        "versions": {**versions(), "cuda": torch.version.cuda},
        "dtype": "bf16",
        "blocks": [shape.double, shape.single],
        "width": shape.width,
        "tokens": shape.tokens,
        "rank": shape.rank,
        "relative_error": {name: float(f"{error:.3g}") for name, error in errors.items()},
        "right": all(errors[name] <= ALLOWED[name] for name in errors),
        "steps": steps(shape, device, (1, 2) if tiny else (1, 2, 4), repeats),
        "training": training(shape, device, (1, 2) if tiny else (1, 4, 8), repeats),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="The condition branch on a GPU: parity and speed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a toy, for a machine without a GPU")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON result")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        sys.stdout.write("No CUDA device was found, so nothing was measured.\n")
        return 0
    result = run(options.device, options.tiny, options.repeats)
    name = "gpu_tiny" if options.tiny else "gpu"
    write_result(name, result, options.results)
    return 0 if result["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
