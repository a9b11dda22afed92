"""The whole way on the miniature: data, shards, a corrector, and the search with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"
STEPS = 80


def ran(*command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_data_become_a_corrector_that_a_search_uses(tmp_path: Path) -> None:
    """It learns; that a search is better with it takes longer than a test (see the README)."""
    data, made, results = (tmp_path / name for name in ("data", "corrector", "results.json"))
    config = ("--config", str(CONFIGS / "data-tiny.yaml"))
    ran("train.data", *config, f"out={data}", "editing.pairs=600")
    manifest = json.loads((data / "manifest.json").read_text())
    assert sum(manifest["subsets"].values()) > 500
    config = ("--config", str(CONFIGS / "corrector-tiny.yaml"))
    fewer = (f"steps={STEPS}", f"validation.every={STEPS}", "batch=16", "optimiser.warmup=5")
    ran("train.corrector", *config, f"data={data}", f"out={made}", *fewer)
    lines = map(json.loads, (made / "log.jsonl").read_text().splitlines())
    losses = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert losses[STEPS] < 0.8 * losses[0]
    asked = {
        "study": "table1",
        "strategies": "noise+prompt,reflection",
        "families": "color_attr",
        "prompts": 12,
        "budgets": "1,4",
        "processes": 1,
        "lora": made / "pytorch_lora_weights.safetensors",
        "json": results,
    }
    options = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    assert "reflection minus noise+prompt" in ran(
        "reflectionflow_core", "evaluate", "shapes", *options
    )
    assert json.loads(results.read_text())["about"]["lora"]
