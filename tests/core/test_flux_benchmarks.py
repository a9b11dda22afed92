"""The benchmarks run on a toy: `pytest tests/core/test_flux_benchmarks.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def gpu_benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tests/benchmarks/gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_the_gpu_benchmark_measures_a_toy_on_the_cpu(tmp_path: Path) -> None:
    done = gpu_benchmark("--device", "cpu", "--tiny", "--repeats", "1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu_tiny.json").read_text())
    assert json.loads(done.stdout) == result
    assert result["right"]
    assert [step["batch"] for step in result["steps"]] == [1, 2]
    assert all(step["plain"]["ms"] > 0 for step in result["steps"])
    assert [step["batch"] for step in result["training"]] == [1, 2]
    assert all(step["steps_per_second"] > 0 for step in result["training"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_benchmark_says_so_in_one_sentence() -> None:
    done = gpu_benchmark()
    assert done.returncode == 0
    assert done.stdout == "No CUDA device was found, so nothing was measured.\n"
