"""Prompt Batch in a real ComfyUI: one budget for many prompts, kept between runs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from comfy_graphs import (
    WIRED,
    Graph,
    actor_nodes,
    link,
    ours,
    sampling,
    search_options,
    shown,
    text_of,
)
from comfy_server import ComfyServer, Rejected, Run
from vlm_server import MODEL, Asked, Reply, VlmServer, refuses, says

STEPS = 4
SLOW = 40  # slow enough to be stopped in the middle
PROMPTS = (
    "a photo of a red circle",
    "a photo of a yellow circle and a purple square",
    "a photo of three blue triangles",
)
OUTPUTS = ("best", "prompts", "scores", "sheet", "report", "histories")


def batch(steps: int = STEPS, prompts: str = "\n".join(PROMPTS), **changes: Any) -> Graph:
    """Three prompts that never rest: all three ask for `width * (1 + depth)` pictures."""
    graph = actor_nodes() | {"small": sampling(steps=steps)}
    asked = {"prompts": prompts, "budget": 8, "width": 2, "depth": 3, "drafts": 0, "seed": 5}
    asked |= {"strategy": "reflection", "stop": "never"}
    wires = {**WIRED, "flux": link("small")}
    graph["batch"] = ours("PromptBatch", **{**asked, **wires, **changes})
    looks = {"best": shown(link("batch", 0)), "sheet": shown(link("batch", 3))}
    texts = {name: text_of(link("batch", OUTPUTS.index(name))) for name in ("prompts", "scores")}
    return graph | looks | texts | {"report": text_of(link("batch", 4))}


def painted(comfy: ComfyServer, graph: Graph) -> tuple[Run, int]:
    """The run, and how many diffusion steps it took."""
    with comfy.listening("counter") as listener:
        prompt_id = comfy.queue(graph, "counter")
        listener.until_over(prompt_id)
    run = comfy.wait(prompt_id)
    assert run.status == "success", run.error
    return run, len(listener.of("progress"))


def spent(run: Run) -> list[int]:
    """Pictures of each prompt, by the report."""
    lines = run.text("report").splitlines()
    return [
        int(line.split()[0]) for line in lines if line.startswith("    ") and "nothing" not in line
    ]


def test_the_budget_holds_a_repeat_paints_nothing_and_a_larger_one_goes_on(
    comfy: ComfyServer,
) -> None:
    comfy.forget()
    run, steps = painted(comfy, batch())
    assert steps == 8 * STEPS and sum(spent(run)) == 8
    assert len(run.images("best")) == len(PROMPTS) and run.images("sheet")
    assert run.text("report").splitlines()[0] == f"1: {PROMPTS[0]}"
    assert "after 8 pictures" in run.text("report")
    again, steps = painted(comfy, batch() | {"more": shown(link("batch", 3))})
    assert steps == 0 and again.text("report") == run.text("report")
    larger, steps = painted(comfy, batch(budget=11))
    assert steps == 3 * STEPS and sum(spent(larger)) == 11
    smaller, steps = painted(comfy, batch(budget=7))
    assert steps == 0 and sum(spent(smaller)) == 7
    deeper, steps = painted(comfy, batch(budget=100, depth=4))
    assert steps == (3 * 2 * 5 - 11) * STEPS and spent(deeper) == [10] * 3
    comfy.forget()
    alone, steps = painted(comfy, batch(budget=11))
    assert steps == 11 * STEPS
    assert alone.pixels("best") == larger.pixels("best")
    assert spent(alone) == spent(larger)


def test_what_passed_rests_and_too_small_a_budget_leaves_prompts_out(comfy: ComfyServer) -> None:
    run, _ = painted(comfy, batch(steps=12, stop="when passed", budget=30))
    report = run.text("report")
    assert report.count("passed") >= 2 and sum(spent(run)) < 3 * 8
    few, _ = painted(comfy, batch(steps=12, budget=2))
    assert few.text("report").count("nothing painted") == 2
    assert len(few.images("best")) == 1
    assert few.text("prompts") == PROMPTS[0]


def test_other_prompts_around_it_paint_no_prompt_anew(comfy: ComfyServer) -> None:
    comfy.forget()
    whole: dict[str, Any] = {"budget": 100, "depth": 0}
    painted(comfy, batch(prompts="\n\n".join(PROMPTS[:2]), **whole))
    run, steps = painted(comfy, batch(prompts="\n".join([PROMPTS[2], *PROMPTS[:2]]), **whole))
    assert steps == 2 * STEPS and spent(run) == [2, 2, 2]
    _, steps = painted(comfy, batch(seed=6, **whole))
    assert steps == 6 * STEPS


def test_run_goes_on_after_cancel_and_after_stop(comfy: ComfyServer) -> None:
    comfy.forget()
    graph = batch(steps=SLOW, budget=6)
    with comfy.listening("impatient") as listener:
        prompt_id = comfy.queue(graph, "impatient")
        while len(listener.of("progress")) < 3 * SLOW + SLOW // 2:
            listener.next()
        comfy.post("/interrupt")
        listener.until("execution_interrupted")
    assert comfy.wait(prompt_id).status == "interrupted"
    texts = [text.decode(errors="replace") for text in listener.binaries]
    assert any("Cancelled. 3 pictures kept. Press Run" in text for text in texts)
    assert any("Prompt 2 of 3: painting" in t and "3 of 6 pictures · about" in t for t in texts)
    with comfy.listening("patient") as listener:
        prompt_id = comfy.queue(graph, "patient")
        while len(listener.of("progress")) < SLOW // 2:
            listener.next()
        comfy.post("/reflectionflow/stop")
        listener.until_over(prompt_id)
    early = comfy.wait(prompt_id)
    assert sum(spent(early)) == 4 and "Ended early" in early.text("report")
    after, steps = painted(comfy, graph)
    assert steps == 2 * SLOW and sum(spent(after)) == 6
    comfy.forget()
    assert after.pixels("best") == painted(comfy, graph)[0].pixels("best")


def test_every_prompts_run_can_be_saved_by_the_trail(comfy: ComfyServer) -> None:
    two = "a photo of a green square\na photo of two purple circles"
    graph = batch(prompts=two, budget=4, depth=0)
    graph["trail"] = ours("ReflectionTrail", history=link("batch", 5), save_run=True)
    comfy.succeed(graph)
    for words in ("a-green-square", "two-purple-circles"):
        (folder,) = (comfy.base / "output" / "reflectionflow").glob(f"a-photo-of-{words}-*")
        assert len(list((folder / "images").glob("*.png"))) == 2
        assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("a photo of a red circle\na photo of a cat", "Prompt 2, 'a photo of a cat': "),
        ("\n".join(f"a photo of {n} circles" for n in range(201)), "more than 200 prompts"),
        (" \n\n", "There are no prompts. Write one on each line."),
        ("a photo of a red circle\nsk-" + "a1B2" * 12, "looks like it holds an API key"),
    ],
)
def test_a_bad_line_is_told_in_a_sentence_before_anything_is_painted(
    comfy: ComfyServer, prompts: str, words: str
) -> None:
    graph = batch(prompts=prompts)
    with comfy.listening("strict") as listener:
        try:
            prompt_id = comfy.queue(graph, "strict")
        except Rejected as refused:
            said = " ".join(refused.messages)
        else:
            listener.until("execution_error")
            said = comfy.wait(prompt_id).error
    assert words in said and "Traceback" not in said
    assert not listener.of("progress")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"draft_prompt": "a red thing"}, "draft_prompt in Search Options is for a single prompt"),
        ({"max_steps": 2}, "To paint one picture takes 4 diffusion steps, and the budget is 2."),
    ],
)
def test_options_hold_for_all_prompts_or_are_refused(
    comfy: ComfyServer, changes: dict[str, Any], words: str
) -> None:
    graph = batch(options=link("options")) | {"options": search_options(**changes)}
    assert words in comfy.run(graph).error


def test_limits_of_options_are_for_all_together(comfy: ComfyServer) -> None:
    options = {"options": search_options(max_steps=5 * STEPS)}
    run, steps = painted(comfy, batch(seed=7, options=link("options")) | options)
    assert steps == 5 * STEPS and sum(spent(run)) == 5
    options = {"options": search_options(max_images=3)}
    run, steps = painted(comfy, batch(seed=7, options=link("options")) | options)
    assert steps == 0 and sum(spent(run)) == 3
    assert not math.isnan(float(run.text("scores").splitlines()[0]))


def test_a_prompt_that_cannot_be_judged_keeps_the_others_and_is_tried_again(
    comfy: ComfyServer,
) -> None:
    comfy.forget()
    ill = [True]

    def answer(asked: Asked) -> Reply:
        if ill[0] and "yellow" in asked.text:
            return refuses(404, "not today")
        return says("yes", tops={"yes": -0.1, "no": -3.0})

    with VlmServer(answer) as server:
        file = comfy.base / "user" / "__reflectionflow" / "profiles.json"
        mine = {"base_url": server.url, "api_key": "", "model": MODEL}
        known = json.loads(file.read_text("utf-8")) | {"moody": mine}
        file.write_text(json.dumps(known), encoding="utf-8")
        graph = batch(depth=0, budget=20)
        graph["vlm"] = ours("VlmEndpoint", profile="moody", refresh=0)
        graph["verifier"] = ours("VerifierLoader", verifier="yes-no", error=0.0, vlm=link("vlm"))
        run = comfy.run(graph)
        assert run.error.startswith(f"{PROMPTS[1]}: 0 of 1 picture could be judged: ")
        assert "not today" in run.error and "The pictures are kept in ComfyUI's" in run.error
        ill[0] = False
        after, steps = painted(comfy, graph)
    assert steps == 2 * STEPS + 2  # two pictures, and their judging
    assert spent(after) == [2, 2, 2]
    assert len(after.images("best")) == len(PROMPTS)
