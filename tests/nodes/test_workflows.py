"""The workflows that we ship: both formats of each agree, and ComfyUI runs them."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from comfy_graphs import search_options
from comfy_server import ROOT, ComfyServer, Rejected, Run, do_without, find_comfyui
from core.tiny_judges import save_clip, save_reward
from core.tiny_vlm import save_vlm
from PIL import Image, ImageChops
from plain_colours import is_of_the_check, seen
from vlm_server import Asked, Reply, VlmServer, says

FOLDER = ROOT / "workflows"
GRAPHS = Path(__file__).parent / "graphs"  # of the miniature, which no template shows
GOLDEN = GRAPHS.parent / "golden"  # graphs of the first templates
NAMES = sorted(file.stem for file in (FOLDER / "api").glob("*.json"))
FREE = ("first_look", "fix_by_words_miniature", "by_hand")  # of files
TODAYS = ("krea2", "klein", "qwen_image", "z_image")  # see test_todays.py
FLUX_1_DEV = [name for name in NAMES if name not in (*FREE, *TODAYS, "rank_folder")]
NEEDING_FILES = [*FLUX_1_DEV, *TODAYS, "rank_folder"]
RUNNABLE = [
    *FREE,
    *(
        file.stem
        for file in sorted(GRAPHS.glob("*.json"))
        if file.stem not in ("think_first", "verifier_ensemble")
    ),
]
TRIED_IN_TESTS = ("JudgeError", "ReflectionPause")  # in files of their own
TITLE = 30  # pixels of a node's title bar
SHOWING = ("SaveImage", "PreviewImage")
SEARCHES = {  # how many pictures each paints
    "first_look": 3,
    "full_search_miniature": 13,
    "rounds_by_hand_miniature": 6,
    "noise_only_miniature": 8,
    "adaptive_miniature": 2,
    "native_search_miniature": 8,
    "image_to_image_search_miniature": 8,
    "staged_search_miniature": 6,
    "interleaved_miniature": 4,
    "in_context_miniature": 8,
    "paths_miniature": 10,
}
FOLDERS = {  # below models, of the files that a loader names
    "ReflectionFlow_LoadCorrector": "loras",
    "UNETLoader": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "DualCLIPLoader": "text_encoders",
    "VAELoader": "vae",
}
CONVERT = """
import json, sys
from comfy_cli.workflow_to_api import convert_ui_to_api
given = json.load(sys.stdin)
json.dump([convert_ui_to_api(w, given["object_info"]) for w in given["workflows"]], sys.stdout)
"""


def titles() -> dict[str, str]:
    """The file of each template, by the name of its graph for the API."""
    ids = {json.loads(file.read_text("utf-8"))["id"]: file.stem for file in FOLDER.glob("*.json")}
    return {name: ids[str(uuid5(NAMESPACE_URL, f"reflectionflow/{name}"))] for name in NAMES}


@cache
def canvas(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{titles()[name]}.json").read_text("utf-8"))


@cache
def api(name: str) -> dict[str, Any]:
    folder = FOLDER / "api" if name in NAMES else GRAPHS
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def of_kind(name: str, *kinds: str) -> list[str]:
    return [number for number, node in api(name).items() if node["class_type"] in kinds]


# ---------------------------------------------------------------- the files


def test_the_files_are_what_make_writes(tmp_path: Path) -> None:
    make = [sys.executable, str(FOLDER / "make.py"), str(tmp_path)]
    subprocess.run(make, check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": ""})
    made = {"templates": FOLDER, "templates/api": FOLDER / "api", "graphs": GRAPHS}
    made["subgraphs"] = FOLDER.parent / "subgraphs"
    for name, shipped in made.items():
        files = {f.name: f.read_bytes() for f in (tmp_path / name).glob("*.json")}
        assert {f.name: f.read_bytes() for f in shipped.glob("*.json")} == files


def test_there_are_few_templates_in_four_numbered_groups() -> None:
    found = sorted(titles().values())
    assert len(found) == len(NAMES) <= 18
    groups = [title.split(".")[0] for title in found]
    assert sorted(set(groups)) == ["1", "2", "3", "4"]
    numbers = [int(title.split(" ")[0].split(".")[1]) for title in found]
    for group in set(groups):
        mine = [n for g, n in zip(groups, numbers, strict=True) if g == group]
        assert mine == list(range(1, len(mine) + 1))


@pytest.mark.parametrize("word", ["reflection", "fix", "best", "first look", "poster", "rank"])
def test_the_template_browser_finds_them_by_what_people_type(word: str) -> None:
    """It searches nothing but the names of files, and of these the first third of a hundred."""
    found = [title for title in titles().values() if 0 <= title.lower().find(word) <= 32]
    assert len(found) == len(NAMES) if word == "reflection" else found


MINIATURES_ONLY = {
    "judge": ("the miniature's shapes",),
    "verifier": ("exact", "noisy"),
    "inspector": ("exact",),
    "evolver": ("rules", "layout"),
    "planner": ("rules", "rules-strict"),
    "thinker": ("layout",),
}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_knows_shapes_only_judges_pictures_of_flux(name: str) -> None:
    if name in FREE:
        assert not of_kind(name, *FOLDERS)
        return
    assert of_kind(name, *FOLDERS) or name == "rank_folder"
    for node in api(name).values():
        for word, known in MINIATURES_ONLY.items():
            assert node["inputs"].get(word) not in known, node
        assert node["inputs"].get("model") != "miniature"


@pytest.mark.parametrize("name", NAMES)
def test_a_search_ends_when_a_picture_has_passed(name: str) -> None:
    for node in of_kind(name, "ReflectionFlow_ReflectionLoop", "ReflectionFlow_PromptBatch"):
        assert api(name)[node]["inputs"]["stop"] == "when passed"


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_and_every_wire_is_known_at_both_ends(name: str) -> None:
    nodes = {node["id"]: node for node in canvas(name)["nodes"]}
    links = {link[0]: link for link in canvas(name)["links"]}
    assert len(nodes) == len(canvas(name)["nodes"]) == canvas(name)["last_node_id"]
    assert len(links) == len(canvas(name)["links"]) == canvas(name)["last_link_id"]
    for number, source, output, target, slot, kind in links.values():
        sent, received = nodes[source]["outputs"][output], nodes[target]["inputs"][slot]
        assert number in sent["links"] and received["link"] == number
        assert kind == sent["type"] and received["type"] in (kind, "*")
    ends = [i["link"] for node in nodes.values() for i in node["inputs"] if i["link"]]
    assert sorted(ends) == sorted(links)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_lies_on_anything_else(name: str) -> None:
    boxes = [
        (node["title" if "title" in node else "type"], box(node)) for node in canvas(name)["nodes"]
    ]
    groups = [(group["title"], edges(group["bounding"])) for group in canvas(name)["groups"]]
    for things in (boxes, groups):
        for (one, here), (other, there) in combinations(things, 2):
            assert not overlap(here, there), f"{one} and {other}"
    for title, frame in groups:
        for node, place in boxes:
            assert inside(place, frame) or not overlap(place, frame), f"{node} half in {title}"


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_large_enough_to_be_read(name: str) -> None:
    boxes = [box(node) for node in canvas(name)["nodes"]]
    boxes += [edges(group["bounding"]) for group in canvas(name)["groups"]]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    assert max(rights) - min(lefts) <= 2100
    tall = name in ("kontext", "qwen_image")  # one model more
    assert max(bottoms) - min(tops) <= (1600 if tall else 1380)


def notes_of(name: str) -> dict[str, str]:
    notes = [node for node in canvas(name)["nodes"] if node["type"] == "MarkdownNote"]
    return {note["title"]: note["widgets_values"][0] for note in notes}


@pytest.mark.parametrize("name", NAMES)
def test_three_notes_explain_it_and_a_small_picture_shows_it(name: str) -> None:
    assert list(notes_of(name)) == ["What it does", "Model links", "What to change first"]
    assert all(note.strip() for note in notes_of(name).values())
    picture = FOLDER / f"{titles()[name]}.jpg"
    assert picture.stat().st_size <= 40_000
    assert Image.open(picture).size == (512, 512)


@pytest.mark.parametrize("name", NEEDING_FILES)
def test_what_must_be_downloaded_is_named_with_its_place(name: str) -> None:
    note = notes_of(name)["Model links"]
    assert ("https://huggingface.co/black-forest-labs/FLUX.1-dev" in note) == (name in FLUX_1_DEV)
    for node in canvas(name)["nodes"]:
        if folder := FOLDERS.get(node["type"]):
            files = node["properties"]["models"]
            chosen = [v for v in node["widgets_values"] if v.endswith(".safetensors")]
            assert [file["name"] for file in files] == chosen != []
            for file in files:
                assert file["directory"] == folder and f"`models/{folder}`" in note
                assert file["url"].endswith(f"/{file['name']}") and file["url"] in note


def edges(given: list[int]) -> tuple[int, int, int, int]:
    x, y, width, height = given
    return x, y, x + width, y + height


def box(node: dict[str, Any]) -> tuple[int, int, int, int]:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


# ---------------------------------------------------------------- in ComfyUI


@pytest.fixture(scope="module")
def server(comfy: ComfyServer) -> ComfyServer:
    """The shared ComfyUI with pictures in its input folder: two wrong ones, two fixed."""
    folder = comfy.base / "input" / "my_pictures"
    folder.mkdir(exist_ok=True)
    name = "by_hand_miniature"
    run = comfy.succeed(api(name))
    drafts, _, fixed = of_kind(name, "PreviewImage")
    for i, picture in enumerate(run.images(drafts) + run.images(fixed)):
        picture.save(folder / f"{i}.png")
    shutil.copy(folder / "3.png", comfy.base / "input" / "example.png")
    return comfy


def called(
    command: list[str], given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=given,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def object_info(comfy: ComfyServer) -> dict[str, Any]:
    return comfy.object_info()


@pytest.fixture(scope="module")
def converted(object_info: dict[str, Any]) -> dict[str, Any]:
    """Every canvas file as comfy-cli posts it; it lives beside ComfyUI, or beside pytest."""
    found = find_comfyui()
    given = {"object_info": object_info, "workflows": [canvas(name) for name in NAMES]}
    for python in (sys.executable, *([str(found[1])] if found else ())):
        if called([python, "-c", "import comfy_cli"]).returncode:
            continue
        done = called([python, "-c", CONVERT], json.dumps(given))
        assert done.returncode == 0, done.stderr
        return dict(zip(NAMES, json.loads(done.stdout), strict=True))
    do_without("comfy-cli is not installed beside ComfyUI; pip install comfy-cli")


@pytest.mark.parametrize("name", NAMES)
def test_the_canvas_file_posts_the_same_graph_as_the_api_file(
    name: str, converted: dict[str, Any]
) -> None:
    def bare(graph: dict[str, Any]) -> dict[str, Any]:
        return {n: {k: v for k, v in node.items() if k != "_meta"} for n, node in graph.items()}

    # What comfy-cli adds: the button of Load Image, a preview's own widgets.
    for node in converted[name].values():
        node["inputs"] = {k: v for k, v in node["inputs"].items() if not k.startswith("preview")}
    assert bare(converted[name]) == bare(api(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_socket_is_one_that_comfyui_knows(name: str, object_info: dict[str, Any]) -> None:
    for node in canvas(name)["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        known = object_info[node["type"]]
        optional = dict(inputs_of(known, "optional"))
        inputs = dict(inputs_of(known, "required")) | optional
        outputs = list(zip(known["output_name"], known["output"], strict=True))
        ours = node["type"].startswith("ReflectionFlow_")  # others may grow in a newer ComfyUI
        drawn = [(o["name"], o["type"]) for o in node["outputs"]]
        assert drawn == (outputs if ours else outputs[: len(drawn)])
        for socket in node["inputs"]:
            assert inputs[socket["name"]][0] == socket["type"]
            assert (socket.get("shape") == 7) == (socket["name"] in optional)


def inputs_of(known: dict[str, Any], part: str) -> list[tuple[str, Any]]:
    """Inputs with what ComfyUI knows of them; those that a choice brings are `choice.input`."""
    found = list(known["input"].get(part, {}).items())
    for of in ("required", "optional"):
        for name, (kind, *options) in known["input"].get(of, {}).items():
            for option in options[0]["options"] if kind == "COMFY_DYNAMICCOMBO_V3" else ():
                brought = option["inputs"].get(part, {})
                found += [(f"{name}.{inner}", given) for inner, given in brought.items()]
    return found


def test_every_node_of_the_pack_is_in_a_workflow(object_info: dict[str, Any]) -> None:
    ours = {kind for kind in object_info if kind.startswith("ReflectionFlow_")}
    tried = [api(file.stem) for file in GRAPHS.glob("*.json")]
    tried += [json.loads(file.read_text("utf-8")) for file in GOLDEN.glob("*.json")]
    graphs = [*map(api, NAMES), *tried]
    used = {node["class_type"] for graph in graphs for node in graph.values()}
    used |= {f"ReflectionFlow_{name}" for name in TRIED_IN_TESTS}
    assert ours - used == {"ReflectionFlow_ReflectionStep"}  # Reflection Loop makes them


Ran = Callable[[str], tuple[Run, Run]]


@pytest.fixture(scope="module")
def ran(server: ComfyServer) -> Ran:
    """Runs a workflow of the miniature twice in a row, once for all tests."""
    return cache(lambda name: (server.succeed(api(name)), server.succeed(api(name))))


@pytest.mark.parametrize("name", RUNNABLE)
def test_it_runs_and_shows_what_it_promises_and_then_is_remembered(name: str, ran: Ran) -> None:
    first, second = ran(name)
    for run in (first, second):
        for node in of_kind(name, *SHOWING, "ReflectionFlow_ReflectionTrail"):
            assert run.images(node)
    assert second.cached == set(api(name))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_begins_with_wrong_pictures_and_ends_with_a_right_one(name: str, ran: Ran) -> None:
    candidates = report(ran(name)[0], name)["candidates"]
    assert len(candidates) == SEARCHES[name]
    assert max(c["score"] for c in candidates if c["round"] == 0) < 1.0
    assert max(c["score"] for c in candidates) == 1.0


def report(run: Run, name: str) -> Any:
    (trail,) = of_kind(name, "ReflectionFlow_ReflectionTrail")
    return json.loads(run.outputs[trail]["report"][0])


def to_the_end(name: str) -> dict[str, Any]:
    """A search that goes on when a picture has passed."""
    graph = json.loads(json.dumps(api(name)))
    for node in of_kind(name, "ReflectionFlow_ReflectionLoop"):
        graph[node]["inputs"]["stop"] = "never"
    return graph


@pytest.mark.parametrize("name", ["by_hand_miniature", "by_hand"])
def test_the_search_by_hand_paints_what_the_loop_paints(name: str, server: ComfyServer) -> None:
    by_hand, first_look = api(name), to_the_end("first_look")
    first_look["whole"] = search_options(correct="whole")
    for node in of_kind("first_look", "ReflectionFlow_ReflectionLoop"):
        first_look[node]["inputs"]["options"] = ["whole", 0]
    scores = of_kind(name, "ReflectionFlow_VerifierScore")
    (trail,) = of_kind("first_look", "ReflectionFlow_ReflectionTrail")
    judged = server.succeed(by_hand | {f"seen{i}": look(node) for i, node in enumerate(scores)})
    loop = server.succeed(first_look | {"seen": look(trail, 3)}).pixels("seen")
    assert sorted(judged.pixels("seen0")) == sorted(loop[:2])  # by hand they stand best first
    for index in range(1, len(scores)):
        assert judged.pixels(f"seen{index}") == loop[2 * index : 2 * index + 2]


def test_the_search_on_comfyuis_model_paints_what_the_first_look_paints(
    server: ComfyServer,
) -> None:
    names = ("native_search_miniature", "first_look")
    runs = (server.succeed(to_the_end(name)) for name in names)
    native, own = (report(*pair)["candidates"] for pair in zip(runs, names, strict=True))
    for word in ("prompt", "reflection", "seed", "score", "parent"):
        assert [c[word] for c in native] == [c[word] for c in own], word
    painted = []
    for name in names:
        (trail,) = of_kind(name, "ReflectionFlow_ReflectionTrail")
        graph = to_the_end(name) | {"seen": look(trail, 3)}
        painted.append(server.succeed(graph).images("seen"))
    for one, other in zip(*painted, strict=True):
        assert worst(one, other) <= 2


def worst(one: Image.Image, other: Image.Image) -> int:
    """How far apart two pictures are, of 255."""
    return max(ImageChops.difference(one.convert("RGB"), other.convert("RGB")).tobytes())


def test_ksampler_recolours_every_draft_and_leaves_it_in_its_place(server: ComfyServer) -> None:
    name = "native_ksampler_miniature"
    decoded = of_kind(name, "VAEDecode")
    seen = {f"seen{i}": look(node) for i, node in enumerate(decoded)}
    run = server.succeed(api(name) | seen | judged_as(decoded[1], "a photo of a blue circle"))
    assert [verdict["score"] for verdict in json.loads(run.text("verdicts"))] == [1.0] * 4
    for before, after in zip(run.images("seen0"), run.images("seen1"), strict=True):
        red, blue = shape(before), shape(after)
        assert len(red & blue) > 0.7 * len(red | blue)


def judged_as(node: str, prompt: str) -> dict[str, Any]:
    asked = {"images": [node, 0], "prompt": prompt, "verifier": ["verifier", 0]}
    return {
        "verifier": {
            "class_type": "ReflectionFlow_VerifierLoader",
            "inputs": {"verifier": "exact", "error": 0.0},
        },
        "scores": {
            "class_type": "ReflectionFlow_VerifierScore",
            "inputs": asked | {"order": "as given", "keep": 0},
        },
        "verdicts": {"class_type": "PreviewAny", "inputs": {"source": ["scores", 4]}},
    }


def shape(picture: Image.Image) -> set[int]:
    """The pixels that are no paper."""
    return {i for i, light in enumerate(picture.convert("L").tobytes()) if light < 180}


@pytest.mark.parametrize("name", ["search", "server_search", "kontext"])
def test_a_vision_model_judges_every_picture_of_a_search(name: str, server: ComfyServer) -> None:
    """The miniature paints and edits, which it was never taught; a scripted server doubts."""
    with asking(server, doubtful) as vlm:
        run = server.succeed(in_miniature(name))
    data = report_of(run, name)
    assert [c["round"] for c in data["candidates"]] == [0, 1, 1, 2, 2, 3, 3]
    assert all(c["aspects"] and c["passed"] is False for c in data["candidates"])
    assert sum(bool(c["reflection"]) for c in data["candidates"]) >= 3
    assert data["cost"]["vlm_calls"] == len(vlm.asked) > 7
    for node in of_kind(name, *SHOWING, "ReflectionFlow_ReflectionTrail"):
        assert run.images(node)


def test_the_best_of_many_is_kept_and_nothing_is_corrected(server: ComfyServer) -> None:
    with asking(server, doubtful):
        run = server.succeed(in_miniature("best_of_many"))
    candidates = report_of(run, "best_of_many")["candidates"]
    assert len(candidates) == 8 and not any(c["reflection"] for c in candidates)


def test_many_prompts_share_their_pictures(server: ComfyServer) -> None:
    name = "many_prompts"
    with asking(server, doubtful):
        run = server.succeed(in_miniature(name))
    (batch,) = of_kind(name, "ReflectionFlow_PromptBatch")
    prompts = api(name)[batch]["inputs"]["prompts"].splitlines()
    report = run.text(*of_kind(name, "PreviewAny"))
    assert all(f"{n}: {prompt}\n    " in report for n, prompt in enumerate(prompts, 1))
    assert f"0 of {len(prompts)} prompts passed, after 16 pictures" in report
    assert len(run.images(*of_kind(name, "SaveImage"))) == len(prompts)


def test_a_critic_says_what_to_fix_in_a_picture_and_words_need_none(server: ComfyServer) -> None:
    name = "fix_what_the_critic_finds"
    with asking(server, lambda _: says(json.dumps(EDITS))) as vlm:
        asked = server.succeed(in_miniature(name) | {"said": preview_of(name, 1)})
        assert "Turn the circle blue" in asked.text("said") and vlm.asked
        vlm.asked.clear()
        typed = in_miniature("fix_by_words") | {"said": preview_of("fix_by_words", 1)}
        assert server.succeed(typed).text("said") == "turn the mug green" and not vlm.asked


EDITS = {"edits": ["turn the circle blue"]}


def preview_of(name: str, output: int) -> dict[str, Any]:
    (fix,) = of_kind(name, "ReflectionFlow_FixPicture")
    return {"class_type": "PreviewAny", "inputs": {"source": [fix, output]}}


def test_a_model_ranks_a_folder(server: ComfyServer) -> None:
    name = "rank_folder"
    with asking(server, doubtful):
        run = server.succeed(in_miniature(name))
    found = json.loads(run.text(*of_kind(name, "PreviewAny")))
    assert sorted(picture["index"] for picture in found) == list(range(4))
    assert all(picture["aspects"] for picture in found)


def report_of(run: Run, name: str) -> dict[str, Any]:
    (trail,) = of_kind(name, "ReflectionFlow_ReflectionTrail")
    return json.loads(run.outputs[trail]["report"][0])


def test_a_model_plans_and_inspects_what_is_drawn_in_stages(server: ComfyServer) -> None:
    name = "staged"
    cups = {"adds": ["two red cups"], "instruction": "add two cups", "scene": "cups by a plate"}
    plate = {"adds": ["a white plate"], "instruction": "add a plate", "scene": "a plate"}
    found = {"wrong": [], "missing": [], "later": ["cups"], "refine": ""}

    def answer(asked: Any) -> Any:
        if "Plan how to draw" in asked.text:
            return says(json.dumps({"stages": [plate, cups]}))
        if "drawn in stages" in asked.text:
            return says(json.dumps(found))
        kept = "rewritten" in asked.text  # together the two are never likelier than certain
        return says("no", tops={"no": -1.35 if kept else -0.5, "yes": -0.3 if kept else -0.93})

    with asking(server, answer):
        run = server.succeed(in_miniature(name, depth=2))
    data = report_of(run, name)
    assert [c.get("stage") for c in data["candidates"]] == [0, 0, 1, 1, None, None]
    assert [c["reflection"] for c in data["candidates"][2:4]] == ["add two cups"] * 2
    assert all(c["inspection"]["later"] == ["cups"] for c in data["candidates"][:4])
    assert data["settings"]["stages"][0]["objects"] == ["a white plate"]


def test_stages_by_hand_end_with_what_was_asked(server: ComfyServer) -> None:
    name = "staged_by_hand_miniature"
    *_, last = of_kind(name, "ReflectionFlow_CorrectorSampler")
    (prompt,) = of_kind(name, "PrimitiveStringMultiline")
    asked = api(name)[prompt]["inputs"]["value"]
    run = server.succeed(api(name) | judged_as(last, asked))
    assert max(verdict["score"] for verdict in json.loads(run.text("verdicts"))) == 1.0


def test_one_local_model_does_all_three_jobs(server: ComfyServer) -> None:
    save_vlm(server.base / "models" / "LLM" / "small-qwen", favours="no")
    source = {"source": "on this machine", "source.model": "small-qwen"}
    source |= {"source.dtype": "bf16", "source.max_pixels": 4096}
    graph = in_miniature("search", source, depth=1, prompt="a red circle")
    data = report_of(server.succeed(graph), "search")
    assert [c["round"] for c in data["candidates"]] == [0, 1, 1]
    assert all(c["aspects"] for c in data["candidates"])
    assert data["candidates"][1]["reflection"]
    assert data["cost"]["vlm_calls"] >= 3  # it was asked about every picture


def of_comfyui(says: str) -> dict[str, Any]:
    """The search, watched by a text model of ComfyUI's that always says the same."""
    given = {"source": "from ComfyUI's CLIP", "source.clip": ["probe", 0]}
    probe = {"class_type": "ProbeClip", "inputs": {"says": says}}
    ways = {"strategy": "reflection", "stop": "never"}
    return in_miniature("search", given, **ways) | {"probe": probe}


def test_comfyuis_own_text_model_does_all_three_jobs(server: ComfyServer) -> None:
    data = report_of(server.succeed(of_comfyui("yes")), "search")
    assert len(data["candidates"]) == 8
    assert all(c["passed"] and list(c["aspects"].values()) == [0.8] for c in data["candidates"])


def test_a_text_model_that_cannot_write_is_refused_in_a_sentence(server: ComfyServer) -> None:
    refused = server.run(of_comfyui("")).error
    assert "This ComfyUI cannot generate text with a CLIP. Update it" in refused


def test_thinking_first_changes_what_drafts_are_painted_from(server: ComfyServer) -> None:
    parts = {"content": "It is large.", "layout": "in the middle", "style": "flat"}

    def answer(asked: Any) -> Any:
        thinks = "Think the picture through" in asked.text
        return says(json.dumps(parts)) if thinks else says("yes", tops={"yes": -0.1, "no": -3})

    with asking(server, answer) as vlm:
        run = server.succeed(api("think_first"))
    (preview,) = of_kind("think_first", "PreviewAny")
    assert run.text(preview) == "a photo of a red circle. It is large. in the middle. flat."
    before, after = (run.images(node) for node in of_kind("think_first", "PreviewImage"))
    assert len(before) == len(after) == 2
    assert len(vlm.asked) == 2


def test_an_ensemble_ranks_by_all_and_passes_by_its_gate(server: ComfyServer) -> None:
    save_clip(server.base / "models" / "clip_vision" / "small-clip")
    base = save_vlm(server.base / "models" / "LLM" / "small-base")
    save_reward(base, server.base / "models" / "LLM" / "small-reward")
    name = "verifier_ensemble"
    with asking(server, doubtful):
        run = server.succeed(api(name))
    assert "sees                yes" in run.text(*of_kind(name, "ReflectionFlow_JudgeCheck"))
    pictures = json.loads(run.text(*of_kind(name, "PreviewAny")))
    scores = [picture["score"] for picture in pictures]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    names = {name.split(":")[0] for name in pictures[0]["aspects"]}
    assert names == {"checklist", "clip-score", "reward", "disagreement"}
    assert not any(picture["passed"] for picture in pictures)  # so says the checklist


def doubtful(asked: Asked) -> Reply:
    """Sees plain colours, and doubts every other picture."""
    if is_of_the_check(asked.text):
        return says(seen(asked.text, asked.pictures, "response_format" in asked.body))
    return says("no", tops={"no": -0.5, "yes": -0.93})


@contextmanager
def asking(server: ComfyServer, script: Callable[[Any], Any]) -> Iterator[VlmServer]:
    """A scripted server behind the profile that the workflows name."""
    file = server.base / "user" / "__reflectionflow" / "profiles.json"
    before = file.read_text("utf-8")
    with VlmServer(script) as vlm:
        mine = {"base_url": vlm.url, "model": "toy"}
        file.write_text(json.dumps({**json.loads(before), "mine": mine}), "utf-8")
        try:
            yield vlm
        finally:
            file.write_text(before, "utf-8")


SERVER = {"source": "on a server", "source.profile": "mine"}
SERVER |= {"source.send_pictures": False, "source.refresh": 0}


def in_miniature(name: str, source: Mapping[str, Any] = SERVER, **changes: Any) -> dict[str, Any]:
    """A graph on FLUX.1-dev with the miniature's MODEL, CLIP and VAE in place of the files, a
    vision model from `source`, and other inputs of its loop."""
    graph = json.loads(json.dumps(api(name)))
    kinds = ("UNETLoader", "DualCLIPLoader", "VAELoader")
    slots = {node: slot for slot, kind in enumerate(kinds) for node in of_kind(name, kind)}
    # Few steps: scripted judges look at no picture.
    small = {"width": 64, "height": 64, "condition_size": 64, "steps": 2}
    kinds = ("FluxFromModel", "EditCorrector", "LoadCorrector")
    for node in of_kind(name, *(f"ReflectionFlow_{kind}" for kind in kinds)):
        inputs = graph[node]["inputs"]
        inputs |= {word: number for word, number in small.items() if word in inputs}
        for word, given in inputs.items():
            if isinstance(given, list) and given[0] in slots:
                inputs[word] = ["miniature", slots[given[0]]]
        if inputs.get("lora"):
            inputs["lora"] = "miniature"
    for node in of_kind(name, "ReflectionFlow_VisionModel"):
        graph[node]["inputs"] = dict(source)
    for node in of_kind(name, "ReflectionFlow_ReflectionLoop"):
        graph[node]["inputs"] |= changes
    gone = {*slots, *of_kind(name, "CLIPLoader")}
    made = {number: node for number, node in graph.items() if number not in gone}
    return made | {"miniature": {"class_type": "ReflectionFlow_MiniatureLoader", "inputs": {}}}


def look(node: str, output: int = 0) -> dict[str, Any]:
    return {"class_type": "PreviewImage", "inputs": {"images": [node, output]}}


def test_a_folder_of_pictures_comes_back_ranked(ran: Ran) -> None:
    run = ran("score_folder")[0]
    pictures = json.loads(run.text(*of_kind("score_folder", "PreviewAny")))
    scores = [picture["score"] for picture in pictures]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1.0 and scores[-1] < 1
    assert sorted(picture["index"] for picture in pictures) == list(range(4))
    assert len(run.images(*of_kind("score_folder", "PreviewImage"))) == 4


@pytest.mark.parametrize("name", NEEDING_FILES)
def test_without_its_files_a_workflow_says_what_to_download(
    name: str, server: ComfyServer, object_info: dict[str, Any]
) -> None:
    with pytest.raises(Rejected) as refused:
        server.queue(api(name))
    # A choice repeats its sentence for every input that it brings.
    said = {message.split(" - ")[-1] for message in refused.value.messages}
    lora = "There is no LoRA named pytorch_lora_weights.safetensors in models/loras. Download"
    wanted = [lora] * len(of_kind(name, "ReflectionFlow_LoadCorrector"))
    for kind in ("UNETLoader", "DualCLIPLoader", "CLIPLoader", "VAELoader"):  # ComfyUI's own words
        for node in of_kind(name, kind):
            files = [f for f in api(name)[node]["inputs"].values() if f.endswith(".safetensors")]
            wanted += [f"'{file}' not in" for file in files]
    known = object_info["CLIPLoader"]["input"]["required"]["type"][0]
    for node in of_kind(name, "CLIPLoader"):
        if (kind := api(name)[node]["inputs"]["type"]) not in known:  # the note says so, too
            wanted.append(f"'{kind}' not in")
    if name == "server_search":
        wanted.append("The profile mine has no API_KEY")
    assert len(said) == len(set(wanted))
    assert all(any(want in message for message in said) for want in wanted)
    assert "Traceback" not in json.dumps(refused.value.body)


# ---------------------------------------------------------------- the client


def client(server: ComfyServer, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    place = ["--server", f"127.0.0.1:{server.port}", "--out", str(out)]
    command = [sys.executable, str(FOLDER / "api" / "client.py"), *words, *place]
    return called(command)


def test_the_client_saves_every_rounds_pictures_and_prints_the_report(
    server: ComfyServer, tmp_path: Path
) -> None:
    prompt = "a photo of four green squares"
    done = client(server, tmp_path, str(FOLDER / "api" / "first_look.json"), "--prompt", prompt)
    assert done.returncode == 0, done.stderr
    (loop,) = of_kind("first_look", "ReflectionFlow_ReflectionLoop")
    assert len(list(tmp_path.glob(f"{loop}_*.png"))) >= 2
    assert f'"prompt": "{prompt}"' in done.stdout
    (best,) = of_kind("first_look", "SaveImage")
    (saved,) = tmp_path.glob(f"{best}_*.png")
    assert Image.open(saved).size == (6 * 64, 6 * 64)  # enlarged, to look at


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER / "api")
    return importlib.import_module("client")


def test_the_client_names_pictures_from_a_subgraph_as_windows_allows(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a colon in a name would hide the picture in a stream of another file."""
    monkeypatch.setattr(script, "urlopen", lambda _: io.BytesIO(b"PNG"))
    done = {"outputs": {"3:7": {"images": [{"filename": "a.png"}]}}}
    script.save("", {**done, "meta": {"3:7": {"display_node": "3:7"}}}, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["3.7_a.png"]


@pytest.mark.parametrize("graph", ["[1]", '{"1": {"class_type": "PreviewImage"}}'])
def test_the_client_refuses_what_is_no_graph(script: Any, tmp_path: Path, graph: str) -> None:
    file = tmp_path / "graph.json"
    file.write_text(graph, "utf-8")
    with pytest.raises(SystemExit, match="is not in API format"):
        script.read_graph(file, None)


def test_the_client_says_that_a_name_leads_to_no_server(script: Any) -> None:
    with pytest.raises(SystemExit, match="No ComfyUI answers at nowhere"):
        script.run("nowhere.invalid:1", {})


def test_the_client_says_in_a_sentence_why_a_graph_cannot_run(
    server: ComfyServer, tmp_path: Path
) -> None:
    refused = client(server, tmp_path, str(FOLDER / "api" / "search.json"))
    failed = client(
        server, tmp_path, str(FOLDER / "api" / "first_look.json"), "--prompt", "a photo of a cat"
    )
    assert "There is no LoRA named pytorch_lora_weights.safetensors" in refused.stderr
    assert "does not understand" in failed.stderr
    empty = client(
        server, tmp_path, str(FOLDER / "api" / "fix_by_words_miniature.json"), "--prompt", " "
    )
    assert empty.stderr.count("FixPicture: The prompt is empty.") == 1  # ComfyUI says it twice
    for done in (refused, failed, empty):
        assert done.returncode == 1 and "Traceback" not in done.stderr
