"""What a condition costs: a corrector step against a plain step, on one CPU thread.

    python tests/benchmarks/bench_corrector_step.py [--pairs 7] [--dtype fp32]
        [--attention independent]

Pairs are interleaved in alternating order and timed in process CPU time, because other programs
may want the same cores. The median of the pairs' ratios stands beside the ratio of the operations
that the shapes ask for; GOAL is how far above it the code may be. Random weights: nothing here
says how a picture looks. With independent attention the condition's keys and values are remembered,
and a step computes nothing else of it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

from reflectionflow_core.flux.branch import FluxInputs, StepConstants, step_constants, velocity
from reflectionflow_core.flux.latents import token_ids
from reflectionflow_core.flux.lora import MODES, CorrectorLora, Mode

RESULTS = Path(__file__).parent / "results"
GOAL = 1.10
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Shape:
    """A FLUX and the tokens of one step; grids are squares of this many tokens a side."""

    heads: int
    double: int
    single: int
    image_side: int
    condition_side: int
    text: int
    rank: int = 32
    head_width: int = 128
    text_width: int = 4096

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    @property
    def tokens(self) -> dict[str, int]:
        sides = {"image": self.image_side**2, "condition": self.condition_side**2}
        return {**sides, "text": self.text}


MIDDLE = Shape(heads=8, double=4, single=8, image_side=32, condition_side=16, text=128)


@dataclass(frozen=True)
class Bench:
    """A step that can be run with and without its condition."""

    transformer: FluxTransformer2DModel
    lora: CorrectorLora
    inputs: FluxInputs
    plain: StepConstants
    conditioned: StepConstants

    def step(self, condition: bool) -> torch.Tensor:
        constants = self.conditioned if condition else self.plain
        lora = self.lora if condition else None
        return velocity(self.transformer, self.inputs, lora, constants)


def operations(shape: Shape, condition: bool, attention: str = "union") -> float:
    """Floating-point operations of one step of one sample, without the LoRA's 0.2 percent.

    A block costs 24 D^2 a token for its linears, double or single, and 4 D for attention of each
    token to each; a condition that is remembered is only attended to.
    """
    tokens = shape.tokens
    seen = sum(tokens.values()) - (0 if condition else tokens["condition"])
    remembered = condition and attention == "independent"
    length = seen - (tokens["condition"] if remembered else 0)
    blocks = shape.double + shape.single
    return blocks * (24 * shape.width**2 * length + 4 * length * seen * shape.width)


def random_flux(shape: Shape, device: str, dtype: torch.dtype) -> FluxTransformer2DModel:
    """Random weights, made on the device in their dtype: a full-size FLUX is 24 GB even so."""
    torch.manual_seed(0)
    rest = shape.head_width - shape.head_width // 8
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            transformer = FluxTransformer2DModel(
                num_layers=shape.double,
                num_single_layers=shape.single,
                attention_head_dim=shape.head_width,
                num_attention_heads=shape.heads,
                joint_attention_dim=shape.text_width,
                guidance_embeds=True,
                axes_dims_rope=(shape.head_width // 8, rest // 2, rest // 2),
            )
    finally:
        torch.set_default_dtype(default)
    return transformer.eval().requires_grad_(False)


def random_lora(
    transformer: FluxTransformer2DModel, rank: int, attention: str = "union"
) -> CorrectorLora:
    """With a second factor that is not zero, so that a wrong one shows."""
    mode = Mode(attention=attention)
    lora = CorrectorLora.create(transformer, rank, mode=mode).requires_grad_(False)
    for _, layer in lora.items():
        layer.up.normal_(std=0.02)
    return lora.to(transformer.device, transformer.dtype)


def random_inputs(shape: Shape, batch: int, device: str, dtype: torch.dtype) -> FluxInputs:
    dice = torch.Generator().manual_seed(1)
    tokens = shape.tokens

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(batch, *size, generator=dice).to(device, dtype)

    side = shape.condition_side
    return FluxInputs(
        latents=draw(tokens["image"], 64),
        text=draw(tokens["text"], shape.text_width),
        pooled=draw(768),
        timestep=torch.full((batch,), 0.5, device=device),
        guidance=torch.full((batch,), 1.0, device=device),
        image_ids=token_ids(shape.image_side, shape.image_side).to(device),
        condition=draw(tokens["condition"], 64),
        condition_ids=token_ids(side, side, shift=-side).to(device),
    )


def make_bench(
    transformer: FluxTransformer2DModel, lora: CorrectorLora, inputs: FluxInputs
) -> Bench:
    bare = replace(inputs, condition=None, condition_ids=None)
    plain = step_constants(transformer, bare)
    return Bench(transformer, lora, inputs, plain, step_constants(transformer, inputs, lora))


def measure_pairs(bench: Bench, pairs: int) -> list[tuple[float, float]]:
    """CPU seconds of (plain, conditioned), one warm-up each before."""
    seconds = {False: 0.0, True: 0.0}
    result = []
    for pair in range(-1, pairs):
        for condition in (False, True) if pair % 2 else (True, False):
            begin = time.process_time()
            bench.step(condition)
            seconds[condition] = time.process_time() - begin
        if pair >= 0:
            result.append((seconds[False], seconds[True]))
    return result


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> None:
    text = json.dumps(result, indent=2)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


@torch.no_grad()
def run(shape: Shape, dtype: str, pairs: int, attention: str = "union") -> dict[str, Any]:
    torch.set_num_threads(1)
    transformer = random_flux(shape, "cpu", DTYPES[dtype])
    inputs = random_inputs(shape, 1, "cpu", DTYPES[dtype])
    bench = make_bench(transformer, random_lora(transformer, shape.rank, attention), inputs)
    seconds = measure_pairs(bench, pairs)
    ratios = sorted(conditioned / plain for plain, conditioned in seconds)
    expected = operations(shape, True, attention) / operations(shape, condition=False)
    ratio = statistics.median(ratios)
    return {
        "what": "CPU time of a corrector step by that of a plain step, one thread",
        "device": f"cpu ({platform.processor() or platform.machine()})",
        "versions": versions(),
        "dtype": dtype,
        "attention": attention,
        "width": shape.width,
        "blocks": [shape.double, shape.single],
        "tokens": shape.tokens,
        "rank": shape.rank,
        "seconds_plain": statistics.median(plain for plain, _ in seconds),
        "seconds_corrector": statistics.median(conditioned for _, conditioned in seconds),
        "ratios": [round(value, 4) for value in ratios],
        "ratio": round(ratio, 4),
        "operations_ratio": round(expected, 4),
        "above_operations": round(ratio / expected, 4),
        "goal": GOAL,
        "reached": ratio / expected <= GOAL,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Corrector step against plain step on one CPU thread"
    )
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--attention", choices=MODES["attention"], default="union")
    options = parser.parse_args()
    name = "corrector_step" if options.attention == "union" else "corrector_step_independent"
    write_result(name, run(MIDDLE, options.dtype, options.pairs, options.attention))


if __name__ == "__main__":
    main()
