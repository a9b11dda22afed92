"""The rehearsal on a FLUX of a few weights: `pytest tests/core/test_rehearsal.py`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from checkpoints import as_type
from rehearsal import __main__ as program
from rehearsal import graphs
from rehearsal.files import needed_bytes, tiny_size, true_size, write_random
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_paints_and_corrects_on_its_own_files_and_prints_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rehearsal", "--size", "tiny", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--plans", "streamed", "resident", "--device", "cpu"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| command line: a draft and its correction | fp8 | streamed |" in done.stdout
    assert "not run: ComfyUI knows text encoders of true size only" in done.stdout
    assert len(list((tmp_path / "run_resident").rglob("*.png"))) >= 2


def test_files_have_the_names_shapes_types_and_values_that_were_asked(tmp_path: Path) -> None:
    asked = {
        "blocks.0.weight": ("F8_E4M3", (33, 7)),
        "blocks.0.norm.scale": ("BF16", (5000,)),
        "blocks.0.bias": ("F32", (3,)),
    }
    found = load_file(write_random(tmp_path / "some.safetensors", asked))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        name: shape for name, (_, shape) in asked.items()
    }
    assert found["blocks.0.weight"].dtype == torch.float8_e4m3fn
    assert 0.01 < found["blocks.0.weight"].float().std() < 0.03
    assert abs(found["blocks.0.norm.scale"].float().mean() - 1) < 0.01


def test_true_size_is_the_published_size() -> None:
    fp8, bf16 = (needed_bytes(true_size(), kind) / 1e9 for kind in ("F8_E4M3", "BF16"))
    assert (round(fp8), round(bf16)) == (22, 34)


def test_a_disk_that_is_too_small_is_told_in_one_sentence(tmp_path: Path, monkeypatch) -> None:
    disk = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=3e9))
    monkeypatch.setattr(program, "shutil", disk)
    with pytest.raises(SystemExit, match=r"has 3 GB free; give --out a disk with 24\.$"):
        program.refuse_if_too_small(tmp_path, true_size(), "F8_E4M3")


def test_too_little_memory_is_told_in_one_sentence(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2e9))
    with pytest.raises(SystemExit, match=r"^2 GB of memory are free, .* takes 4; end other"):
        program.refuse_if_too_small(tmp_path, tiny_size(), "F8_E4M3")


def test_graphs_that_do_not_fit_are_not_begun(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7e9))
    monkeypatch.setattr(graphs, "find_comfyui", lambda: (tmp_path, tmp_path))
    weights = write_random(tmp_path / "few.safetensors", as_type(tiny_size().transformer, "BF16"))
    options = argparse.Namespace(device="cpu")
    rows = list(graphs.graphs(tmp_path, weights, weights, 64, options))
    assert rows == [("graphs", graphs.PLAN, "not run: needs 8 GB, 7 GB are free")]


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_the_graphs_load_the_files_that_are_written(name: str, tmp_path: Path) -> None:
    graph = json.loads((ROOT / "workflows/api" / f"{name}.json").read_text(encoding="utf-8"))
    asked = {value for node in graph.values() for value in node["inputs"].values() if named(value)}
    assert asked <= graphs.NAMES
    graphs.give_pictures(tmp_path, graph)
    loaded = [n["inputs"]["image"] for n in graph.values() if n["class_type"] == "LoadImage"]
    assert all((tmp_path / "input" / image).is_file() for image in loaded)


def named(value: object) -> bool:
    return isinstance(value, str) and value.endswith(".safetensors")


def test_a_graph_is_made_smaller_and_otherwise_kept() -> None:
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"steps": 30, "seed": 7, "model": ["2", 0]}},
        "2": {
            "class_type": "ReflectionFlow_ReflectionLoop",
            "inputs": {"width": 3, "depth": 4, "strategy": "reflection"},
        },
        "3": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
    }
    found = graphs.smaller(graph, 64, 2)
    assert found["1"]["inputs"] == {"steps": 2, "seed": 7, "model": ["2", 0]}
    assert found["2"]["inputs"] == {"width": 1, "depth": 1, "strategy": "reflection"}
    assert found["3"]["inputs"] == {"width": 64, "height": 64}
