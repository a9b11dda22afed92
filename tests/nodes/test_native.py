"""The corrector on ComfyUI's own MODEL."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from comfy_server import ROOT, demand_comfyui, find_comfyui

CASES = (
    "no picture",
    "one picture",
    "three samples, three pictures",
    "three samples, one picture",
    "alpha other than rank",
    "no guidance embedding",
    "sizes that differ",
    "two correctors and the base in turn",
    "after an exception",
    "under patches of another node",
    "ten steps of a sampler",
)
MISTAKES = ("not: a column off", "not: the LoRA at nine tenths", "not: the time of the image")
TOLERANCE = 1e-5  # of outputs of about 4, in float32


@cache
def parity() -> dict[str, tuple[float, float]]:
    """Difference and scale of every case; in ComfyUI's own Python, without a server."""
    demand_comfyui()
    comfyui, python = find_comfyui() or (Path(), Path())
    script = Path(__file__).parent / "native_parity.py"
    command = [str(python), str(script), str(comfyui), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_it_predicts_what_the_cores_branch_predicts(case: str) -> None:
    off, scale = parity()[case]
    assert off < TOLERANCE < scale


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_comparison_would_notice_a_mistake(mistake: str) -> None:
    off, _ = parity()[mistake]
    assert off > 1e3 * TOLERANCE


def test_every_case_is_looked_at() -> None:
    assert set(parity()) == {*CASES, *MISTAKES}
