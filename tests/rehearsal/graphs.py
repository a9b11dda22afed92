"""Shipped graphs in a real ComfyUI, on the rehearsal's files."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from checkpoints import as_type, header, keys
from comfy_server import ComfyError, ComfyServer, find_comfyui
from PIL import Image

from rehearsal.files import write_random
from rehearsal.measured import Measured, Watch, watched

ROOT = Path(__file__).parents[2]
GRAPHS = ("ksampler", "fix_by_words")
NAMES = {  # of files in the shipped graphs
    "flux1-dev.safetensors",
    "clip_l.safetensors",
    "t5xxl_fp8_e4m3fn.safetensors",
    "ae.safetensors",
    "pytorch_lora_weights.safetensors",
}
BESIDE_WEIGHTS = 3 * 10**9  # activations, and what Python and torch take
PLAN = "ComfyUI's, on the CPU"
Row = tuple[str, str, Measured | str]


def graphs(
    out: Path, transformer: Path, corrector: Path, pixels: int, options: argparse.Namespace
) -> Iterator[Row]:
    """One row a graph, on the CPU. ComfyUI keeps FLUX and text encoders in memory, T5 in fp8."""
    if find_comfyui() is None:
        yield "graphs", PLAN, "not run: no ComfyUI is found (see tests/README.md)"
        return
    text_encoder = as_type(keys("t5_xxl"), "F8_E4M3")
    needed = transformer.stat().st_size + header(text_encoder)[1] + BESIDE_WEIGHTS
    available = psutil.virtual_memory().available
    if available < needed:
        reason = f"needs {needed / 1e9:.0f} GB, {available / 1e9:.0f} GB are free"
        yield "graphs", PLAN, f"not run: {reason}"
        return
    base = furnished(out, transformer, corrector)
    for name in GRAPHS:
        graph = smaller(
            json.loads((ROOT / "workflows/api" / f"{name}.json").read_text(encoding="utf-8")),
            pixels,
            options.steps,
        )
        give_pictures(base, graph)
        yield f"graph {name}", PLAN, painted(base, graph, options)


def furnished(out: Path, transformer: Path, corrector: Path) -> Path:
    """A base folder in which the graphs' file names are the rehearsal's files."""
    base = out / "comfyui"
    models = base / "models"
    write_random(
        models / "text_encoders" / "t5xxl_fp8_e4m3fn.safetensors",
        as_type(keys("t5_xxl"), "F8_E4M3"),
    )
    write_random(models / "vae" / "ae.safetensors", keys("flux1_vae"))
    for place, file in {
        "diffusion_models/flux1-dev.safetensors": transformer,
        "text_encoders/clip_l.safetensors": out / "folder/text_encoder/model.safetensors",
        "loras/pytorch_lora_weights.safetensors": corrector,
    }.items():
        (models / place).parent.mkdir(parents=True, exist_ok=True)
        (models / place).unlink(missing_ok=True)
        (models / place).symlink_to(file.resolve())
    return base


def give_pictures(base: Path, graph: Mapping[str, Any]) -> None:
    """A grey picture under each name that the graph loads."""
    for node in graph.values():
        if node["class_type"] == "LoadImage":
            file = base / "input" / node["inputs"]["image"]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), "grey").save(file)


def smaller(graph: Mapping[str, Any], pixels: int, steps: int) -> dict[str, Any]:
    """The graph with small pictures, few steps and one chain of one correction."""
    changes = {
        **dict.fromkeys(("width", "height", "condition_size"), pixels),
        **{"steps": steps, "depth": 1, "drafts": 1},
    }
    found = json.loads(json.dumps(graph))
    for node in found.values():
        inputs = node["inputs"]
        inputs |= {name: changes[name] for name in inputs.keys() & changes.keys()}
        if node["class_type"] == "ReflectionFlow_ReflectionLoop":
            inputs["width"] = 1  # of the search, not of pictures
    return found


def painted(base: Path, graph: dict[str, Any], options: argparse.Namespace) -> Measured:
    """A ComfyUI of its own for each graph, so that the peaks are the graph's."""
    server = ComfyServer(base, flags=("--fp8_e4m3fn-text-enc",))
    begin = time.monotonic()
    try:
        server.start()
        assert server.process
        watch = Watch(server.process.pid)
        run = server.queue(graph)
        over = watched(watch, lambda: bool(server.get(f"/history/{run}")), begin + options.limit)
        found = server.wait(run, 1) if over else None
    except (ComfyError, OSError) as error:
        return Measured(time.monotonic() - begin, 0, 0, str(error).strip().splitlines()[-1])
    finally:
        server.stop()
    failure = "" if found and found.status == "success" else (found.error if found else "too slow")
    return Measured(time.monotonic() - begin, watch.own, watch.mapped, failure)
