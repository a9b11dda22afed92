"""Lists on the wires of nodes that take lists: one for each picture, one for all, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_graphs import (
    PROMPT,
    WIRED,
    Graph,
    Link,
    Node,
    actor_nodes,
    link,
    loop_graph,
    node,
    ours,
    sampling,
    scored,
    search_options,
    shown,
    text_of,
)
from comfy_server import ComfyServer


def picture(shape: str) -> Node:
    return node("ProbePicture", shape=shape, value="0.5")


def refusal(comfy: ComfyServer, graph: Graph) -> str:
    """What node "score" says of its lists."""
    run = comfy.run(graph | {"report": text_of(link("score", 4))})
    error = run.message("execution_error")
    assert (error["node_id"], error["exception_type"].split(".")[-1]) == ("score", "InputError")
    return run.error


def several(*values: Any) -> Node:
    """A list of values that are given as they are."""
    return node("ProbeItems", value=json.dumps(values))


def pair(first: Link, second: Link) -> Node:
    return node("ProbeList", first=first, second=second)


def corrected(seed: int | Link, round: int | Link, mask: Link) -> Node:
    given = {"images": link("odd"), "prompt": PROMPT, "reflections": "turn the blob into a circle"}
    how = {"flux": link("small"), "seed": seed, "round": round, "batch_size": 1, "mask": mask}
    return ours("CorrectorSampler", **given, **how)


def test_corrections_take_seed_round_and_mask_for_each_picture(comfy: ComfyServer) -> None:
    graph = actor_nodes() | {"small": sampling(steps=2), "odd": picture("[2, 64, 64, 3]")}
    graph["none"] = node("SolidMask", value=0.0, width=64, height=64)
    graph["some"] = node("SolidMask", value=1.0, width=32, height=64)
    for name, x in (("left", 0), ("right", 32)):
        place = {"destination": link("none"), "source": link("some"), "x": x, "y": 0}
        graph[name] = node("MaskComposite", **place, operation="add")
    graph |= {"masks": pair(link("left"), link("right")), "seeds": several(1, 2)}
    graph |= {"rounds": several(1, 3)}
    graph["both"] = corrected(link("seeds"), link("rounds"), link("masks"))
    graph |= {"one": corrected(1, 1, link("left")), "two": corrected(2, 3, link("right"))}
    graph |= {f"{name} seen": shown(link(name)) for name in ("both", "one", "two")}
    run = comfy.succeed(graph)
    one, two = run.pixels("one seen"), run.pixels("two seen")
    assert run.pixels("both seen") == [one[0], two[1]]
    assert one[1] != two[1] and one[0] != two[0]


@pytest.mark.parametrize(("size", "value"), [(64, 0.0), (32, 0.0), (64, 1.0)])
def test_a_mask_that_is_empty_is_refused_but_for_one_that_nobody_drew(
    comfy: ComfyServer, size: int, value: float
) -> None:
    """Load Image gives 64 x 64 zeros with a picture in which nothing was drawn."""
    graph = actor_nodes() | {"small": sampling(steps=2), "odd": picture("[2, 64, 64, 3]")}
    graph["mask"] = node("SolidMask", value=value, width=size, height=size)
    graph["fixed"] = corrected(1, 1, link("mask"))
    run = comfy.run(graph | {"seen": shown(link("fixed")), "before": shown(link("odd"))})
    if size == 32:
        assert "The mask is empty, so nothing may change." in run.error
    else:
        assert run.pixels("seen") != run.pixels("before")


def test_some_empty_masks_leave_their_pictures_as_they_are(comfy: ComfyServer) -> None:
    graph = actor_nodes() | {"small": sampling(steps=2), "odd": picture("[2, 64, 64, 3]")}
    for name, value in (("none", 0.0), ("all", 1.0)):
        graph[name] = node("SolidMask", value=value, width=64, height=64)
    graph["masks"] = pair(link("none"), link("all"))
    graph["fixed"] = corrected(1, 1, link("masks"))
    first, second = comfy.succeed(graph | {"seen": shown(link("fixed"))}).pixels("seen")
    assert len(set(first)) == 1  # as grey as it came
    assert len(set(second)) > 1


def test_the_inspector_compares_each_picture_with_its_own_prompt_and_plan(
    comfy: ComfyServer,
) -> None:
    graph: Graph = {"odd": picture("[2, 64, 64, 3]")}
    graph["prompts"] = several("a photo of a red circle", "a photo of a blue square")
    graph["plans"] = ours("ScenePlanner", prompt=link("prompts"), planner="rules")
    graph["eyes"] = ours("InspectorLoader", inspector="exact")
    asked = {"prompt": link("prompts"), "plan": link("plans"), "inspector": link("eyes")}
    graph["seen"] = ours("StageInspector", images=link("odd"), **asked, stage=1)
    first, second = comfy.succeed(graph | {"said": text_of(link("seen", 1))}).texts("said")
    assert "blue" not in first
    assert "blue" in second and "red" not in second


@pytest.mark.parametrize(
    ("given", "values"),
    [("verifier", None), ("keep", [2, 1]), ("order", ["best first", "as given"])],
)
def test_what_is_one_for_all_is_refused_as_a_list(
    comfy: ComfyServer, given: str, values: list[Any] | None
) -> None:
    graph = actor_nodes() | {"odd": picture("[2, 64, 64, 3]"), "score": scored("odd")}
    graph["noisy"] = ours("VerifierLoader", verifier="noisy", error=0.1)
    graph["list"] = several(*values) if values else pair(WIRED["verifier"], link("noisy"))
    graph["score"]["inputs"][given] = link("list")
    said = refusal(comfy, graph)
    assert f"A list of 2 arrives at {given!r}" in said


@pytest.mark.parametrize("given", ["images", "verifier", "prompt"])
def test_an_empty_list_is_refused_in_a_sentence(comfy: ComfyServer, given: str) -> None:
    graph = actor_nodes() | {"odd": picture("[1, 64, 64, 3]"), "score": scored("odd")}
    graph["list"] = several()
    graph["score"]["inputs"][given] = link("list")
    assert "Check the node" in refusal(comfy, graph) or given == "prompt"


def test_a_loop_takes_lists_of_prompts_and_seeds_and_refuses_those_of_what_it_passes_on(
    comfy: ComfyServer,
) -> None:
    graph = loop_graph(depth=0, drafts=1, width=1, steps=2, seed=link("seeds"))
    graph["seeds"] = several(1, 2)
    assert len(comfy.succeed(graph).images("images")) == 2
    graph |= {"few": search_options(max_images=1), "more": search_options(max_images=2)}
    graph["options"] = pair(link("few"), link("more"))
    graph["loop"]["inputs"]["options"] = link("options")
    run = comfy.run(graph)
    assert run.message("execution_error")["node_id"] == "loop"
    assert "A list arrives at 'options'" in run.error
