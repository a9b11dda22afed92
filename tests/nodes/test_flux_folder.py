"""FLUX from a folder and its corrector from a file, both in real formats and found by ComfyUI.

The miniature's weights are in the layout of FLUX.1-dev, so a copy of them stands in for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_graphs import Graph, link, loop_graph, ours
from comfy_server import ROOT, ComfyServer, Rejected, Run, demand_comfyui

WEIGHTS = ROOT / "reflectionflow_core" / "miniature" / "weights"
SIZES = {"width": 64, "height": 64, "steps": 12, "guidance": 3.5, "condition_size": 64}


def models_in(folder: Path) -> Path:
    """A FLUX folder, its corrector, and the extra_model_paths.yaml that leads to them."""
    shutil.copytree(WEIGHTS, folder / "big disk" / "flux" / "shapes")
    corrector = folder / "big disk" / "loras" / "corrector.safetensors"
    corrector.parent.mkdir()
    shutil.copy(WEIGHTS / "corrector" / "pytorch_lora_weights.safetensors", corrector)
    paths = folder / "extra.yaml"
    paths.write_text(
        f"elsewhere:\n  base_path: {(folder / 'big disk').as_posix()}\n"
        "  diffusers: flux\n  loras: loras\n",
        encoding="utf-8",
    )
    return paths


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    demand_comfyui()
    folder = tmp_path_factory.mktemp("elsewhere")
    paths = models_in(folder)
    server = ComfyServer(folder / "base", flags=("--extra-model-paths-config", str(paths)))
    try:
        yield server.start()
    finally:
        server.stop()


def by_hand(**changes: object) -> Graph:
    """A loop whose FLUX, corrector and sampling are loaded one by one."""
    graph = loop_graph(depth=1)
    graph["flux"] = ours("FluxLoader", model="shapes", dtype="fp32")
    graph["corrector"] = ours(
        "CorrectorLoader", flux=link("flux"), lora=changes.pop("lora", "corrector.safetensors")
    )
    sampling = {"flux": link("corrector"), "condition_fit": "squash", **SIZES, **changes}
    graph["sampling"] = ours("FluxSampling", **sampling)
    graph["loop"]["inputs"]["flux"] = link("sampling")
    return graph


def candidates(run: Run) -> list[dict]:
    return json.loads(run.text("report"))["candidates"]


def test_a_folder_with_its_corrector_paints_what_the_built_in_miniature_paints(server):
    ours_, built_in = server.succeed(by_hand()), server.succeed(loop_graph(depth=1))
    assert candidates(ours_) == candidates(built_in)
    assert ours_.pixels("images") == built_in.pixels("images")


def test_a_report_names_the_model_but_not_the_folders_it_lies_in(server):
    report = server.succeed(by_hand()).text("report")
    assert json.loads(report)["model"] == "shapes"
    assert "big disk" not in report


def test_changed_sampling_neither_loads_flux_again_nor_its_corrector(server):
    server.succeed(by_hand())
    again = server.succeed(by_hand(steps=3))
    assert {"flux", "corrector"} <= again.cached and "sampling" not in again.cached


def test_without_its_corrector_a_flux_says_what_to_put_where(server):
    graph = by_hand()
    graph["sampling"]["inputs"]["flux"] = link("flux")
    assert "needs a corrector" in server.run(graph).error


def test_a_replaced_corrector_is_loaded_anew_and_a_foreign_one_refused(server):
    server.succeed(by_hand())
    folder = server.base.parent / "big disk" / "loras"
    file = folder / "corrector.safetensors"
    kept = file.read_bytes()
    try:
        shutil.copy(WEIGHTS / "vae" / "diffusion_pytorch_model.safetensors", file)
        assert "holds no corrector LoRA for this FLUX" in server.run(by_hand()).error
        file.write_bytes(kept[: len(kept) // 2])
        assert "cannot be read as safetensors" in server.run(by_hand()).error
    finally:
        file.write_bytes(kept)
    assert server.run(by_hand()).status == "success"


def test_models_that_are_not_there_are_named_before_anything_is_queued(server):
    graph = by_hand(lora="missing.safetensors")
    graph["flux"]["inputs"]["model"] = "FLUX.1-dev"
    with pytest.raises(Rejected) as refused:
        server.queue(graph)
    text = " ".join(refused.value.messages)
    assert "no FLUX folder named FLUX.1-dev in models/diffusers" in text
    assert "no LoRA named missing.safetensors in models/loras" in text
    assert text.count("Download") >= 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"width": 24}, "The picture's width is 24. Give a multiple of 16"),
        ({"guidance": float("nan")}, "guidance"),
    ],
)
def test_impossible_sampling_is_a_sentence(server, changes, expected):
    assert expected in server.run(by_hand(**changes)).error


def test_a_folder_on_another_disk_is_offered_beside_the_miniature(server):
    options = server.object_info("ReflectionFlow_FluxLoader")
    combo = options["ReflectionFlow_FluxLoader"]["input"]["required"]["model"]
    assert "shapes" in json.dumps(combo) and "miniature" in json.dumps(combo)
