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


# Each command as `python -m` runs it, one after the other in one Python: libraries load once.
IN_TURN = """
import json, runpy, sys
for module, *words in json.loads(sys.argv[1]):
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            sys.exit(f"{module} {words} ended with {end.code}")
"""


@pytest.mark.slow
def test_each_program_reads_what_the_one_before_it_wrote(tmp_path: Path) -> None:
    commands = [words[1:] for words in chain()]
    assert [module for module, *_ in commands] == list(FEWER)
    (tmp_path / "train").symlink_to(ROOT / "train")
    shortened = [[*words, *FEWER[words[0]].split()] for words in commands]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(shortened)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    search = tmp_path / "runs" / "chain-search"
    history = (search / "history.jsonl").read_text().splitlines()
    assert any("reflection" in json.loads(line) for line in history)
    for program in ("corrector", "verifier", "writer"):
        lines = (tmp_path / "runs" / f"chain-{program}" / "log.jsonl").read_text().splitlines()
        assert any("loss" in json.loads(line) or "held_out/loss" in line for line in lines)
