"""Living well inside ComfyUI: cancel, memory, models, progress."""

from __future__ import annotations

import io
import struct
import time

from comfy_graphs import (
    DRAFTS,
    drafts_graph,
    link,
    loop_graph,
    rounds_by_hand,
    sampling,
    search_options,
    text_of,
    trail_of,
)
from comfy_server import ComfyServer, Listener
from PIL import Image

STEPS = 12  # of the miniature
PREVIEW, TEXT = 1, 3  # kinds of binary messages
LONG = 80  # diffusion steps, more than a second
FLUX_PARTS = {"FluxTransformer2DModel", "AutoencoderKL", "T5EncoderModel", "CLIPTextModel"}


def binaries(listener: Listener, kind: int) -> list[bytes]:
    return [data[4:] for data in listener.binaries if struct.unpack(">I", data[:4]) == (kind,)]


def progress_texts(listener: Listener) -> list[tuple[str, str]]:
    """What was said, and on which node."""
    said = []
    for data in binaries(listener, TEXT):
        (length,) = struct.unpack(">I", data[:4])
        said.append((data[4 : 4 + length].decode(), data[4 + length :].decode()))
    return said


def test_cancel_works_within_a_step_keeps_finished_rounds_and_harms_nothing(
    comfy: ComfyServer,
) -> None:
    graph = loop_graph(depth=1, width=1, drafts=1, steps=LONG)
    undisturbed = comfy.succeed(graph).pixels("images")
    comfy.forget()
    with comfy.listening("hasty") as listener:
        prompt_id = comfy.queue(graph, "hasty")
        listener.until("executed", node="loop.0.0.round")
        listener.until("progress", value=10)
        comfy.interrupt()
        asked = time.monotonic()
        listener.until("execution_interrupted", prompt_id=prompt_id)
        waited = time.monotonic() - asked
        run = comfy.wait(prompt_id)
        assert waited < 3  # seconds; 0.05 on two cores of a server
        assert listener.of("progress")[-1]["value"] < LONG / 2
        assert run.status == "interrupted"
        assert run.message("execution_interrupted")["node_id"] == "loop"
        assert comfy.queue_is_empty()
        before = len(listener.of("progress"))
        again = comfy.queue(graph, "hasty")
        listener.until_over(again)
    assert len(listener.of("progress")) - before == LONG  # one round of the two
    assert comfy.wait(again).pixels("images") == undisturbed


def test_memory_stays_flat_over_fifty_rounds(comfy: ComfyServer) -> None:
    sizes = []
    with comfy.listening("scales") as listener:
        prompt_id = comfy.queue(loop_graph(depth=50, width=1, drafts=1, steps=2), "scales")
        for _ in range(51):
            assert listener.until("executed", display_node="loop")
            sizes.append(comfy.state()["rss"] / 1e6)
        listener.until_over(prompt_id)
    grown = sizes[50] - sizes[5]
    # 17 MB were measured in a fresh ComfyUI, 0 to 4 in one that has run for a while; the pictures
    # themselves are 0.6.
    assert grown < 40, f"{grown:.1f} MB from round 5 to round 50"


def test_every_module_is_a_model_that_comfyui_manages_and_flux_is_loaded_once(
    comfy: ComfyServer,
) -> None:
    comfy.forget()
    comfy.succeed(loop_graph(depth=1))
    models = comfy.state()["models"]
    names = [model["class"] for model in models]
    assert set(names) == FLUX_PARTS | {"CorrectorLora"}
    assert len(names) == len(set(names)), "drafts and corrections share their FLUX"
    assert all(model["held"] and model["loaded"] == model["size"] > 0 for model in models)


def test_unloaded_models_come_back_and_paint_the_same(comfy: ComfyServer) -> None:
    graph = loop_graph(depth=1)
    first = comfy.succeed(graph).pixels("images")
    comfy.succeed(drafts_graph(count=1, seed=99))  # ComfyUI forgets the loop, but not its FLUX
    comfy.unload()
    until = time.monotonic() + 5
    while comfy.state()["models"]:
        assert time.monotonic() < until, comfy.state()["models"]
    assert comfy.succeed(graph).pixels("images") == first


def test_a_flux_that_no_node_holds_any_more_is_gone_from_memory(comfy: ComfyServer) -> None:
    comfy.succeed(loop_graph(depth=1, steps=1))
    assert comfy.get("/probe/alive/FluxTransformer2DModel") == 1
    comfy.forget()
    comfy.succeed({"text": text_of("nothing")})
    assert comfy.get("/probe/alive/FluxTransformer2DModel") == 0
    assert comfy.get("/probe/alive/Candidate") == 0


def test_progress_comes_step_by_step_and_says_what_is_going_on(comfy: ComfyServer) -> None:
    with comfy.listening("watcher") as listener, comfy.listening("stranger") as stranger:
        listener.until_over(comfy.queue(drafts_graph(seed=50), "watcher"))
        steps = [step for step in listener.of("progress") if step["node"] == "drafts"]
        assert [step["value"] for step in steps] == [*range(1, STEPS + 1)] * DRAFTS
        assert {step["max"] for step in steps} == {STEPS}
        assert ("drafts", "Painting …") in progress_texts(listener)
        assert not binaries(listener, PREVIEW)
        stranger.until_over(comfy.queue(drafts_graph(seed=51), "stranger"))
        assert progress_texts(stranger).count(("drafts", "Painting …")) == 1  # its own run's


def test_a_loop_says_on_its_own_node_which_round_it_is_in(comfy: ComfyServer) -> None:
    with comfy.listening("reader") as listener:
        listener.until_over(comfy.queue(loop_graph(depth=1, seed=52), "reader"))
    said = [text for node, text in progress_texts(listener) if node == "loop"]
    assert said[0].startswith("At most 5 pictures, 60 steps, ")
    assert said[1] == "Drafts: painting …"
    assert f"Round 1 of 1: correcting … {DRAFTS} of 5 pictures · best " in "".join(said)
    assert any("left" in text for text in said)
    assert "Round 1 no. 1" in said[-1] and "Round 1 no. 2" in said[-1]


def test_a_node_counts_what_its_budget_allows_and_not_what_another_graphs_node_had(
    comfy: ComfyServer,
) -> None:
    graph = loop_graph(depth=1, seed=54, options=link("options"))
    graph["options"] = search_options(max_images=4)
    by_hand = rounds_by_hand(1, seed=55)
    by_hand = {"loop": by_hand.pop("round0"), **by_hand, **trail_of(link("loop"))}
    with comfy.listening("counter") as listener:
        listener.until_over(comfy.queue(graph, "counter"))
        listener.until_over(comfy.queue(by_hand, "counter"))
    said = [text for node, text in progress_texts(listener) if node == "loop"]
    assert any("2 of 4 pictures" in text for text in said)
    assert any("… 2 pictures" in text for text in said)
    assert not any("of 5" in text or "of 7" in text for text in said)


def test_pictures_are_seen_in_the_making_by_those_who_ask_for_previews(
    comfy: ComfyServer,
) -> None:
    with comfy.listening("spectator") as listener:
        graph = drafts_graph(seed=53, count=1)
        listener.until_over(comfy.queue(graph, "spectator", preview_method="latent2rgb"))
    previews = binaries(listener, PREVIEW)
    assert len(previews) >= STEPS - 1
    last = Image.open(io.BytesIO(previews[-1][4:]))
    assert last.format == "JPEG"
    assert min(last.size) >= 128
    assert len(set(previews)) > STEPS // 2


def test_steps_can_be_set_and_are_counted(comfy: ComfyServer) -> None:
    graph = drafts_graph(count=1)
    graph |= {"sampling": sampling(steps=5)}
    graph["drafts"]["inputs"]["flux"] = link("sampling")
    with comfy.listening("counter") as listener:
        listener.until_over(comfy.queue(graph, "counter"))
    assert [step["value"] for step in listener.of("progress")] == [1, 2, 3, 4, 5]
