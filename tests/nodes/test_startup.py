"""How the pack starts: quickly, under any name, and also where a library is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from comfy_graphs import OURS, actor_nodes, drafts_graph, node, scored, text_of
from comfy_server import PACK, ROOT, ComfyServer, find_comfyui

LIMIT = 0.8  # CPU seconds of this process; others on the same core make them more

# Loads the pack as ComfyUI does, after everything that ComfyUI itself has loaded by then.
MEASURE = """
import sys
comfy, pack = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path.insert(0, comfy)
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config, comfy_api.latest, nodes, server
import asyncio, gc, importlib.util, json, time
gc.freeze()  # what ComfyUI made is not swept while the clock runs
before, began = set(sys.modules), time.process_time()
spec = importlib.util.spec_from_file_location(
    "some-name", pack + "/__init__.py", submodule_search_locations=[pack])
module = importlib.util.module_from_spec(spec)
sys.modules["some-name"] = module
spec.loader.exec_module(module)
async def schemas():
    extension = await module.comfy_entrypoint()
    return [node.GET_SCHEMA() for node in await extension.get_node_list()]
count = len(asyncio.run(schemas()))
seconds = time.process_time() - began
print(json.dumps({"seconds": seconds, "nodes": count, "new": sorted(set(sys.modules) - before)}))
"""
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "scipy", "rich"}


def test_the_pack_is_found_under_another_name_without_a_word_of_complaint(
    comfy: ComfyServer,
) -> None:
    assert PACK != "reflectionflow"
    log = re.sub(r"\x1b\[\d*m|\[INFO\]", "", comfy.log)  # of newer versions
    assert re.search(rf"^ *[\d.]+ seconds: .*{PACK}$", log, re.MULTILINE)
    for complaint in ("IMPORT FAILED", "comfy_entrypoint", "could not be loaded"):
        assert complaint not in comfy.log


@pytest.mark.usefixtures("comfy")  # so that it is skipped, or fails, where the others do
def test_the_pack_is_imported_in_no_time_and_loads_no_model_library(tmp_path: Path) -> None:
    found = find_comfyui()
    assert found
    folder, python = found
    ran = subprocess.run(
        [str(python), "-c", MEASURE, str(folder), str(ROOT)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    measured = json.loads(ran.stdout.splitlines()[-1])
    assert measured["nodes"]
    assert not {name.split(".")[0] for name in measured["new"]} & HEAVY
    assert measured["seconds"] < LIMIT  # 0.25 s on two cores of a server


def test_a_missing_library_takes_no_node_away_and_its_loader_says_what_to_install(
    own_comfy: Callable[..., ComfyServer], tmp_path: Path, comfy: ComfyServer
) -> None:
    stub = tmp_path / "stubs" / "diffusers"
    stub.mkdir(parents=True)
    error = "raise ModuleNotFoundError(\"No module named 'diffusers'\", name='diffusers')\n"
    (stub / "__init__.py").write_text(error)
    poor = own_comfy("poor", pack="reflectionflow", environment={"PYTHONPATH": str(stub.parent)})
    poor.start()
    ours = [name for name in comfy.object_info() if name.startswith(OURS)]
    assert ours and set(ours) <= set(poor.object_info())
    graph = {
        "verifier": actor_nodes()["verifier"],
        "scored": scored("grey"),
        "text": text_of(["scored", 4]),
    }
    graph["grey"] = node("ProbePicture", shape="[1, 64, 64, 3]", value="0.5")
    assert poor.succeed(graph).text("text")
    failed = poor.run(drafts_graph())
    assert failed.message("execution_error")["node_id"] == "flux"
    assert failed.error.startswith("diffusers cannot be imported")
    assert "python -m pip install -r requirements.txt" in failed.error
