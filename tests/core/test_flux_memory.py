"""What FLUX holds in memory of its own: `pytest tests/core/test_flux_memory.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from core.tiny_flux import tiny_pipeline
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import nn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").is_file(),
        reason="private memory is read from /proc/self/status, which this system lacks",
    ),
]
ROOT = Path(__file__).parents[2]
ALLOWANCE = 64e6  # activations and Python's own
WHOLE = 250e6  # of the transformer in bf16, far more than two blocks and the allowance


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The tiny FLUX with a transformer of 262 MB in bf16, and files of it in bf16 and fp8."""
    folder = tmp_path_factory.mktemp("flux")
    pipeline = tiny_pipeline()
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(
            num_layers=2,
            num_single_layers=10,
            num_attention_heads=6,
            joint_attention_dim=24,
            pooled_projection_dim=20,
            guidance_embeds=True,
        )
    nn.Module.to(transformer, torch.bfloat16)  # diffusers' own `to` hides its types
    transformer.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in transformer.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    pipeline.register_modules(transformer=transformer)
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    (file,) = (folder / "transformer").glob("*.safetensors")
    assert file.stat().st_size > WHOLE
    save_file({n: t.to(torch.float8_e4m3fn) for n, t in load_file(file).items()}, fp8(folder))
    save_file(load_file(file), folder / "bf16.safetensors")
    return folder


def fp8(folder: Path) -> Path:
    return folder / "fp8.safetensors"


def held(folder: Path, plan: str, *transformer: Path) -> dict[str, int]:
    """The peaks of a process that loads and paints."""
    command = [sys.executable, "-m", "core.private_memory", folder, plan, *transformer]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("plan", "from_file"), [("resident", False), ("streamed", True)])
def test_weights_in_the_type_that_computes_take_no_memory_of_their_own(
    folder: Path, plan: str, from_file: bool
) -> None:
    found = held(folder, plan, *([folder / "bf16.safetensors"] if from_file else []))
    assert found["loaded"] < ALLOWANCE
    assert found["painted"] < ALLOWANCE


def test_streamed_fp8_takes_two_blocks(folder: Path) -> None:
    found = held(folder, "streamed", fp8(folder))
    assert found["loaded"] < ALLOWANCE
    assert found["painted"] < found["two_blocks"] + ALLOWANCE < WHOLE


def test_resident_fp8_is_held_once_in_bf16(folder: Path) -> None:
    found = held(folder, "resident", fp8(folder))
    assert found["loaded"] < ALLOWANCE
    assert WHOLE < found["painted"] < WHOLE + 2 * ALLOWANCE
