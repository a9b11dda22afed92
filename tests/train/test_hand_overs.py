"""The chain of docs/training.md, typed as it stands with settings that shorten it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FEWER = {  # that shorten a program, after its own settings
    "train.data": "editing.pairs=24 engine.slice_items=8 engine.shard_items=24 engine.cpus=1",
    "train.latents": "",
    "train.corrector": "steps=2 batch=4 lora.rank=4 validation.samples=2 validation.pictures=1",
    "train.verifier": "steps=2 batch=2 held_out_share=0.2 held_out_most=4",
    "train.writer": "steps=2 batch=2 held_out_share=0.2 held_out_most=4 answers=2 gain.pictures=1",
    "reflectionflow_core": "--width 1 --depth 1",
}


def chain() -> list[list[str]]:
    """The commands of the page that name runs/chain, as arguments of Python."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    block = next(text for text in page.split("```") if "out=runs/chain " in text)
    commands = [shlex.split(line) for line in block.replace("\\\n", " ").strip().split("\n")]
    return [
        words[1:] if words[0] == "python" else ["-m", "reflectionflow_core", *words[1:]]
        for words in commands
    ]


@pytest.mark.slow
def test_each_program_reads_what_the_one_before_it_wrote(tmp_path: Path) -> None:
    commands = chain()
    assert [words[1] for words in commands] == list(FEWER)
    (tmp_path / "train").symlink_to(ROOT / "train")
    for words in commands:
        done = subprocess.run(
            [sys.executable, *words, *FEWER[words[1]].split()],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
    search = tmp_path / "runs" / "chain-search"
    history = (search / "history.jsonl").read_text().splitlines()
    assert any("reflection" in json.loads(line) for line in history)
    for program in ("corrector", "verifier", "writer"):
        lines = (tmp_path / "runs" / f"chain-{program}" / "log.jsonl").read_text().splitlines()
        assert any("loss" in json.loads(line) or "held_out/loss" in line for line in lines)
