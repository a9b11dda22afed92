"""The nodes that stand for several others: Judge, Critic, Vision model and Fix Picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from comfy_graphs import Graph, actor_nodes, link, loop_graph, ours, shown, text_of
from comfy_server import ComfyServer, Run

EXACT = {"judge": "the miniature's shapes", "judge.error": 0.0}
RED, BLUE = "a photo of a red circle", "a photo of a blue circle"


def menu(depth: int = 2, **judge: Any) -> Graph:
    """`loop_graph` with Judge and Critic in place of the four loaders."""
    graph = loop_graph(depth=depth)
    for name in ("verifier", "writer", "evolver"):
        del graph[name]
    graph["judge"] = ours("Judge", **(judge or EXACT))
    graph["critic"] = ours("Critic")
    wires = {"verifier": link("judge"), "writer": link("critic"), "evolver": link("critic", 1)}
    graph["loop"]["inputs"] |= wires
    return graph


def fixing(words: str, prompt: str = BLUE, **given: Any) -> Graph:
    """A draft of a red circle, and Fix Picture behind it."""
    flux, draft = link("flux"), link("draft")
    return {
        "flux": actor_nodes()["flux"],
        "draft": ours("DraftSampler", flux=flux, prompt=RED, count=1, seed=2, batch_size=1),
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
    new, old = comfy.succeed(menu()), comfy.succeed(loop_graph(depth=2))
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
