"""The whole way on the miniature: data, shards, a corrector, and a search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "train" / "configs"
STEPS = 60


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
def test_data_shards_a_corrector_and_a_search_fit_together(tmp_path: Path) -> None:
    """Data, shards, a corrector from nothing whose error falls, and a search that it corrects for.

    In minutes it does not become good enough to help a search.
    """
    data, made = tmp_path / "data", tmp_path / "corrector"
    config = ("--config", str(CONFIGS / "data-tiny.yaml"))
    ran("train.data", *config, f"out={data}", "editing.pairs=100")
    manifest = json.loads((data / "manifest.json").read_text())
    assert sum(manifest["subsets"].values()) > 80
    config = ("--config", str(CONFIGS / "corrector-tiny.yaml"))
    fewer = (
        f"steps={STEPS}",
        f"validation.every={STEPS}",
        "validation.samples=16",
        "validation.pictures=0",
        "validation.mended.pictures=0",
        "batch=16",
        "seed=3",
        "optimiser.ema=0.9",
    )
    ran("train.corrector", *config, f"data={data}", f"out={made}", *fewer)
    lines = map(json.loads, (made / "log.jsonl").read_text().splitlines())
    losses = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert losses[STEPS] < 0.8 * losses[0]
    settings = SearchSettings(width=2, depth=1)
    lora = str(made / "pytorch_lora_weights.safetensors")
    *_, history = search(
        "a photo of a red circle and a blue square",
        settings,
        build_actors(ActorChoice(lora=lora), settings),
    )
    assert [c.action for c in history.rounds[1]] == ["correct", "correct"]
    assert all(c.verdict.judged for c in history)
