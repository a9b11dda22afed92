"""Vision-language models in a real ComfyUI: an endpoint that answers, fails, lies or sleeps."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import (
    PROMPT,
    Graph,
    Link,
    drafts_graph,
    link,
    loop_graph,
    menu_graph,
    ours,
    scored,
    shown,
    text_of,
    watched,
)
from comfy_server import ComfyServer, Rejected, Run
from core.tiny_vlm import save_vlm
from vlm_server import Asked, Reply, VlmServer, cut, echoed, refuses, says

SECRET = "plantedTestSecret0123456789abcdef"  # as in conftest.py; test_secrets.py looks for it
MODEL = "toy-vlm"
STATEMENTS = ("a yellow circle", "a purple square")
REQUIREMENTS = {
    "requirements": [
        {"statement": it, "question": f"Is there {it}?", "fault": f"missing {it}"}
        for it in STATEMENTS
    ]
}
Script = Callable[[Asked], Reply]


def profiles_of(comfy: ComfyServer) -> Path:
    return comfy.base / "user" / "__reflectionflow" / "profiles.json"


@pytest.fixture
def profile(comfy: ComfyServer) -> Iterator[Callable[[str, str], str]]:
    """Writes a profile into ComfyUI's file: profile(name, url); its key is the secret."""
    file = profiles_of(comfy)
    before = file.read_text("utf-8")

    def write(name: str, url: str) -> str:
        given = {"base_url": url, "api_key": SECRET, "model": MODEL}
        given |= {"seconds": 0.3} if name == "late" else {}
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), name: given}), "utf-8")
        return name

    yield write
    file.write_text(before, "utf-8")


def odds(yes: float) -> Reply:
    return says("yes", tops={"yes": log(yes), "no": log(1 - yes)})


def answer(asked: Asked) -> Reply:
    """Takes the prompt apart, writes, rewrites; every new picture pleases it a little more."""
    if "Take the prompt apart" in asked.text:
        return says(json.dumps(REQUIREMENTS))
    if "Write the edits" in asked.text:
        return says(json.dumps({"edits": ["add a yellow circle"]}))
    if "write a better prompt" in asked.text:
        return says(json.dumps({"prompt": f"{PROMPT}, sharp"}))
    if "Is there" in asked.text:
        return odds(min(0.95, 0.3 + 0.01 * asked.number))
    return odds(0.9)


def report_of(run: Run) -> dict[str, Any]:
    return json.loads(run.text("report"))


def test_a_loop_over_an_endpoint_picks_the_picture_of_which_it_is_surest(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(answer) as server:
        run = comfy.succeed(watched(profile("good", server.url)))
    report = report_of(run)
    candidates = report["candidates"]
    assert len(candidates) == 3 + 2
    soft = [sum(c["aspects"].values()) for c in candidates]
    assert set(candidates[0]["aspects"]) == set(STATEMENTS)
    assert soft[report["best"]] == max(soft)
    assert candidates[report["best"]]["round"] == 1
    assert all(c["reflection"] == "Add a yellow circle." for c in candidates[3:])
    assert {c["prompt"] for c in candidates[3:]} == {f"{PROMPT}, sharp"}
    assert report["cost"]["vlm_calls"] == len(server.asked)
    assert {asked.key for asked in server.asked} == {f"Bearer {SECRET}"}
    assert {asked.body["model"] for asked in server.asked} == {MODEL}
    assert not server.errors


def test_judge_critic_and_vision_model_ask_what_the_loaders_ask(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    steady = lambda asked: odds(0.6) if "Is there" in asked.text else answer(asked)  # noqa: E731
    with VlmServer(steady) as server:
        name = profile("menu", server.url)
        old = comfy.succeed(watched(name))
        asked_before = sorted(asked.text for asked in server.asked)
        sees = {"judge": "what a vision model sees", "judge.method": "checklist"}
        graph = menu_graph({**sees, "vlm": link("vision")}, depth=1)
        graph["critic"] = ours("Critic", vlm=link("vision"))
        given = {"source.profile": name, "source.refresh": 0, "source.send_pictures": False}
        graph["vision"] = ours("VisionModel", source="on a server", **given)
        new = comfy.succeed(graph)
    assert new.pixels("images") == old.pixels("images")
    for one, other in zip(report_of(new)["candidates"], report_of(old)["candidates"], strict=True):
        assert [one[k] for k in ("score", "prompt", "reflection")] == [
            other[k] for k in ("score", "prompt", "reflection")
        ]
    asked_now = sorted(asked.text for asked in server.asked)
    assert asked_now == sorted([*asked_before, *asked_before])


@pytest.mark.parametrize(
    ("name", "script", "reason"),
    [
        ("broken", lambda _: refuses(500, "out of order"), "answered 500"),
        ("echo", lambda asked: echoed(asked, 401), "answered 401"),
        ("babble", lambda _: says("lovely weather"), "none of the choices"),
        ("empty", lambda _: says(""), "gave an empty answer"),
        ("cutoff", lambda _: cut("yes"), "closed the connection"),
        ("garbage", lambda _: Reply(b"\xff\x00not http", bare=True), "closed the connection"),
        ("late", lambda _: Reply(wait=9), "took longer than"),
    ],
)
def test_an_endpoint_that_fails_ends_the_loop_in_its_words_and_the_pictures_are_kept(
    comfy: ComfyServer,
    profile: Callable[[str, str], str],
    name: str,
    script: Script,
    reason: str,
) -> None:
    before = len(comfy.log)
    with VlmServer(script) as server:
        run = comfy.run(watched(profile(name, server.url), width=1, drafts=1))
    assert run.status == "error"
    assert run.message("execution_error")["node_id"] == "loop"
    assert run.error.startswith("0 of 1 picture could be judged: ") and reason in run.error
    folder = kept_by(comfy, run)
    (line,) = map(json.loads, (folder / "history.jsonl").read_text("utf-8").splitlines())
    assert line["score"] is None and line["passed"] is None
    assert reason in line["explanation"]
    assert reason in (folder / "report.html").read_text("utf-8")
    assert (folder / line["image"]).is_file() and (folder / "sheet.png").is_file()
    everything = json.dumps(run.entry) + comfy.log[before:]
    assert SECRET not in everything
    assert not [f for f in folder.rglob("*") if f.is_file() and SECRET.encode() in f.read_bytes()]


def kept_by(comfy: ComfyServer, run: Run) -> Path:
    """The folder that an error names."""
    found = re.search(r"The pictures are kept in ComfyUI's output/(\S+)\.$", run.error)
    assert found, run.error
    return comfy.base / "output" / found[1]


def test_a_server_that_nobody_runs_is_named_too(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    url = "http://127.0.0.1:9/v1"
    run = comfy.run(watched(profile("nobody-home", url), verifier="yes-no", depth=0))
    assert "The endpoint nobody-home could not be reached" in run.error
    assert "127.0.0.1" not in run.error


@pytest.mark.parametrize("save", [False, True])
def test_once_the_server_is_mended_the_loop_judges_and_saves_the_same_search(
    comfy: ComfyServer, profile: Callable[[str, str], str], save: bool
) -> None:
    asked = {"width": 1, "drafts": 2, "depth": 1, "save_run": save, "seed": 700 + save}
    name = f"mended-{save}"
    with VlmServer(lambda _: refuses(404, "no such model")) as server:
        graph = watched(profile(name, server.url), **asked)
        folder = kept_by(comfy, comfy.run(graph))
        assert kept_by(comfy, comfy.run(graph)) == folder  # and again, over what it has kept
    assert len((folder / "history.jsonl").read_text("utf-8").splitlines()) == 1
    with VlmServer(answer) as server:
        graph = watched(profile(name, server.url), **asked)
        graph["vlm"]["inputs"]["refresh"] = 1
        report = report_of(comfy.succeed(graph))
    assert len(report["candidates"]) == 3 and report["unjudged"] == ""
    assert all(candidate["score"] is not None for candidate in report["candidates"])
    written = (folder / "history.jsonl").read_text("utf-8").splitlines()
    assert len(written) == (3 if save else 1)


def test_a_server_that_fails_at_some_pictures_costs_their_verdicts_and_is_counted(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    judged = 0

    def moody(asked: Asked) -> Reply:
        nonlocal judged
        if "all that the prompt asks for" not in asked.text:
            return answer(asked)
        judged += 1
        return refuses(404, "too dark") if judged == 2 else odds(0.6)

    with VlmServer(moody) as server, comfy.listening("some-unjudged") as listener:
        graph = watched(profile("moody", server.url), verifier="yes-no", drafts=3, depth=0)
        prompt_id = comfy.queue(graph, "some-unjudged")
        listener.until_over(prompt_id)
        run = comfy.wait(prompt_id)
    report = report_of(run)
    assert [candidate["score"] is None for candidate in report["candidates"]] == [0, 1, 0]
    assert report["unjudged"].startswith("1 of 3 pictures could not be judged: ")
    assert "too dark" in report["unjudged"]
    shown = "".join("".join(each["text"]) for each in run.shown_at("loop") if "text" in each)
    assert report["unjudged"] in shown
    assert report["unjudged"].encode() in b" ".join(listener.binaries)


def test_a_writer_and_an_evolver_that_fail_are_a_line_on_the_node_and_in_the_log(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    def mute(asked: Asked) -> Reply:
        silent = "Write the edits" in asked.text or "write a better prompt" in asked.text
        return refuses(404, "not today") if silent else answer(asked)

    before = len(comfy.log)
    with VlmServer(mute) as server, comfy.listening("mute-writer") as listener:
        prompt_id = comfy.queue(watched(profile("mute", server.url), seed=31), "mute-writer")
        listener.until_over(prompt_id)
        run = comfy.wait(prompt_id)
    assert run.status == "success", run.error
    said = b" ".join(listener.binaries).decode("utf-8", "replace")
    for who in ("The writer failed", "The evolver failed"):
        assert who in said and who in comfy.log[before:]
    assert "not today" in said and SECRET not in said + comfy.log[before:]
    shown = "".join("".join(each.get("text", ())) for each in run.shown_at("loop"))
    assert "The writer failed" in shown  # beside the round's pictures, when all is over


def test_a_critic_that_asks_its_wired_model_nothing_is_refused(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(lambda _: refuses(404)) as server:
        graph = menu_graph()
        graph["vlm"] = ours("VlmEndpoint", profile=profile("idle", server.url), refresh=0)
        silent = {"writer": "template", "evolver": "rules", "inspector": "exact"}
        graph["critic"] = ours("Critic", vlm=link("vlm"), **silent)
        run = comfy.run(graph)
    assert run.error.startswith("No role of this Critic asks the model that is wired to vlm")
    assert not run.outputs


def scored_by(profile_name: str) -> Graph:
    graph = drafts_graph(2)
    graph["vlm"] = ours("VlmEndpoint", profile=profile_name, refresh=0)
    graph["verifier"] = ours("VerifierLoader", verifier="yes-no", error=0.0, vlm=link("vlm"))
    graph["score"] = scored("drafts", prompt="a cat on a red chair")
    graph["scores"] = text_of(link("score", 3))
    return {**graph, "report": text_of(link("score", 4))}


def test_verifier_score_fails_in_its_words_if_a_model_judges_nothing(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(lambda _: refuses(404)) as server:
        run = comfy.run(scored_by(profile("lost", server.url)))
    assert run.message("execution_error")["node_id"] == "score"
    assert run.error.startswith("0 of 2 pictures could be judged: The endpoint lost answered 404")


def test_verifier_score_ranks_what_a_model_could_not_judge_last_and_gives_it_no_number(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    first = iter([refuses(404, "too dark")])
    with VlmServer(lambda _: next(first, odds(0.2))) as server:
        run = comfy.succeed(scored_by(profile("half", server.url)))
    judged, failed = json.loads(run.text("report"))
    assert judged["score"] < 0 and failed["score"] is None
    assert "too dark" in failed["explanation"]
    assert [float(text) < 0 for text in run.texts("scores")] == [True, False]
    assert run.texts("scores")[1] == "nan"
    (shown,) = run.shown_at("score")
    assert "1 of 2 pictures could not be judged: " in "".join(shown["text"])


def fixing(profile_name: str, vlm: Link | None = None, verifier: Link | None = None) -> Graph:
    """Fix Picture and Prompt Evolver behind a draft, without words; the Critic may have a model."""
    graph = drafts_graph(1)
    graph["vlm"] = ours("VlmEndpoint", profile=profile_name, refresh=0)
    sees = {"judge": "what a vision model sees", "judge.method": "yes-no", "judge.ground": False}
    graph["judge"] = ours("Judge", vlm=link("vlm"), **sees)
    graph["critic"] = ours("Critic", vlm=vlm)
    given = {"flux": link("flux"), "image": link("drafts"), "prompt": PROMPT, "words": ""}
    given |= {"seed": 2, "writer": link("critic"), "verifier": verifier}
    graph["fix"] = ours("FixPicture", **given)
    asked = {"prompt": PROMPT, "images": link("drafts"), "evolver": link("critic", 1)}
    graph["evolve"] = ours("PromptEvolver", **asked)
    return {**graph, "fixed": shown(link("fix")), "prompts": text_of(link("evolve"))}


def test_a_picture_that_nobody_could_judge_is_not_said_to_be_right(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(lambda _: refuses(404, "too dark")) as server:
        name = profile("dark", server.url)
        judged = comfy.run(fixing(name, verifier=link("judge")))
        looked = comfy.succeed(fixing(name, vlm=link("vlm")))
    assert judged.error.startswith("0 of 1 picture could be judged: The endpoint dark answered")
    failed = "The writer failed; the verdict's words are used: The endpoint dark answered 404"
    assert looked.text("fix").startswith(f"Nothing was changed.\n{failed}")
    assert looked.text("evolve").startswith(f"{PROMPT}\nThe evolver failed; ")


def test_the_same_search_is_remembered_until_it_is_to_be_refreshed(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(answer) as server:
        graph = watched(profile("again", server.url), depth=0)
        comfy.succeed(graph)
        asked = len(server.asked)
        comfy.succeed(graph)
        assert len(server.asked) == asked
        graph["vlm"]["inputs"]["refresh"] = 1
        comfy.succeed(graph)
        assert len(server.asked) == 2 * asked


def test_a_saved_run_knows_its_model_and_no_key(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(answer) as server:
        run = comfy.succeed(watched(profile("kept", server.url), depth=0, save_run=True))
    folder = comfy.base / "output" / report_of(run)["folder"]
    recorded = (folder / "run.json").read_text("utf-8")
    assert "endpoint:kept" in recorded and f"endpoint:kept ({MODEL})" in recorded
    assert not [f for f in folder.rglob("*") if f.is_file() and SECRET.encode() in f.read_bytes()]


def test_cancel_ends_a_slow_endpoint_at_once(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(lambda _: Reply(wait=90)) as server:
        prompt_id = comfy.queue(watched(profile("slow", server.url), depth=0, seed=9))
        until = time.monotonic() + 60
        while not server.asked and time.monotonic() < until:
            time.sleep(0.02)
        assert server.asked
        cancelled = time.monotonic()
        comfy.interrupt()
        run = comfy.wait(prompt_id)
        assert run.status == "interrupted"
        assert time.monotonic() - cancelled < 3


def test_calls_show_on_the_node_under_the_phase_that_makes_them(
    comfy: ComfyServer, profile: Callable[[str, str], str]
) -> None:
    with VlmServer(answer) as server, comfy.listening("vlm-eyes") as listener:
        graph = watched(profile("shown", server.url), seed=21)
        listener.until_over(comfy.queue(graph, "vlm-eyes"))
    totals = {event["max"] for event in listener.of("progress")}
    assert len(STATEMENTS) in totals  # every requirement of a draft
    said = b" ".join(listener.binaries).decode("utf-8", "replace").lower()
    for doing in ("judging", "writing reflections", "rewriting prompts"):
        assert doing in said


# What is refused, in a sentence


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere", "The profile nowhere has no API_KEY and BASE_URL"),
        ("planted", "The profile planted names no model"),
        ("sk-abcdefghijklmnopqrstuvwxyz", "The profile looks like an API key"),
        ("https://example.org/v1", "A profile's name has only letters, digits, - and _"),
        ("", "The profile has no name"),
    ],
)
def test_a_profile_that_is_none_is_refused_before_anything_runs(
    comfy: ComfyServer, name: str, sentence: str
) -> None:
    with pytest.raises(Rejected) as refused:
        comfy.queue(watched(name))
    assert any(sentence in message for message in refused.value.messages)
    assert "Traceback" not in json.dumps(refused.value.body)


@pytest.mark.parametrize(
    ("actor", "name"), [("verifier", "yes-no"), ("writer", "vlm"), ("evolver", "vlm")]
)
def test_who_asks_a_model_without_one_is_told_so(comfy: ComfyServer, actor: str, name: str) -> None:
    graph = loop_graph(depth=1)
    graph[actor]["inputs"][actor] = name
    error = comfy.run(graph).error
    assert f"The {actor} {name} needs a vision-language model. Wire one into vlm" in error


@pytest.mark.parametrize(
    ("actor", "name"), [("verifier", "exact"), ("writer", "template"), ("evolver", "rules")]
)
def test_a_model_for_somebody_who_asks_none_is_refused(
    comfy: ComfyServer, profile: Callable[[str, str], str], actor: str, name: str
) -> None:
    graph = watched(profile("idle", "http://127.0.0.1:9/v1"), **{actor: name})
    error = comfy.run(graph).error
    assert f"The {actor} {name} uses no vision-language model, but one is wired." in error


# A model on this machine


@pytest.fixture(scope="module")
def folder(comfy: ComfyServer) -> Path:
    return save_vlm(comfy.base / "models" / "LLM" / "tiny" / "Qwen2.5-VL", favours="yes")


def local(folder: str, **changes: Any) -> Graph:
    given = {"model": folder, "dtype": "fp32", "max_pixels": 64 * 64}
    graph = drafts_graph(2)
    graph["vlm"] = ours("VlmLoader", **{**given, **changes})
    graph["verifier"] = ours("VerifierLoader", verifier="yes-no", error=0.0, vlm=link("vlm"))
    graph["score"] = scored("drafts", prompt="a red circle")
    return {**graph, "report": text_of(link("score", 4))}


def test_a_folder_judges_pictures_and_its_weights_are_comfyuis(
    comfy: ComfyServer, folder: Path
) -> None:
    known = comfy.object_info("ReflectionFlow_VlmLoader")["ReflectionFlow_VlmLoader"]
    assert "tiny/Qwen2.5-VL" in json.dumps(known["input"]["required"]["model"])
    run = comfy.succeed(local("tiny/Qwen2.5-VL"))
    judged = json.loads(run.text("report"))
    assert len(judged) == 2
    for verdict in judged:
        (p,) = verdict["aspects"].values()
        assert 0 < p < 1 and "could not" not in verdict["explanation"]
    held = [m for m in comfy.state()["models"] if "Qwen2_5_VL" in m["class"]]
    assert held and all(m["held"] for m in held)


def test_a_folder_that_was_replaced_is_loaded_anew(comfy: ComfyServer, folder: Path) -> None:
    first = comfy.succeed(local("tiny/Qwen2.5-VL"))
    again = comfy.succeed(local("tiny/Qwen2.5-VL"))
    assert "vlm" in again.cached and again.text("report") == first.text("report")
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes())
    assert "vlm" not in comfy.succeed(local("tiny/Qwen2.5-VL")).cached


def test_a_folder_that_is_not_there_is_refused_in_a_sentence(comfy: ComfyServer) -> None:
    with pytest.raises(Rejected) as refused:
        comfy.queue({key: value for key, value in local("gone").items() if key != "images"})
    (said,) = refused.value.messages
    assert re.search("no vision-language model named gone in models/LLM, .* Download", said)
