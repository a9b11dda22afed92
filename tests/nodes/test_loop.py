"""ReflectionLoop in a real ComfyUI: what it shows, what it hands out, what it paints again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_graphs import (
    DRAFTS,
    PROMPT,
    Graph,
    link,
    loop_graph,
    node,
    ours,
    search_options,
    shown,
    text_of,
    trail_of,
)
from comfy_server import ComfyServer, Listener, Run
from PIL import Image, ImageChops, ImageStat

FIRST = [f"{round} {position}" for round, position in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))]


def report_of(run: Run, at: str = "report") -> dict[str, Any]:
    return json.loads(run.text(at))


def lines_of(run: Run) -> list[dict[str, Any]]:
    """The report without what differs from run to run: the seconds."""
    return report_of(run)["candidates"]


def scores(run: Run) -> list[float]:
    return [candidate["score"] for candidate in lines_of(run)]


def heard(comfy: ComfyServer, graph: Graph) -> tuple[Run, Listener]:
    with comfy.listening("listener") as listener:
        prompt_id = comfy.queue(graph, "listener")
        listener.until_over(prompt_id)
        return comfy.wait(prompt_id), listener


def distance(large: Image.Image, picture: Image.Image) -> float:
    """Between a picture as a node shows it, enlarged in a frame, and the picture itself."""
    small = large.convert("RGB").resize(picture.size, Image.Resampling.BOX)
    return sum(ImageStat.Stat(ImageChops.difference(small, picture)).mean)


def rounds_painted(listener: Listener) -> set[int]:
    """Rounds that took diffusion steps; a round's id says through how many steps it was reached.

    One that the pack has kept runs too, where ComfyUI has forgotten it, and paints nothing.
    """
    nodes = {event["node"] for event in listener.of("progress")}
    return {node.count(".step") for node in nodes if node.endswith(".round")}


def test_a_loop_hands_out_its_best_picture_all_pictures_and_a_report_that_agree(
    comfy: ComfyServer,
) -> None:
    run = comfy.succeed(loop_graph(depth=2))
    report, pictures = report_of(run), run.pixels("images")
    assert len(pictures) == len(report["candidates"]) == report["cost"]["images"] == DRAFTS + 2 * 2
    assert run.pixels("best") == [pictures[report["best"]]]
    assert report["candidates"][report["best"]]["score"] == max(scores(run)) == 1.0
    assert [f"{c['round']} {c['position']}" for c in report["candidates"]][:5] == FIRST
    assert {picture.size for picture in run.images("images")} == {(64, 64)}
    assert len(set(pictures)) == len(pictures)


def test_every_round_shows_its_pictures_and_its_story_on_the_loops_own_node(
    comfy: ComfyServer,
) -> None:
    run = comfy.succeed(loop_graph(depth=2, seed=102))
    rounds = run.shown_at("loop")
    assert [len(r["images"]) for r in rounds] == [DRAFTS, 2, 2]
    seen = [comfy.picture(image) for r in rounds for image in r["images"]]
    painted = run.images("images")
    assert [min(painted, key=lambda picture: distance(p, picture)) for p in seen] == painted
    assert min(seen[0].size) >= 256  # a smaller one would be a stamp on the node
    stories = ["".join(r["text"]) for r in rounds]
    assert [story.count("\n") + 1 for story in stories] == [DRAFTS, DRAFTS + 2, DRAFTS + 4]
    assert "Round 2 no. 2" in stories[-1] and "Round 2" not in stories[1]


@pytest.mark.parametrize("given", ["mask", "options"])
def test_corrections_stay_inside_the_mask_or_the_places_of_faults(
    comfy: ComfyServer, given: str
) -> None:
    graph = loop_graph(depth=2, seed=102)
    if given == "mask":  # the left half
        graph |= {
            "black": node("SolidMask", value=0.0, width=64, height=64),
            "white": node("SolidMask", value=1.0, width=32, height=64),
            "half": node(
                "MaskComposite",
                destination=link("black"),
                source=link("white"),
                x=0,
                y=0,
                operation="add",
            ),
        }
        graph["loop"]["inputs"]["mask"] = link("half")
    else:
        graph["options"] = search_options(correct="regions", accept="unbroken")
        graph["loop"]["inputs"]["options"] = link("options")
    run = comfy.succeed(graph)
    pictures, candidates = run.images("images"), lines_of(run)
    placed = [(i, c) for i, c in enumerate(candidates) if "region" in c]
    assert placed if given == "options" else len(placed) == len(candidates) - DRAFTS
    for index, candidate in placed:
        region = candidate["region"]
        boxes = [(0, 0, 0.4375, 1)] if region == "mask" else region
        changed = ImageChops.difference(pictures[index], pictures[candidate["parent"]])
        for box in boxes:  # grown by four pixels
            edges = (64 * box[0] - 5, 64 * box[1] - 5, 64 * box[2] + 5, 64 * box[3] + 5)
            left, top, right, bottom = (round(max(0, edge)) for edge in edges)
            changed.paste((0, 0, 0), (left, top, right, bottom))
        assert changed.getbbox() is None


def test_a_deeper_search_paints_only_its_new_rounds(comfy: ComfyServer) -> None:
    comfy.forget()
    whole = comfy.succeed(loop_graph(depth=4))
    comfy.forget()
    before = comfy.succeed(loop_graph(depth=2))
    deeper, listener = heard(comfy, loop_graph(depth=4))
    assert rounds_painted(listener) == {3, 4}
    assert deeper.pixels("images")[: DRAFTS + 4] == before.pixels("images")
    assert deeper.pixels("images") == whole.pixels("images")
    assert lines_of(deeper) == lines_of(whole)


def test_a_shallower_search_paints_nothing_and_leaves_the_last_round_out(
    comfy: ComfyServer,
) -> None:
    deep = comfy.succeed(loop_graph(depth=3))
    shallow, listener = heard(comfy, loop_graph(depth=2))
    assert rounds_painted(listener) == set()
    assert shallow.pixels("images") == deep.pixels("images")[:-2]
    assert lines_of(shallow) == lines_of(deep)[:-2]


def test_the_same_graph_again_runs_nothing_and_still_has_its_results(comfy: ComfyServer) -> None:
    first = comfy.succeed(loop_graph(depth=1))
    again, listener = heard(comfy, loop_graph(depth=1))
    assert listener.executed_nodes() == []
    assert again.cached == set(loop_graph(depth=1))
    assert again.pixels("images") == first.pixels("images")
    assert again.text("report") == first.text("report")


def test_another_seed_gives_other_pictures_and_the_same_seed_the_same_ones_after_all_is_forgotten(
    comfy: ComfyServer,
) -> None:
    first = comfy.succeed(loop_graph(depth=1)).pixels("images")
    assert not set(comfy.succeed(loop_graph(depth=1, seed=3)).pixels("images")) & set(first)
    comfy.forget()
    assert comfy.succeed(loop_graph(depth=1)).pixels("images") == first


@pytest.mark.parametrize("stop", ["when passed", "at a score"])
def test_a_picture_that_is_good_enough_ends_the_loop(comfy: ComfyServer, stop: str) -> None:
    comfy.forget()  # other tests may have painted this search
    run, listener = heard(comfy, loop_graph(depth=5, stop=stop, stop_score=0.9))
    *before, last = scores(run)
    assert max(before) < 0.9 <= last
    assert len(before) == DRAFTS
    assert max(rounds_painted(listener)) == 1
    assert report_of(run)["settings"]["depth"] == 5  # as on the sheet: ended after round 1 of 5


def test_depth_0_paints_drafts_and_asks_for_nobody_else(comfy: ComfyServer) -> None:
    run = comfy.succeed(loop_graph(depth=0, writer=None, evolver=None))
    assert {c["round"] for c in lines_of(run)} == {0}
    assert len(run.images("images")) == DRAFTS
    assert len(run.shown_at("loop")) == 1


def test_strategy_noise_needs_neither_writer_nor_evolver_and_paints_the_users_own_words(
    comfy: ComfyServer,
) -> None:
    graph = loop_graph(strategy="noise", writer=None, evolver=None)
    candidates = lines_of(comfy.succeed(graph))
    assert {c["prompt"] for c in candidates} == {graph["loop"]["inputs"]["prompt"]}
    assert {c["parent"] for c in candidates} == {None}
    assert len({c["seed"] for c in candidates}) == len(candidates)


def test_strategy_noise_and_prompt_rewrites_and_needs_no_writer(comfy: ComfyServer) -> None:
    graph = loop_graph(strategy="noise+prompt", writer=None)
    rewritten = [c for c in lines_of(comfy.succeed(graph)) if c["round"]]
    assert all(c["prompt"] != graph["loop"]["inputs"]["prompt"] for c in rewritten)
    assert {c["reflection"] for c in rewritten} == {""}


def test_strategy_potential_drops_pictures_and_says_so(comfy: ComfyServer) -> None:
    run = comfy.succeed(loop_graph(strategy="potential", depth=3, seed=21))
    report = report_of(run)
    dropped = [c for c in report["candidates"] if not c["finished"]]
    assert dropped
    assert {c["steps"] for c in dropped} == {6}
    assert report["candidates"][report["best"]]["finished"]
    assert report["cost"]["images"] == len(report["candidates"]) - len(dropped)
    assert report["cost"]["steps"] == sum(c["steps"] for c in report["candidates"])
    assert len(run.images("images")) == len(report["candidates"])


def test_strategy_scouts_looks_and_paints_on_what_passes(comfy: ComfyServer) -> None:
    graph = loop_graph(strategy="scouts", depth=6, drafts=0)
    report = report_of(comfy.succeed(graph))
    draft, *others = report["candidates"]
    assert draft["finished"] and draft["action"] == "draft"
    scouts = [c for c in others if not c["finished"]]
    assert scouts and {c["steps"] for c in scouts} == {6}
    painted = [c for c in others if c["finished"]]
    assert {c["action"] for c in painted} <= {"finish", "whole"}
    assert all(c["seed"]["level"] == 0.5 for c in painted if c["action"] == "finish")
    assert report["candidates"][report["best"]]["finished"]
    assert report["cost"]["images"] == 1 + len(painted)


def test_strategy_paths_goes_back_less_far_each_round_and_needs_nobody(
    comfy: ComfyServer,
) -> None:
    run = comfy.succeed(loop_graph(strategy="paths", writer=None, evolver=None, depth=2))
    later = [c for c in lines_of(run) if c["round"]]
    assert [c["seed"]["level"] for c in later] == [0.9, 0.9, 0.8, 0.8]
    assert all(c["parent"] is not None and c["action"] == "repaint" for c in later)


def with_options(depth: int = 3, **changes: Any) -> Graph:
    graph = loop_graph(depth=depth, options=link("options"))
    return {**graph, "options": search_options(**changes)}


def test_options_at_their_defaults_change_no_picture(comfy: ComfyServer) -> None:
    plain = comfy.succeed(loop_graph(depth=1))
    assert comfy.succeed(with_options(depth=1)).pixels("images") == plain.pixels("images")


def test_an_axis_that_is_switched_off_stays_as_it_was(comfy: ComfyServer) -> None:
    run = comfy.succeed(with_options(depth=1, noise_axis=False, prompt_axis=False))
    *drafts, one, two = lines_of(run)
    seeds, words = {d["seed"] for d in drafts}, {d["prompt"] for d in drafts}
    assert {one["seed"], two["seed"]} <= seeds
    assert {one["prompt"], two["prompt"]} == words
    assert one["reflection"] and two["reflection"]


def test_parents_best_goes_on_from_the_best_of_a_chain_and_not_from_its_latest(
    comfy: ComfyServer,
) -> None:
    latest, best = (
        comfy.succeed(with_options(parents=p, correct="whole")) for p in ("latest", "best")
    )
    # After 3 drafts, round 1 has index 3 right, and round 2 spoils it in index 5. The other chain
    # gets no better than its draft, index 0.
    assert scores(latest)[3:7] == scores(best)[3:7] == [1.0, 0.0, 0.5, 0.0]
    assert [c["parent"] for c in lines_of(latest)][7:] == [5, 6]
    assert [c["parent"] for c in lines_of(best)][7:] == [3, 0]


def test_zero_order_noise_search_steps_from_the_parents_noise(comfy: ComfyServer) -> None:
    run = comfy.succeed(with_options(depth=2, noise_search="zero_order", radius=0.25))
    drafted, corrected = lines_of(run)[0]["seed"], lines_of(run)[-1]["seed"]
    assert isinstance(drafted, int)
    assert json.dumps(corrected).count("0.25") == 2  # one step in each of two rounds


def test_a_budget_in_pictures_is_never_exceeded_and_ends_the_loop(comfy: ComfyServer) -> None:
    run, listener = heard(comfy, with_options(depth=9, max_images=6))
    assert len(run.images("images")) == report_of(run)["cost"]["images"] == 6
    assert max(rounds_painted(listener)) == 2


def test_pictures_may_go_through_the_model_in_batches(comfy: ComfyServer) -> None:
    run = comfy.succeed(with_options(depth=1, batch_size=2))
    assert len(run.images("images")) == DRAFTS + 2


def test_a_trail_draws_the_sheet_and_hands_on_what_the_loop_found(comfy: ComfyServer) -> None:
    graph = loop_graph(depth=1)
    graph["trail"] = ours("ReflectionTrail", history=link("loop", 3), save_run=False)
    graph |= {"sheet": shown(link("trail")), "same": text_of(link("trail", 1))}
    graph |= {"same best": shown(link("trail", 2)), "same images": shown(link("trail", 3))}
    run = comfy.succeed(graph)
    assert run.text("same") == run.text("report")
    assert run.pixels("same best") == run.pixels("best")
    assert run.pixels("same images") == run.pixels("images")
    assert run.pixels("sheet") == run.pixels("trail")
    assert run.images("sheet")[0].width > 3 * 64
    assert "1.000" in run.text("trail")


WITHOUT_EFFECT = {
    "policy": "restart",
    "context": 5,
    "noise_search": "zero_order",
    "radius": 0.5,
    "parents": "best",
}


def test_a_setting_without_effect_is_named_on_loop_and_trail(comfy: ComfyServer) -> None:
    def said(strategy: str, plan: bool = False, **options: object) -> list[str]:
        graph = loop_graph(depth=0, steps=1, strategy=strategy, options=link("options"))
        graph["options"] = search_options(**options)
        if plan:
            graph["plan"] = ours("ScenePlanner", prompt=PROMPT, planner="rules")
            graph["loop"]["inputs"]["plan"] = link("plan")
        run = comfy.succeed(graph | trail_of(link("loop", 3)))
        return [run.shown_at("loop")[0]["text"][0], run.text("trail")]

    for text in said("paths", **WITHOUT_EFFECT):
        for name in (*WITHOUT_EFFECT, "writer", "evolver"):
            assert f"{name} has no effect here" in text
    for text in said("noise+prompt"):
        assert "writer has no effect here: it is for corrections." in text
        assert "evolver has no effect" not in text
    for text in said("reflection", noise_search="zero_order", radius=0.5, parents="best"):
        assert "no effect" not in text
    for text in said("reflection", plan=True):
        assert "plan has no effect here: it is for the strategy staged." in text
