"""What the pack keeps of a search by itself: under every cache, after Cancel, and on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from comfy_graphs import (
    DRAFTS,
    EXACT,
    Graph,
    link,
    loop_graph,
    node,
    ours,
    rounds_by_hand,
    search_options,
    shown,
    trail_of,
)
from comfy_server import ROOT, ComfyServer, Run, demand_comfyui
from PIL import Image

STEPS = 4
SLOW = 40  # slow enough to be stopped in the middle
CACHES = {"none": ("--cache-none",), "one": ("--cache-lru", "1"), "classic": ("--cache-classic",)}


@pytest.fixture(params=CACHES)
def cached(request: pytest.FixtureRequest, own_comfy: Callable[..., ComfyServer]) -> ComfyServer:
    return own_comfy(request.param, flags=CACHES[request.param]).start()


def search(depth: int = 1, steps: int = STEPS, **changes: object) -> Graph:
    return loop_graph(depth=depth, steps=steps, **changes)


def steps_of(comfy: ComfyServer, graph: Graph) -> tuple[Run, int]:
    """The run, and how many diffusion steps it took."""
    with comfy.listening("counter") as listener:
        prompt_id = comfy.queue(graph, "counter")
        listener.until_over(prompt_id)
    return comfy.wait(prompt_id), len(listener.of("progress"))


@pytest.mark.slow
def test_only_what_is_new_is_painted_under_every_cache(cached: ComfyServer) -> None:
    first, steps = steps_of(cached, search(depth=1))
    assert steps == (DRAFTS + 2) * STEPS
    again, steps = steps_of(cached, search(depth=1))
    assert steps == 0
    assert again.pixels("images") == first.pixels("images")
    deeper, steps = steps_of(cached, search(depth=2))
    assert steps == 2 * STEPS
    assert deeper.pixels("images")[: DRAFTS + 2] == first.pixels("images")
    shallow, steps = steps_of(cached, search(depth=0))
    assert steps == 0
    assert shallow.pixels("images") == first.pixels("images")[:DRAFTS]


@pytest.fixture(scope="module")
def uncached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    demand_comfyui()
    server = ComfyServer(tmp_path_factory.mktemp("uncached"), flags=("--cache-none",))
    try:
        yield server.start()
    finally:
        server.stop()


def test_whatever_a_picture_depends_on_paints_it_anew(uncached: ComfyServer) -> None:
    whole = (DRAFTS + 2) * STEPS
    changes = [
        search(seed=31),
        search(seed=32),
        search(seed=31, prompt="a photo of a red circle"),
        search(seed=31, steps=STEPS + 1),
        search(seed=31) | {"verifier": ours("VerifierLoader", verifier="noisy", error=0.1)},
    ]
    for graph, steps in zip(changes, (whole, whole, whole, whole // STEPS * 5, whole), strict=True):
        assert steps_of(uncached, graph)[1] == steps, graph
    assert steps_of(uncached, search(seed=31))[1] == 0


def test_a_seed_is_drawn_once_until_it_is_forgotten(uncached: ComfyServer) -> None:
    first, steps = steps_of(uncached, search(depth=0, seed=-1))
    assert steps == DRAFTS * STEPS
    again, steps = steps_of(uncached, search(depth=1, seed=-1))
    assert steps == 2 * STEPS
    assert again.pixels("images")[:DRAFTS] == first.pixels("images")
    uncached.forget()
    other, steps = steps_of(uncached, search(depth=0, seed=-1))
    assert steps == DRAFTS * STEPS
    assert other.pixels("images") != first.pixels("images")


def test_a_node_that_changes_the_model_without_its_weights_is_seen(uncached: ComfyServer) -> None:
    """A shift of the noise levels is in no weight; a memory by weights alone would not see it."""
    graph = native(max_shift=1.1)
    first, steps = steps_of(uncached, graph)
    assert steps
    assert steps_of(uncached, graph)[1] == 0
    other, again = steps_of(uncached, native(max_shift=2.0))
    assert again == steps
    assert other.pixels("images") != first.pixels("images")


def test_a_search_behind_a_vision_model_is_kept_too(uncached: ComfyServer) -> None:
    """The inputs of its choice have a dot in their names, and come to its fingerprint in a dict."""
    profiles = uncached.base / "user" / "__reflectionflow" / "profiles.json"
    profiles.parent.mkdir(parents=True, exist_ok=True)
    profiles.write_text('{"mine": {"base_url": "http://localhost:9/v1", "model": "none"}}', "utf-8")
    given = {"source.profile": "mine", "source.refresh": 0, "source.send_pictures": False}
    graph = search(depth=0, seed=51)
    graph["vision"] = ours("VisionModel", source="on a server", **given)
    graph["verifier"] = ours("Judge", vlm=link("vision"), **EXACT)
    assert steps_of(uncached, graph)[1] == DRAFTS * STEPS
    assert steps_of(uncached, graph)[1] == 0


def native(max_shift: float) -> Graph:
    graph = loop_graph(depth=0)
    graph["models"] = ours("MiniatureLoader")
    graph["shifted"] = node(
        "ModelSamplingFlux",
        model=link("models"),
        max_shift=max_shift,
        base_shift=0.5,
        width=64,
        height=64,
    )
    graph["flux"] = ours(
        "FluxFromModel",
        **{"model": link("shifted"), "clip": link("models", 1), "vae": link("models", 2)},
        **{"width": 64, "height": 64, "steps": STEPS, "guidance": 3.5},
        **{"sampler": "euler", "scheduler": "as FLUX.1-dev"},
        **{"condition_size": 64, "condition_fit": "squash"},
    )
    return graph


def test_it_is_freed_with_comfyuis_own_button_and_by_request(uncached: ComfyServer) -> None:
    graph = search(depth=0, seed=41)
    assert steps_of(uncached, graph)[1] == DRAFTS * STEPS
    kept = uncached.get("/reflectionflow/kept")["searches"][-1]
    assert kept["pictures"] == DRAFTS
    latents = 16 * 8 * 8 * 4  # of a picture, in which it is corrected in places
    assert 0 <= kept["bytes"] - DRAFTS * (64 * 64 * 3 + latents) < DRAFTS * 200
    uncached.forget()
    assert uncached.get("/reflectionflow/kept")["searches"] == []
    assert steps_of(uncached, graph)[1] == DRAFTS * STEPS


def test_each_prompt_of_a_list_has_rounds_of_its_own(uncached: ComfyServer) -> None:
    """The graph before the rounds is the same for all prompts of a wire."""
    prompts = ["a photo of a red circle", "a photo of a blue square"]
    graph = rounds_by_hand(1, seed=82)
    graph["prompts"] = node("ProbeItems", value=json.dumps(prompts))
    graph["start"]["inputs"]["prompt"] = link("prompts")
    reports = uncached.succeed(graph | trail_of(link("round0"))).texts("report")
    painted = [[c["prompt"] for c in json.loads(text)["candidates"]] for text in reports]
    assert painted == [[prompt] * DRAFTS for prompt in prompts]


@pytest.mark.parametrize("body", [b"[1]", b"null", b"", b"no JSON"])
def test_comfyuis_answer_to_a_bad_request_to_free_memory_arrives(
    uncached: ComfyServer, body: bytes
) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(uncached.url + "/free", body, method="POST"), timeout=30)
    assert refused.value.code == HTTPStatus.INTERNAL_SERVER_ERROR


def ended(comfy: ComfyServer, graph: Graph, how: str, pictures: int) -> tuple[Run, list[str]]:
    """The run that was ended after so many pictures, and the texts that its loop showed."""
    with comfy.listening("impatient") as listener:
        prompt_id = comfy.queue(graph, "impatient")
        while len(listener.of("progress")) < pictures * SLOW + SLOW // 2:
            listener.next()
        comfy.post(how)
        if "stop" in how:
            listener.until_over(prompt_id)
        else:
            listener.until("execution_interrupted")
    texts = [text.decode(errors="replace") for text in listener.binaries]
    return comfy.wait(prompt_id), texts


@pytest.mark.parametrize("pictures", [DRAFTS, DRAFTS + 1], ids=["between rounds", "in a round"])
def test_run_goes_on_after_cancel(uncached: ComfyServer, pictures: int) -> None:
    graph = search(depth=1, seed=51, steps=SLOW)
    run, texts = ended(uncached, graph, "/interrupt", pictures)
    assert run.status == "interrupted"
    said = next(text for text in reversed(texts) if "Cancelled" in text)
    assert f"{pictures} pictures of this search kept" in said
    assert "Press Run" in said
    after, steps = steps_of(uncached, graph)
    assert steps == (DRAFTS + 2 - pictures) * SLOW
    uncached.forget()
    assert after.pixels("images") == uncached.succeed(graph).pixels("images")
    uncached.forget()


def test_stop_and_keep_best_hands_out_what_there_is_and_run_goes_on(comfy: ComfyServer) -> None:
    graph = search(depth=2, seed=61, steps=SLOW)
    run, _ = ended(comfy, graph, "/reflectionflow/stop", pictures=1)
    assert run.status == "success"
    assert len(run.images("images")) == 2
    assert run.pixels("best")[0] in run.pixels("images")
    assert len(json.loads(run.text("report"))["candidates"]) == 2
    after, steps = steps_of(comfy, graph)
    assert steps == (DRAFTS + 4 - 2) * SLOW
    assert after.pixels("images")[:2] == run.pixels("images")
    comfy.forget()
    assert after.pixels("images") == comfy.succeed(graph).pixels("images")


def test_a_batch_that_was_painted_is_handed_out_whole_when_a_search_is_stopped(
    comfy: ComfyServer,
) -> None:
    graph = search(depth=1, seed=62, steps=SLOW)
    graph["options"] = search_options(batch_size=DRAFTS)
    graph["loop"]["inputs"]["options"] = link("options")
    run, _ = ended(comfy, graph, "/reflectionflow/stop", pictures=0)
    assert run.status == "success" and len(run.images("images")) == DRAFTS
    after, _ = steps_of(comfy, graph)
    assert after.pixels("images")[:DRAFTS] == run.pixels("images")
    assert len(after.images("images")) == DRAFTS + 2


def test_without_a_search_there_is_nothing_to_stop(comfy: ComfyServer) -> None:
    assert json.loads(comfy.post("/reflectionflow/stop")) == {"stopping": False}
    assert comfy.succeed(search(depth=1, seed=71)).status == "success"


def test_rounds_by_hand_are_kept_too(uncached: ComfyServer) -> None:
    graph = rounds_by_hand(2, seed=81)
    graph["trail"] = ours("ReflectionTrail", history=link("round1"), save_run=False)
    assert steps_of(uncached, graph)[1]
    assert steps_of(uncached, graph)[1] == 0


def test_a_saved_picture_tells_nothing_about_the_machine(comfy: ComfyServer) -> None:
    graph = search(depth=0, seed=91)
    graph["saved"] = node("SaveImage", images=link("loop"), filename_prefix="private")
    graph["models"] = ours("MiniatureLoader")
    graph["corrector"] = ours("LoadCorrector", model=link("models"), lora="miniature")
    graph["looked"] = shown(link("loop"))
    run = comfy.succeed(graph)
    texts = [str(image.info) for image in run.images("saved")]
    stories = [json.dumps(comfy.get(f"/history/{run.prompt_id}")), run.text("report"), *texts]
    for text in stories:
        assert not [p for p in (comfy.base, ROOT, Path.home()) if str(p) in text]
        assert "safetensors" not in text


def test_saved_pictures_open_as_workflows_and_say_how_they_were_made(comfy: ComfyServer) -> None:
    graph = search(depth=1, seed=92, save_run=True)
    drawn = {"nodes": [], "version": 0.4}
    run = comfy.succeed(graph, extra_pnginfo={"workflow": drawn})
    folder = comfy.base / "output" / json.loads(run.text("report"))["folder"]
    pictures = [*(folder / "images").glob("*.png"), folder / "best.png"]
    assert len(pictures) == DRAFTS + 2 + 1
    for picture in pictures:
        texts = Image.open(picture).info
        assert json.loads(texts["workflow"]) == drawn
        assert json.loads(texts["prompt"])["loop"]["class_type"] == "ReflectionFlow_ReflectionLoop"
        assert f"Steps: {STEPS}, Seed: " in texts["parameters"]
        assert texts["reflectionflow_user_prompt"] == graph["loop"]["inputs"]["prompt"]
