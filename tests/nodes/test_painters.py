"""The painter of any MODEL, compared with ComfyUI's own nodes on small random models."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from comfy_server import ROOT, demand_comfyui, find_comfyui

FAMILIES = (
    *("FLUX.1-dev", "FLUX.1-schnell", "FLUX.2-dev", "FLUX.2 klein", "FLUX.2 klein base"),
    *("Qwen-Image", "Qwen-Image Lightning", "Lumina-Image 2", "Z-Image", "Z-Image-Turbo"),
    *("Stable Diffusion 3", "Stable Diffusion XL", "Stable Diffusion 1.5", "Chroma", "Krea 2"),
)
LATER = "Krea 2"  # than ComfyUI 0.8.0
CASES = (
    *(f"{family}, as its template" for family in FAMILIES),
    *("two pictures of a batch", "against a negative", "a sampler that draws noise"),
    *("a sampler with a step more", "a SAMPLER and SIGMAS", "the shift of a node before"),
    *("a shift that is asked for", "a LoRA before the node", "repainted, a flow model"),
    *("repainted, a model with unbounded noise", "a preview", "steps after a cancel"),
    *("texts read again", "identities that agree wrongly", "not refused"),
)


@cache
def found() -> dict[str, tuple[float, float]]:
    """Difference and scale of every case; in ComfyUI's own Python, without a server."""
    demand_comfyui()
    comfyui, python = find_comfyui() or (Path(), Path())
    script = Path(__file__).parent / "native_painters.py"
    command = [str(python), str(script), str(comfyui), str(ROOT), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_its_picture_is_the_one_of_comfyuis_own_nodes(case: str) -> None:
    if case not in found() and case.startswith(LATER):
        pytest.skip("this ComfyUI does not know Krea 2 yet")
    off, scale = found()[case]
    assert off == 0 < scale


def test_every_case_is_looked_at() -> None:
    assert found().keys() <= set(CASES)
