"""The same search three ways: the loop, rounds chained by hand, and the five verbs one by one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comfy_graphs import (
    DRAFTS,
    PROMPT,
    Graph,
    link,
    loop_graph,
    ours,
    rounds_by_hand,
    scored,
    search_options,
    shown,
    text_of,
    trail_of,
    verbs_graph,
)
from comfy_server import ComfyServer


def whole(depth: int, drafts: int, **options: Any) -> Graph:
    """A loop that corrects whole pictures."""
    graph = loop_graph(depth=depth, drafts=drafts, options=link("options"))
    return {**graph, "options": search_options(correct="whole", **options)}


@pytest.mark.parametrize("drafts", [2, 3])
def test_the_five_verbs_wired_by_hand_paint_the_very_pictures_of_the_loop(
    comfy: ComfyServer, drafts: int
) -> None:
    loop = comfy.succeed(whole(depth=2, drafts=drafts)).pixels("images")
    run = comfy.succeed(verbs_graph(width=2, drafts=drafts, rounds=2))
    by_hand = [picture for n in range(3) for picture in run.pixels(f"images{n}")]
    assert len(loop) == drafts + 4
    assert by_hand == loop


def test_by_hand_and_loop_agree_in_batches_too(comfy: ComfyServer) -> None:
    loop = comfy.succeed(whole(depth=1, drafts=2, batch_size=2))
    by_hand = verbs_graph(drafts=2, rounds=1, batch_size=2)
    by_hand["painted0"]["inputs"]["batch_size"] = 2
    run = comfy.succeed(by_hand)
    assert run.pixels("images0") + run.pixels("images1") == loop.pixels("images")


def test_rounds_chained_by_hand_make_the_history_of_the_loop(comfy: ComfyServer) -> None:
    loop = comfy.succeed(loop_graph(depth=2))
    run = comfy.succeed(rounds_by_hand(3) | trail_of(link("round2")))
    assert run.pixels("images") == loop.pixels("images")
    assert run.pixels("best") == loop.pixels("best")
    by_hand, looped = (json.loads(r.text("report")) for r in (run, loop))
    assert by_hand["candidates"] == looped["candidates"]
    assert by_hand["settings"] == looped["settings"]


def test_the_history_of_a_loop_can_be_gone_on_with_by_hand(comfy: ComfyServer) -> None:
    deeper = comfy.succeed(loop_graph(depth=2)).pixels("images")
    graph = loop_graph(depth=1)
    graph |= rounds_by_hand(1, history=link("loop", 3)) | trail_of(link("round0"))
    assert comfy.succeed(graph).pixels("images") == deeper


def test_a_finished_search_passes_through_a_round_and_loads_nothing_for_it(
    comfy: ComfyServer,
) -> None:
    """The next round has a FLUX of its own, from a file that is none: it is never asked for."""
    graph = loop_graph(depth=3, stop="when passed")
    graph["bad"] = ours("CorrectorLoader", flux=link("flux"), lora="broken.safetensors")
    (comfy.base / "models/loras/broken.safetensors").write_bytes(b"no LoRA")
    wires = {name: link(name) for name in ("verifier", "writer", "evolver")}
    graph["round"] = ours("ReflectionRound", history=link("loop", 3), flux=link("bad"), **wires)
    graph |= trail_of(link("round"))
    with comfy.listening("lazy") as listener:
        prompt_id = comfy.queue(graph, "lazy")
        listener.until_over(prompt_id)
    run = comfy.wait(prompt_id)
    assert run.status == "success", run.error
    assert "round" in listener.executed_nodes() and "bad" not in listener.executed_nodes()
    assert len(run.images("images")) == DRAFTS + 1
    rounds = json.loads(run.text("report"))["settings"]["depth"]
    assert rounds == 4  # asked for, of which one was painted


def test_a_score_node_sorts_keeps_and_tells_where_each_picture_came_from(
    comfy: ComfyServer,
) -> None:
    graph = verbs_graph(rounds=0)
    graph |= {"all": scored("painted0"), "sorted": shown(link("all")), "top": shown(link("all", 1))}
    graph |= {"scores": text_of(link("all", 3)), "report": text_of(link("all", 4))}
    run = comfy.succeed(graph)
    report = json.loads(run.text("report"))
    given = run.pixels("images0")
    assert [given[judged["index"]] for judged in report] == run.pixels("sorted")
    assert run.pixels("top") == run.pixels("sorted")[:1]
    assert list(map(float, run.texts("scores"))) == [judged["score"] for judged in report]
    assert sorted(map(float, run.texts("scores")), reverse=True) == list(
        map(float, run.texts("scores"))
    )
    assert len(set(run.texts("scores"))) == 2  # else this would be no test of sorting


def test_a_score_node_takes_a_list_of_pictures_of_several_sizes_in_order(
    comfy: ComfyServer,
) -> None:
    graph = verbs_graph(rounds=0)
    graph["wide"] = two_wide_ones()
    graph["together"] = {
        "class_type": "ProbeList",
        "inputs": {"first": link("painted0"), "second": link("wide")},
    }
    graph["all"] = scored("together", order="as given")
    graph["out"] = shown(link("all"))
    sizes = [image.size for image in comfy.succeed(graph).images("out")]
    assert sizes == [(64, 64)] * DRAFTS + [(96, 64)] * 2


def two_wide_ones() -> dict:
    return {"class_type": "ProbePicture", "inputs": {"shape": "[2, 64, 96, 3]", "value": "0.5"}}


def test_words_of_ones_own_and_a_picture_of_ones_own_go_to_the_corrector(
    comfy: ComfyServer,
) -> None:
    """One prompt and one reflection serve every picture, and the reflection matters."""
    outcomes = []
    for words in ("turn the yellow blob into a triangle", ""):
        graph = verbs_graph(rounds=1)
        graph["painted1"]["inputs"] |= {"prompt": PROMPT, "reflections": words}
        outcomes.append(comfy.succeed(graph).pixels("images1"))
    assert len(outcomes[0]) == len(outcomes[1]) == 2
    assert outcomes[0] != outcomes[1]


def test_with_verdicts_the_rest_of_a_picture_stays_as_it_is(comfy: ComfyServer) -> None:
    graph = verbs_graph(width=2, drafts=3, rounds=1)
    graph["before"] = shown(link("scored0"))
    plain = comfy.succeed(graph)
    graph["painted1"]["inputs"]["verdicts"] = link("scored0", 2)
    placed = comfy.succeed(graph)
    for index in range(2):
        parent = np.asarray(placed.images("before")[index])
        whole, limited = (
            (np.asarray(run.images("images1")[index]) == parent).all(axis=-1).mean()
            for run in (plain, placed)
        )
        assert whole < limited - 0.2 and limited < 1  # backgrounds may be alike
    graph["painted1"]["inputs"]["verdicts"] = link("scored1", 2)
    graph["scored1"] = scored("painted0", order="as given")
    assert "verdicts are about other pictures" in comfy.run(graph).error
