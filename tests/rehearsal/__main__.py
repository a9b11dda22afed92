"""See the package's docstring; the program itself."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from checkpoints import as_type

from rehearsal.files import SIZES, Architecture, needed_bytes, write_folder, write_random
from rehearsal.graphs import graphs
from rehearsal.measured import Measured, run

ROOT = Path(__file__).parents[2]
PROMPT = "a photo of three red circles"
PLANS = ("streamed", "phased", "resident")
KINDS = {"fp8": "F8_E4M3", "bf16": "BF16"}
SPARE_DISK = 2 * 10**9
ACTIVATIONS = 4 * 10**9  # of the process that paints, beside weights
PICTURE = {"true": 256, "tiny": 32}
Row = tuple[str, str, Measured | str]  # what ran, on which plan, how or why not


def main() -> None:
    options = arguments().parse_args()
    architecture = SIZES[options.size]()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(options.out or scratch).expanduser()
        out.mkdir(parents=True, exist_ok=True)
        refuse_if_too_small(out, architecture, KINDS[options.weights])
        rows: list[Row] = []
        for row in rehearsed(options, architecture, out):
            rows.append(row)
            sys.stderr.write(f"{line(row, options.weights)}\n")
        sys.stdout.write(table(rows, options))
    if any(isinstance(found, Measured) and found.failure for _, _, found in rows):
        sys.exit(1)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rehearsal", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="true")
    parser.add_argument("--out", help="where the files go and stay (default: a temporary folder)")
    parser.add_argument("--weights", choices=KINDS, default="fp8", help="type of the transformer")
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=PLANS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pixels", type=int, help="side of the pictures")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--limit", type=float, default=3600, help="seconds of one run")
    parser.add_argument("--no-comfyui", action="store_true")
    return parser


def refuse_if_too_small(out: Path, architecture: Architecture, kind: str) -> None:
    """Ends the program with one sentence if disk or memory cannot hold the rehearsal."""
    there = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    needed = needed_bytes(architecture, kind) + SPARE_DISK
    free = shutil.disk_usage(out).free + there
    if free < needed:
        sys.exit(f"{out} has {free / 1e9:.0f} GB free; give --out a disk with {needed / 1e9:.0f}.")
    available = psutil.virtual_memory().available
    if available < ACTIVATIONS:
        sys.exit(
            f"{available / 1e9:.0f} GB of memory are free, and the smallest plan takes "
            f"{ACTIVATIONS / 1e9:.0f}; end other programs."
        )


def rehearsed(options: argparse.Namespace, architecture: Architecture, out: Path) -> Iterator[Row]:
    kind = KINDS[options.weights]
    folder = write_folder(out / "folder", architecture)
    for other in set(KINDS) - {options.weights}:  # one set at a time
        (out / f"transformer_{other}.safetensors").unlink(missing_ok=True)
    name = f"transformer_{options.weights}.safetensors"
    transformer = write_random(out / name, as_type(architecture.transformer, kind))
    corrector = write_random(out / "pytorch_lora_weights.safetensors", architecture.corrector)
    pixels = options.pixels or PICTURE[options.size]
    computing = 2 * sum(torch.Size(shape).numel() for _, shape in architecture.transformer.values())
    for plan in options.plans:
        available = psutil.virtual_memory().available
        own = ACTIVATIONS + (0 if plan == "streamed" or kind == "BF16" else computing)
        if options.device == "cpu" and own > available:
            reason = f"needs {own / 1e9:.0f} GB, {available / 1e9:.0f} GB are free"
            yield "command line", plan, f"not run: {reason}"
            continue
        command = [
            *(sys.executable, "-m", "reflectionflow_core", "run", PROMPT),
            *("--model", str(folder), "--transformer", str(transformer), "--lora", str(corrector)),
            *("--size", f"{pixels}x{pixels}", "--condition-size", str(pixels)),
            *("--steps", str(options.steps), "--width", "1", "--depth", "1", "--seed", "1"),
            *("--device", options.device, "--offload", plan, "--out", str(out / f"run_{plan}")),
        ]
        shutil.rmtree(out / f"run_{plan}", ignore_errors=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        found = run(command, environment, out / f"{plan}.log", options.limit)
        yield "command line: a draft and its correction", plan, found
    if options.size == "tiny":
        yield "graphs", "ComfyUI's", "not run: ComfyUI knows text encoders of true size only"
    elif options.no_comfyui:
        yield "graphs", "ComfyUI's", "not run: --no-comfyui"
    else:
        yield from graphs(out, transformer, corrector, pixels, options)
    yield "graphs", "GGUF", "not run: no pack that reads GGUF is installed"


def line(row: Row, weights: str) -> str:
    what, plan, found = row
    if isinstance(found, str) or found.failure:
        outcome = found if isinstance(found, str) else f"failed: {found.failure}"
        return f"| {what} | {weights} | {plan} | {outcome} | | |"
    return (
        f"| {what} | {weights} | {plan} | {found.seconds:.0f} s "
        f"| {found.own / 1e9:.1f} GB | {found.mapped / 1e9:.1f} GB |"
    )


def table(rows: list[Row], options: argparse.Namespace) -> str:
    pixels = options.pixels or PICTURE[options.size]
    return "\n".join(
        [
            f"{options.size} size, {pixels} x {pixels}, {options.steps} steps, {options.device}",
            "",
            "| what | transformer | plan | time | memory of its own | files mapped |",
            "|---|---|---|---|---|---|",
            *(line(row, options.weights) for row in rows),
            "",
        ]
    )


if __name__ == "__main__":
    main()
