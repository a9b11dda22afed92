"""The nodes that stand for several others: Judge, Critic, Vision model and Fix Picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comfy_graphs import (
    EXACT,
    OURS,
    Graph,
    actor_nodes,
    link,
    loop_graph,
    menu_graph,
    node,
    ours,
    shown,
    text_of,
)
from comfy_server import ComfyServer, Rejected, Run
from PIL import Image, ImageDraw

SEES = {"judge": "what a vision model sees", "judge.method": "checklist"}
RED, BLUE = "a photo of a red circle", "a photo of a blue circle"


def fixing(words: str, prompt: str = BLUE, **given: Any) -> Graph:
    """A draft of a red circle, and Fix Picture behind it."""
    flux, draft = link("flux"), link("draft")
    return {
        "flux": actor_nodes()["flux"],
        "draft": ours("DraftSampler", flux=flux, prompt=RED, count=1, seed=0, batch_size=1),
        "fix": ours(
            "FixPicture", flux=flux, image=draft, prompt=prompt, words=words, seed=2, **given
        ),
        "before": shown(draft),
        "fixed": shown(link("fix", 0)),
        "words": text_of(link("fix", 1)),
        "pair": shown(link("fix", 2)),
    }


def critics() -> Graph:
    return {"judge": ours("Judge", **EXACT), "critic": ours("Critic")}


CRITICS: dict[str, Any] = {"writer": link("critic"), "verifier": link("judge")}


def report(run: Run) -> list[dict[str, Any]]:
    return json.loads(run.text("report"))["candidates"]


def array(run: Run, name: str) -> np.ndarray:
    return np.asarray(run.images(name)[0].convert("RGB")).astype(int)


def test_judge_and_critic_search_as_the_loaders_that_they_stand_for(comfy: ComfyServer) -> None:
    new, old = comfy.succeed(menu_graph()), comfy.succeed(loop_graph(depth=2))
    assert new.pixels("images") == old.pixels("images")
    assert [c["reflection"] for c in report(new)] == [c["reflection"] for c in report(old)]


def test_fix_picture_does_what_the_words_say_and_keeps_the_size(comfy: ComfyServer) -> None:
    run = comfy.succeed(fixing("recolor the red circle blue"))
    before, after = array(run, "before"), array(run, "fixed")
    assert before.shape == after.shape
    assert (before[..., 0] > before[..., 2] + 60).any()  # red, and then blue
    assert (after[..., 2] > after[..., 0] + 60).any()
    assert not (after[..., 0] > after[..., 2] + 60).any()
    assert run.text("words") == "recolor the red circle blue"
    assert run.pixels("pair") == [*run.pixels("before"), *run.pixels("fixed")]
    assert len(run.images("fix")) == 2


@pytest.mark.parametrize("size", [(160, 100), (60, 150)])
def test_a_picture_of_another_shape_is_not_stretched(
    comfy: ComfyServer, size: tuple[int, int]
) -> None:
    own, middle = Image.new("RGB", size, "#f2f0eb"), (size[0] // 2, size[1] // 2)
    ImageDraw.Draw(own).circle(middle, 24, fill="#d63031")
    own.save(comfy.base / "input" / f"own_{size[0]}.png")
    graph = fixing("recolor the red circle blue")
    graph["draft"] = node("LoadImage", image=f"own_{size[0]}.png")
    after = array(comfy.succeed(graph), "fixed")
    assert after.shape == (size[1], size[0], 3)
    rows, columns = np.nonzero(after[..., 2] > after[..., 0] + 60)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), rel=0.15)
    assert np.ptp(rows) == pytest.approx(48, rel=0.25)


def test_without_words_the_critic_finds_them_and_they_do_the_same(comfy: ComfyServer) -> None:
    asked = comfy.succeed({**fixing("", **CRITICS), **critics()})
    typed = comfy.succeed(fixing("recolor the red circle blue"))
    assert asked.text("words") == typed.text("words")
    assert asked.pixels("fixed") == typed.pixels("fixed")


def test_a_right_picture_comes_back_as_it_was_and_nothing_is_painted(comfy: ComfyServer) -> None:
    run = comfy.succeed({**fixing("", prompt=RED, **CRITICS), **critics()})
    assert run.pixels("fixed") == run.pixels("before")
    assert run.text("fix") == "Nothing is wrong, so nothing was changed."


def test_with_words_neither_critic_nor_judge_is_loaded(comfy: ComfyServer) -> None:
    graph = {**fixing("recolor the red circle blue, now", **CRITICS), **critics()}
    graph["judge"] = ours("Judge", judge="what is there", **{"judge.detector": "(none)"})
    assert comfy.succeed(graph).text("words").endswith("now")  # that judge would fail


def masked(mask: Graph, **given: Any) -> Graph:
    words = "recolor the red circle blue"
    return {**fixing(words, mask=link("mask"), **given), **mask}


def solid(value: float, width: int, height: int) -> dict[str, Any]:
    return node("SolidMask", value=value, width=width, height=height)


def left_half(width: int = 64, height: int = 64) -> Graph:
    """A mask over the left half."""
    return {
        "all": solid(0.0, width, height),
        "half": solid(1.0, width // 2, height),
        "mask": node(
            "MaskComposite",
            destination=link("all"),
            source=link("half"),
            x=0,
            y=0,
            operation="add",
        ),
    }


@pytest.mark.parametrize("feather", [0, 8])
def test_outside_of_a_mask_every_pixel_stays_and_inside_the_picture_changes(
    comfy: ComfyServer, feather: int
) -> None:
    run = comfy.succeed(masked(left_half(), feather=feather))
    whole = comfy.succeed(fixing("recolor the red circle blue"))
    before, after, repainted = array(run, "before"), array(run, "fixed"), array(whole, "fixed")
    assert (after[:, 32:] == before[:, 32:]).all()
    assert (before[:, 32:] != repainted[:, 32:]).any()  # which an unmasked picture does not
    deep = slice(0, 32 - feather)
    assert (after[:, deep] != before[:, deep]).any()
    assert (before[:, deep] != repainted[:, deep]).any()


def test_a_mask_of_another_size_is_brought_to_the_pictures(comfy: ComfyServer) -> None:
    large, small = (
        comfy.succeed(masked(left_half(*size), feather=0)) for size in ((64, 64), (128, 256))
    )
    assert large.pixels("fixed") == small.pixels("fixed")


def test_a_picture_of_another_size_and_shape_keeps_both(comfy: ComfyServer) -> None:
    graph = fixing("recolor the red circle blue")
    size = {"width": 150, "height": 90}
    how = {"upscale_method": "lanczos", "crop": "disabled"}
    graph["large"] = node("ImageScale", image=link("draft"), **size, **how)
    graph["fix"]["inputs"]["image"] = link("large")
    assert comfy.succeed(graph).images("fixed")[0].size == (150, 90)


def test_a_mask_stays_in_its_place_on_a_picture_of_another_shape(comfy: ComfyServer) -> None:
    graph = masked(left_half(150, 90), feather=0)
    scale = {"width": 150, "height": 90, "upscale_method": "lanczos", "crop": "disabled"}
    graph["large"] = node("ImageScale", image=link("draft"), **scale)
    graph["fix"]["inputs"]["image"] = link("large")
    graph["before"] = shown(link("large"))
    run = comfy.succeed(graph)
    before, after = array(run, "before"), array(run, "fixed")
    assert (after[:, 75:] == before[:, 75:]).all()
    changed = (after != before).any(axis=2)
    assert changed[:, 15:60].mean() > 0.2  # all over the half, not where the margin was


def test_an_empty_mask_is_refused_before_anything_is_painted(comfy: ComfyServer) -> None:
    run = comfy.run(masked({"mask": solid(0.0, 90, 60)}))
    assert run.error.startswith("The mask is empty, so nothing may change. Paint over")


def test_a_mask_that_nobody_drew_in_load_image_lets_the_whole_picture_change(
    comfy: ComfyServer,
) -> None:
    run = comfy.succeed(masked({"mask": solid(0.0, 64, 64)}))  # what Load Image gives then
    assert "No mask was drawn, so the whole picture could change." in run.text("fix")


def test_several_pictures_are_refused(comfy: ComfyServer) -> None:
    graph = fixing("recolor the red circle blue")
    graph["draft"]["inputs"]["count"] = 2
    assert comfy.run(graph).error.startswith("Fix Picture fixes one picture, and 2 came.")


def test_a_writer_that_sees_nothing_needs_a_judge(comfy: ComfyServer) -> None:
    run = comfy.run({**fixing("", writer=link("critic")), "critic": ours("Critic")})
    assert run.error.startswith("This writer repeats what a judge finds wrong, and no judge is")


def refused(comfy: ComfyServer, graph: Graph) -> str:
    """Why ComfyUI did not queue a graph: one reason, though it may say it for several inputs."""
    graph = {name: node for name, node in graph.items() if name != "before"}  # could run alone
    with pytest.raises(Rejected) as caught:
        comfy.queue(graph)
    (reason,) = {message.partition(" - ")[2] for message in caught.value.messages}
    return reason


def test_without_words_and_without_a_critic_nothing_is_queued(comfy: ComfyServer) -> None:
    assert refused(comfy, fixing(" ")).startswith("Nothing says what to change. Type it into words")


def test_a_judge_that_asks_a_model_is_refused_without_one(comfy: ComfyServer) -> None:
    assert refused(comfy, menu_graph(SEES)).startswith(
        "This judge asks a vision model, and none is"
    )


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        (
            {"judge": "CLIP score", "judge.model": "none-such"},
            "There is no CLIP folder named none-such in models/clip_vision, ",
        ),
        (
            {"judge": "what is there", "judge.detector": "none.onnx"},
            "There is no detector named none.onnx in models/detection or models/onnx. Put it",
        ),
        (
            {"judge": "Image-Verifier", "judge.model": "none-such", "judge.base": "none"},
            "There is no reward model named none-such in models/LLM, ",
        ),
        (
            {"judge": "the miniature's shapes", "judge.error": 1.5},
            "The error is 1.5. Give a number",
        ),
        (
            {"judge": "what a vision model sees", "judge.method": "guess", "vlm": link("vision")},
            "The method is 'guess'. Choose one of: checklist, ",
        ),
    ],
)
def test_a_judge_that_cannot_judge_is_refused_before_anything_runs(
    comfy: ComfyServer, judge: dict[str, Any], reason: str
) -> None:
    graph = menu_graph(judge)
    if "vlm" in judge:
        graph["mini"] = ours("MiniatureLoader")
        clip = {"source": "from ComfyUI's CLIP", "source.clip": link("mini", 1)}
        graph["vision"] = ours("VisionModel", **clip)
    assert refused(comfy, graph).startswith(reason)


SERVER: dict[str, Any] = {
    "source": "on a server",
    "source.profile": "planted",
    "source.refresh": 0,
    "source.send_pictures": False,
}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            {
                "source": "on this machine",
                "source.model": "none-such",
                "source.dtype": "bf16",
                "source.max_pixels": 4096,
            },
            "There is no vision-language model named none-such in models/LLM, ",
        ),
        (
            {**SERVER, "source.profile": "nobody"},
            "The profile nobody has no API_KEY and BASE_URL. Set",
        ),
        ({**SERVER, "source.profile": "sk-" + "a" * 40}, "The profile looks like an API key"),
    ],
)
def test_a_vision_model_that_is_not_there_is_refused(
    comfy: ComfyServer, model: dict[str, Any], reason: str
) -> None:
    graph = menu_graph(SEES)
    graph["vision"] = ours("VisionModel", **model)
    graph["judge"]["inputs"]["vlm"] = link("vision")
    assert refused(comfy, graph).startswith(reason)


def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(comfy: ComfyServer) -> None:
    run = comfy.run(menu_graph({"judge": "the weather"}))
    assert run.error.startswith("No known judge is chosen. Set judge to one of: what a vision")


REPLACED = {  # by what, and how its only output is then called
    "WriterLoader": ("Critic", "writer"),
    "EvolverLoader": ("Critic", "evolver"),
    "InspectorLoader": ("Critic", "inspector"),
    "ClipScoreLoader": ("Judge", "verifier"),
    "RewardLoader": ("Judge", "verifier"),
    "VlmLoader": ("VisionModel", "vlm"),
    "VlmEndpoint": ("VisionModel", "vlm"),
    "VlmFromClip": ("VisionModel", "vlm"),
}


@pytest.mark.parametrize("old", REPLACED)
def test_a_newer_comfyui_knows_which_node_stands_for_an_old_one(
    comfy: ComfyServer, old: str
) -> None:
    if "search_aliases" not in comfy.object_info("KSampler")["KSampler"]:
        pytest.skip("this ComfyUI cannot replace nodes yet")
    [known] = comfy.get("/node_replacements")[OURS + old]
    new, output = REPLACED[old]
    before, after = (comfy.object_info(OURS + name)[OURS + name] for name in (old, new))
    assert known["new_node_id"] == OURS + new
    values = {
        one["new_id"]: one["set_value"] for one in known["input_mapping"] if "set_value" in one
    }
    moved = {one["old_id"]: one["new_id"] for one in known["input_mapping"] if "old_id" in one}
    assert moved.keys() == {name for name, _ in all_inputs(before["input"])}
    assert known["old_widget_ids"] == [
        n for n, given in all_inputs(before["input"]) if is_widget(given)
    ]
    targets = dict(all_inputs(after["input"]))
    for name, choice in values.items():
        (option,) = (o for o in targets[name][1]["options"] if o["key"] == choice)
        of_choice = {f"{name}.{inner}" for inner, _ in all_inputs(option["inputs"])}
        assert set(moved.values()) == of_choice
    if not values:
        assert set(moved.values()) <= targets.keys()
    [mapped] = known["output_mapping"]
    assert after["output_name"][mapped["new_idx"]] == output
    assert after["output"][mapped["new_idx"]] == before["output"][mapped["old_idx"]]


def all_inputs(known: dict[str, Any]) -> list[tuple[str, Any]]:
    return [pair for part in ("required", "optional") for pair in known.get(part, {}).items()]


def is_widget(given: list[Any]) -> bool:
    return isinstance(given[0], list) or given[0] in ("COMBO", "STRING", "INT", "FLOAT", "BOOLEAN")


def test_a_mask_thinner_than_its_edge_still_changes_the_picture(comfy: ComfyServer) -> None:
    """The circle is about 16 pixels wide; the mask is a line of 2 pixels through it."""
    graph = masked(left_half(), feather=8)
    graph["half"] = solid(1.0, 2, 64)
    graph["mask"]["inputs"]["x"] = 37
    run = comfy.succeed(graph)
    before, after = array(run, "before"), array(run, "fixed")
    changed = (before != after).any(axis=(0, 2))
    assert set(np.flatnonzero(changed)) == {37, 38}


@pytest.mark.parametrize("role", ["writer", "evolver", "inspector"])
def test_a_critic_that_must_ask_a_model_is_refused_without_one(
    comfy: ComfyServer, role: str
) -> None:
    graph = menu_graph()
    graph["critic"] = ours("Critic", **{role: "vlm"})
    run = comfy.run(graph)
    assert run.error.startswith(f"The {role} vlm needs a vision-language model. Wire one into vlm")
    assert not run.outputs  # nothing was painted


def test_without_a_model_the_critic_leaves_prompts_as_they_are_unless_rules_know_them(
    comfy: ComfyServer,
) -> None:
    graph = fixing("recolor the red circle blue")
    for name, prompt in (("known", "two red circles"), ("unknown", "a cat in a red hat")):
        given = {"images": link("draft"), "prompt": prompt, "evolver": link("critic", 1)}
        graph[name] = ours("PromptEvolver", **given)
        graph[f"{name}_text"] = text_of(link(name))
    run = comfy.succeed({**graph, "critic": ours("Critic")})
    assert run.text("unknown_text") == "a cat in a red hat"
    assert run.text("known_text") not in ("two red circles", "")


def test_a_judge_of_texts_says_before_anything_is_painted_what_it_needs(
    comfy: ComfyServer,
) -> None:
    written = menu_graph({"judge": "what is written"})
    written["loop"]["inputs"]["prompt"] = "a circle"
    run = comfy.run(written)
    assert (
        "The prompt has no words in quotation marks" in run.error or "needs rapidocr" in run.error
    )
    assert not run.outputs
