"""What a user can do wrong: our sentence arrives, and it says what to do.

What needs no model is refused before anything is queued; the rest fails at the node that met it.
What can be wrong with FLUX's folder and its corrector is in test_flux_folder.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from comfy_graphs import (
    Graph,
    Node,
    actor_nodes,
    drafts_graph,
    link,
    loop_graph,
    node,
    ours,
    rounds_by_hand,
    sampling,
    scored,
    search_options,
    shown,
    text_of,
    trail_of,
    verbs_graph,
)
from comfy_server import ComfyServer, Rejected

KEY = "sk-proj-0123456789abcdefghijklmnop"
STACK = re.compile(r'Traceback|File ".*", line|\.py\b|Error:')


def refusal(comfy: ComfyServer, graph: Graph) -> str:
    """What /prompt says of a graph that it must refuse."""
    with pytest.raises(Rejected) as refused:
        comfy.queue(graph)
    (message,) = {m.partition(" - ")[2] for m in refused.value.messages}  # once for each input
    return checked(message)


def failure(comfy: ComfyServer, graph: Graph, at: str) -> str:
    """What a run says that must fail at node `at`."""
    run = comfy.run(graph)
    assert run.status == "error"
    assert run.message("execution_error")["node_id"] == at, run.error
    assert run.message("execution_error")["exception_type"].endswith("InputError"), run.error
    assert comfy.queue_is_empty()
    return checked(run.error)


def checked(message: str) -> str:
    """The message, if it says what is wrong and then what to do, and shows no stack."""
    assert len(re.findall(r"[.!?](?=\s+[A-Z]|\s*$)", message)) >= 2, message
    assert not STACK.search(message), message
    assert "--" not in message, f"a ComfyUI user has no command line: {message}"
    return message


def picture(shape: str, value: str = "0.5") -> Node:
    return node("ProbePicture", shape=shape, value=value)


def judging(shape: str, value: str = "0.5") -> Graph:
    graph = {
        "verifier": actor_nodes()["verifier"],
        "odd": picture(shape, value),
        "score": scored("odd"),
    }
    return graph | {"report": text_of(link("score", 4))}


def correcting(shape: str = "[2, 64, 64, 3]") -> Graph:
    graph = verbs_graph(rounds=1) | {"odd": picture(shape)}
    graph["painted1"]["inputs"] |= {"images": link("odd"), "prompt": "a red circle"}
    graph["painted1"]["inputs"] |= {"reflections": "turn the blob into a circle"}
    return {k: graph[k] for k in ("flux", "odd", "painted1", "images1")}


def fixing() -> Graph:
    given = {"image": link("odd"), "prompt": "a red circle", "seed": 1, "feather": 0}
    graph = {"flux": actor_nodes()["flux"], "odd": picture("[1, 64, 64, 3]")}
    graph["fix"] = ours("FixPicture", flux=link("flux"), words="", **given)
    return graph | {"fixed": shown(link("fix"))}


def native() -> Graph:
    """A painter from the miniature's MODEL, CLIP and VAE, at node `native`."""
    models = {name: link("models", slot) for slot, name in enumerate(("model", "clip", "vae"))}
    numbers = {"width": 64, "height": 64, "steps": 0, "cfg": 0.0, "guidance": 0.0, "shift": 0.0}
    words = dict.fromkeys(("sampler", "scheduler"), "as its template") | {"negative": ""}
    ways = {"variant": "recognise", "corrections": "as it can"}
    painter = ours("PainterFromModel", **models, **numbers, **words, **ways)
    shows = text_of(link("native", 1))
    return {"models": ours("MiniatureLoader"), "native": painter, "shows": shows}


def with_prompt(prompt: str) -> dict[str, Graph]:
    """A graph for every node that takes a prompt, typed in at that node."""
    by_hand = verbs_graph(rounds=1)
    graphs = {"drafts": drafts_graph(prompt=prompt), "loop": loop_graph(prompt=prompt)}
    graphs["start"] = rounds_by_hand(1, prompt=prompt) | trail_of(link("round0"))
    del by_hand["images0"]  # one good output, and ComfyUI would run that and leave out the others
    for name in ("scored0", "reflect1", "words1", "painted1"):
        changed = {**by_hand[name], "inputs": {**by_hand[name]["inputs"], "prompt": prompt}}
        graphs[name] = {**by_hand, name: changed}
    return graphs


@pytest.mark.parametrize("name", with_prompt(""))
def test_an_empty_prompt_is_refused_by_every_node_that_takes_one(
    comfy: ComfyServer, name: str
) -> None:
    assert "The prompt is empty." in refusal(comfy, with_prompt("  \n")[name])


@pytest.mark.parametrize("name", with_prompt(""))
def test_a_key_in_a_prompt_is_refused_and_not_repeated(comfy: ComfyServer, name: str) -> None:
    with pytest.raises(Rejected) as refused:
        comfy.queue(with_prompt(f"a cat, {KEY}")[name])
    assert "looks like it holds an API key" in checked("".join(refused.value.messages))
    assert KEY not in str(refused.value)
    assert KEY not in comfy.log


def test_a_key_in_a_reflection_is_refused(comfy: ComfyServer) -> None:
    graph = correcting()
    graph["painted1"]["inputs"]["reflections"] = KEY
    assert "looks like it holds an API key" in refusal(comfy, graph)


def test_a_prompt_that_the_verifier_cannot_judge_fails_before_anything_is_painted(
    comfy: ComfyServer,
) -> None:
    with comfy.listening("prompts") as listener:
        prompt_id = comfy.queue(loop_graph(prompt="a portrait of my grandmother"), "prompts")
        listener.until("execution_error", prompt_id=prompt_id)
    run = comfy.wait(prompt_id)
    assert not listener.of("progress")
    assert run.message("execution_error")["node_id"] == "loop"
    assert "does not understand" in checked(run.error)


def test_rounds_by_hand_do_not_paint_for_a_verifier_that_cannot_judge_either(
    comfy: ComfyServer,
) -> None:
    graph = rounds_by_hand(1, prompt="a portrait of my grandmother") | trail_of(link("round0"))
    assert "does not understand" in failure(comfy, graph, at="round0")


def test_a_picture_of_no_numbers(comfy: ComfyServer) -> None:
    assert "not numbers" in failure(comfy, judging("[2, 64, 64, 3]", "nan"), at="score")
    assert "not numbers" in failure(comfy, judging("[2, 64, 64, 3]", "inf"), at="score")


def test_a_picture_of_two_channels(comfy: ComfyServer) -> None:
    assert "(1, 64, 64, 2)" in failure(comfy, judging("[1, 64, 64, 2]"), at="score")


@pytest.mark.parametrize("shape", ["[1, 1, 1, 3]", "[1, 40, 96, 3]", "[2, 64, 64, 4]"])
def test_a_tiny_a_wide_and_a_transparent_picture_are_corrected_like_any_other(
    comfy: ComfyServer, shape: str
) -> None:
    images = comfy.succeed(correcting(shape)).images("images1")
    assert [image.size for image in images] == [(64, 64)] * int(shape[1])


@pytest.mark.parametrize(("given", "what"), [("reflections", "reflection"), ("prompt", "prompt")])
def test_too_many_texts_for_the_pictures(comfy: ComfyServer, given: str, what: str) -> None:
    graph = correcting() | {"texts": node("ProbeTexts", texts='["one", "two", "three"]')}
    graph["painted1"]["inputs"][given] = link("texts")
    assert f"3 {what}s for 2 pictures" in failure(comfy, graph, at="painted1")


def test_verdicts_of_other_pictures(comfy: ComfyServer) -> None:
    graph = verbs_graph(drafts=3, rounds=1)
    graph["reflect1"]["inputs"]["images"] = link("painted0")  # three, of which two were kept
    assert "other pictures" in failure(comfy, graph, at="reflect1")


def test_verdicts_of_the_same_pictures_in_another_order(comfy: ComfyServer) -> None:
    graph = verbs_graph(width=3, drafts=3, rounds=1)  # sorted by the verifier; their best is no. 2
    graph["words1"]["inputs"]["images"] = link("painted0")
    assert "another order" in failure(comfy, graph, at="words1")


def test_a_file_that_is_no_lora(comfy: ComfyServer) -> None:
    (comfy.base / "models" / "loras" / "words.safetensors").write_bytes(b"not a LoRA" * 100)
    graph = loop_graph()
    graph["lora"] = ours("CorrectorLoader", flux=link("flux"), lora="words.safetensors")
    graph["loop"]["inputs"]["flux"] = link("lora")
    assert "words.safetensors" in failure(comfy, graph, at="lora")


def test_a_folder_of_another_model(comfy: ComfyServer) -> None:
    folder = comfy.base / "models" / "diffusers" / "other"
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    graph = drafts_graph() | {"flux": ours("FluxLoader", model="other", dtype="bf16")}
    assert "StableDiffusionPipeline" in failure(comfy, graph, at="flux")


@pytest.mark.parametrize(
    "change", [{"width": 128}, {"height": 32}, {"condition_size": 128}, {"condition_fit": "fit"}]
)
def test_the_miniature_in_another_size(comfy: ComfyServer, change: dict) -> None:
    graph = drafts_graph() | {"sampling": sampling(**change)}
    graph["drafts"]["inputs"]["flux"] = link("sampling")
    assert "64 x 64" in failure(comfy, graph, at="sampling")


@pytest.mark.parametrize(
    "change", [{"width": 65}, {"depth": 101}, {"drafts": 1001}, {"seed": -2}, {"seed": 2**64}]
)
def test_a_search_beyond_all_measure_is_not_even_queued(comfy: ComfyServer, change: dict) -> None:
    with pytest.raises(Rejected) as refused:
        comfy.queue(loop_graph(**change))
    assert next(iter(change)) in "".join(refused.value.messages)


NOT_TEXTS = {
    "null": "is None, which is not a text",
    '"a \\ud83d cup"': "half of a character",
    '"a \\u0000 cup"': "a NUL character",
    '" \\r\\n"': "The prompt is empty",
    json.dumps(f"a cat, {KEY}"): "looks like it holds an API key",
}


@pytest.mark.parametrize("value", NOT_TEXTS)
def test_a_wired_prompt_obeys_the_rules_of_the_field_at_every_node(
    comfy: ComfyServer, value: str
) -> None:
    for name, graph in with_prompt("a photo of a red circle").items():
        graph[name]["inputs"]["prompt"] = link("value")
        run = comfy.run(graph | {"value": node("ProbeValue", value=value)})
        error = run.message("execution_error")
        assert (error["node_id"], error["exception_type"].split(".")[-1]) == (name, "InputError")
        assert NOT_TEXTS[value] in checked(run.error) and KEY not in run.error


def test_a_wired_text_from_a_windows_file_is_the_plain_text(comfy: ComfyServer) -> None:
    plain = comfy.succeed(drafts_graph(prompt="a photo of\na red circle")).pixels("images")
    graph = drafts_graph(prompt=link("value"))  # type: ignore[arg-type]
    graph["value"] = node("ProbeValue", value='"\\ufeffa photo of\\r\\na red circle"')
    assert comfy.succeed(graph).pixels("images") == plain


NOT_NUMBERS = ["0", "1001", "1.5", "NaN", "null", '"2"', "true"]
WIRED_ODDLY = [
    *(("drafts", "count", value) for value in NOT_NUMBERS),
    *(("drafts", "batch_size", value) for value in ("0", "65")),
    *(("loop", "width", value) for value in ("0", "65")),
    *(("loop", "depth", value) for value in ("-1", "101")),
    *(("loop", name, '"other"') for name in ("strategy", "stop")),
    *(("loop", "stop_score", value) for value in ("NaN", "1e9", '"x"')),
    *(("loop", "save_run", value) for value in ('"false"', "2", "null")),
    *(("painted1", name, "0") for name in ("round", "batch_size")),
    *(("scored0", name, value) for name, value in (("keep", "-1"), ("order", '"worst first"'))),
    *(("sampling", name, value) for name, value in (("steps", "-1"), ("guidance", "NaN"))),
    *(("drafts", "flux", "null"), ("scored0", "images", "null"), ("loop", "verifier", "null")),
    *(("loop", name, '"text"') for name in ("flux", "verifier", "options", "plan", "mask")),
    *(("round0", "history", value) for value in ("null", '"text"')),
    *(("fix", "words", value) for value in ("null", "3")),
    *(("native", name, value) for name in ("clip", "vae") for value in ("null", '"text"')),
    *(("native", name, '"text"') for name in ("custom_sampler", "sigmas")),
]


@pytest.mark.parametrize(("name", "given", "value"), WIRED_ODDLY)
def test_wired_values_obey_the_rules_of_their_fields(
    comfy: ComfyServer, name: str, given: str, value: str
) -> None:
    by_hand = rounds_by_hand(1) | trail_of(link("round0"))
    search = loop_graph(depth=0, steps=2)
    graphs = (drafts_graph(count=1), search, verbs_graph(rounds=1), by_hand, fixing(), native())
    graph = next(one for one in graphs if name in one)
    graph.pop("images0", None)  # else ComfyUI would run that and leave out what is wrong
    graph[name]["inputs"][given] = link("value")
    said = failure(comfy, graph | {"value": node("ProbeValue", value=value)}, at=name)
    assert given in said


@pytest.mark.parametrize("seed", [-2, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("graph", [drafts_graph, loop_graph])
def test_a_wired_seed_obeys_the_rule_of_the_field(
    comfy: ComfyServer, graph: Callable[..., Graph], seed: int
) -> None:
    """ComfyUI checks the ranges of fields, and of no wire."""
    value = node("PrimitiveInt", value=seed)
    name = "drafts" if graph is drafts_graph else "loop"
    wired = graph(seed=link("number")) | {"number": value}
    if seed == 2**64 - 1:  # PrimitiveInt itself ends at 2^63 - 1
        wired = graph(seed=seed)
    if seed == -2:
        assert "The seed is -2. Give a number from -1 to 18446744073709551615" in failure(
            comfy, wired, at=name
        )
    else:
        assert comfy.succeed(wired).images("images")


@pytest.mark.parametrize(
    ("actor", "what"), [("writer", "reflection writer"), ("evolver", "prompt evolver")]
)
def test_a_seat_that_the_strategy_needs_and_nobody_takes(
    comfy: ComfyServer, actor: str, what: str
) -> None:
    graph = loop_graph()
    del graph["loop"]["inputs"][actor]
    assert what in failure(comfy, graph, at="loop")


def test_a_search_without_any_axis(comfy: ComfyServer) -> None:
    graph = loop_graph(options=link("options"))
    none = {f"{axis}_axis": False for axis in ("noise", "prompt", "reflection")}
    assert "axes" in failure(comfy, graph | {"options": search_options(**none)}, at="loop")


def test_a_strategy_whose_only_axis_is_switched_off(comfy: ComfyServer) -> None:
    graph = loop_graph(strategy="noise", options=link("options"))
    graph["options"] = search_options(noise_axis=False)
    assert "noise" in failure(comfy, graph, at="loop")


def test_an_exact_verifier_that_is_told_to_err(comfy: ComfyServer) -> None:
    graph = judging("[1, 64, 64, 3]")
    graph["verifier"]["inputs"]["error"] = 0.3
    assert "noisy" in failure(comfy, graph, at="verifier")


def test_a_trail_of_nothing(comfy: ComfyServer) -> None:
    graph = {"start": rounds_by_hand(0)["start"]} | trail_of(link("start"))
    assert "Reflection Round" in failure(comfy, graph, at="trail")


def test_an_error_leaves_comfyui_fit_for_the_next_run(comfy: ComfyServer) -> None:
    good = loop_graph(depth=1)
    first = comfy.succeed(good).pixels("images")
    failure(comfy, judging("[1, 64, 64, 3]", "nan"), at="score")
    assert comfy.succeed(good).pixels("images") == first


def test_an_error_tells_neither_weights_nor_pictures(comfy: ComfyServer) -> None:
    """ComfyUI sends every input of a failed node to the browser, models and histories too."""
    graph = rounds_by_hand(3) | trail_of(link("round2"))
    del graph["round2"]["inputs"]["writer"]
    run = comfy.run(graph)
    assert "reflection writer" in run.error
    given = run.message("execution_error")["current_inputs"]
    assert "SearchState" in str(given["history"]) and "Candidate" not in str(given["history"])
    assert len(str(given)) < 3000, f"{len(str(given)):,} characters"
