"""What ComfyUI knows of our nodes; workflows that people saved depend on it.

object_info.json is the golden file. After adding a node or appending an input, rewrite it:

    REFLECTIONFLOW_REWRITE_GOLDEN=1 python -m pytest tests/nodes/test_schema.py

That refuses to take an input away or to move it: saved workflows hold their values by position. To
do so all the same, before a first release, delete the file first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_graphs import OURS
from comfy_server import PACK, ROOT, ComfyServer

GOLDEN = Path(__file__).parent / "object_info.json"
REWRITE = os.environ.get("REFLECTIONFLOW_REWRITE_GOLDEN") == "1"
# Combos of what this ComfyUI has.
HERE_ONLY = {"model", "base", "lora", "detector", "sampler", "scheduler"}
FOUND_BY = {  # what people type, and which nodes they then see
    "fix image": ("FixPicture", "CorrectorSampler", "ReflectionLoop"),
    "pick best": ("VerifierScore", "Judge", "ReflectionLoop"),
    "best of n": ("ReflectionLoop", "VerifierScore", "DraftSampler"),
    "improve prompt": ("Critic", "PromptEvolver", "ThinkFirst", "ReflectionLoop"),
    "prompt adherence": ("Judge", "VerifierScore", "VerifierLoader", "ReflectionLoop"),
    "critic": ("Critic", "Judge", "VerifierLoader", "ReflectionWriter", "ReflectionLoop"),
    "retry": ("ReflectionLoop", "CorrectorSampler"),
}
CHOICE = "COMFY_DYNAMICCOMBO_V3"
KEPT = (
    "default",
    "min",
    "max",
    "step",
    "multiline",
    "control_after_generate",
    "forceInput",
    "lazy",
)

Golden = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def nodes(comfy: ComfyServer) -> dict[str, dict[str, Any]]:
    known = comfy.object_info()
    return {name: known[name] for name in sorted(known) if name.startswith(OURS)}


def golden_inputs(known: dict[str, Any], order: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        golden_input(name, known[group][name], group)
        for group in ("required", "optional")
        for name in order.get(group, ())
    ]


def golden_of(nodes: dict[str, dict[str, Any]]) -> Golden:
    return {
        name: {
            "inputs": golden_inputs(info["input"], info["input_order"]),
            "outputs": [
                {"name": output, "type": kind, "list": is_list}
                for output, kind, is_list in zip(
                    info["output_name"], info["output"], info["output_is_list"], strict=True
                )
            ],
            "output_node": info["output_node"],
        }
        for name, info in nodes.items()
    }


def golden_input(name: str, given: list[Any], group: str) -> dict[str, Any]:
    kind, options = given[0], given[1] if len(given) > 1 else {}
    if isinstance(kind, list):
        kind, options = "COMBO", {**options, "options": kind}
    entry = {"name": name, "type": kind, "group": group}
    entry |= {key: options[key] for key in KEPT if options.get(key) is not None}
    if kind == "COMBO" and name not in HERE_ONLY:
        entry["options"] = options["options"]
    if kind == CHOICE:
        entry["options"] = {option["key"]: nested(option) for option in options["options"]}
    return entry


def nested(option: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs that come with an option of a choice."""
    known = option["inputs"]
    return golden_inputs(known, {group: list(known[group]) for group in known})


def one_a_line(golden: Golden) -> str:
    """JSON with one input or output on each line, so that a diff shows what changed."""
    nodes = []
    for name, entry in golden.items():
        parts = [
            f'  "{part}": [\n' + ",\n".join(f"   {json.dumps(t)}" for t in entry[part]) + "\n  ]"
            for part in ("inputs", "outputs")
        ]
        parts.append(f'  "output_node": {json.dumps(entry["output_node"])}')
        nodes.append(f' "{name}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def written() -> Golden:
    return json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}


def test_no_node_and_no_input_of_the_golden_file_is_gone_or_moved(
    nodes: dict[str, dict[str, Any]],
) -> None:
    now = golden_of(nodes)
    for name, before in written().items():
        assert name in now
        for part in ("inputs", "outputs"):
            assert starts_with(now[name][part], before[part]), name


def starts_with(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> bool:
    """Whether everything of a list is still there in its place, the inputs of choices too."""

    def is_still(new: dict[str, Any], old: dict[str, Any]) -> bool:
        if (new["name"], new["type"]) != (old["name"], old["type"]):
            return False
        choices = old["options"] if old["type"] == CHOICE else {}
        return all(starts_with(new["options"].get(k, ()), v) for k, v in choices.items())

    return len(now) >= len(before) and all(map(is_still, now, before))


def test_nodes_are_as_the_golden_file_says(nodes: dict[str, dict[str, Any]]) -> None:
    now = golden_of(nodes)
    if REWRITE:
        test_no_node_and_no_input_of_the_golden_file_is_gone_or_moved(nodes)
        GOLDEN.write_text(one_a_line(now), encoding="utf-8")
    assert written() == now, "see the top of this file for how to rewrite it"


def test_every_seed_takes_comfyuis_whole_range() -> None:
    """A seed that another node draws may be wired to any of them, also to refresh."""
    known = json.loads(GOLDEN.read_text("utf-8"))
    given = [each for node in known.values() for each in node["inputs"]]
    seeds = [each for each in given if each["name"] in ("seed", "refresh")]
    assert len(seeds) > 6
    assert {each["max"] for each in seeds} == {2**64 - 1}


def test_every_node_input_and_output_is_explained(nodes: dict[str, dict[str, Any]]) -> None:
    for name, info in nodes.items():
        assert info["description"].endswith("."), name
        assert info["category"].split("/")[0] == "ReflectionFlow"
        assert info["display_name"] != name
        for given, (_, options) in all_inputs(info["input"]):
            assert options["tooltip"].endswith("."), f"{name}: {given}"
        assert all(tip and tip.endswith(".") for tip in info["output_tooltips"]), name


def all_inputs(known: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every input by its name, those of choices too."""
    for group in ("required", "optional"):
        for name, given in known.get(group, {}).items():
            yield name, given
            if given[0] == CHOICE:
                for option in given[1]["options"]:
                    yield from all_inputs(option["inputs"])


def test_every_node_has_a_help_page_that_comfyui_serves(
    comfy: ComfyServer, nodes: dict[str, dict[str, Any]]
) -> None:
    for name in nodes:
        page = ROOT / "nodes" / "web" / "docs" / f"{name}.md"
        assert page.is_file(), page.name
        served = comfy.fetch(f"/extensions/{PACK}/docs/{name}.md").decode()
        assert served == page.read_text(encoding="utf-8")
        assert served.startswith("# ")


def test_no_help_page_speaks_of_a_node_that_is_not_there(
    nodes: dict[str, dict[str, Any]],
) -> None:
    assert {page.stem for page in (ROOT / "nodes" / "web" / "docs").glob("*.md")} <= set(nodes)


def test_a_help_page_names_every_input_of_its_node_as_it_is_shown(
    nodes: dict[str, dict[str, Any]],
) -> None:
    for name, info in nodes.items():
        page = ROOT / "nodes" / "web" / "docs" / f"{name}.md"
        if page.is_file():  # its absence is another test's business
            text = page.read_text(encoding="utf-8").lower()  # `flux` is shown as FLUX
            names = {
                shown
                for given, spec in all_inputs(info["input"])
                for shown in (given, spec[1].get("display_name", given).lower())
            }
            assert [shown for shown in names if shown not in text] == [], name


def test_no_field_asks_for_a_key_or_an_address(nodes: dict[str, dict[str, Any]]) -> None:
    for name, info in nodes.items():
        for given, _ in all_inputs(info["input"]):
            words = given.lower().split("_")
            assert not {"key", "token", "secret", "password", "url"} & set(words), name


def test_the_menu_shows_ten_nodes_and_the_steps_and_keeps_the_rest_apart(
    nodes: dict[str, dict[str, Any]],
) -> None:
    shown: dict[str, set[str]] = {}
    for name, info in nodes.items():
        shown.setdefault(info["category"], set()).add(name.removeprefix(OURS))
    assert shown.keys() == {"ReflectionFlow", "ReflectionFlow/steps", "ReflectionFlow/advanced"}
    assert shown["ReflectionFlow"] == {
        *("ReflectionLoop", "ReflectionTrail", "PainterFromModel", "FluxFromModel"),
        *("LoadCorrector", "SearchOptions", "Critic", "Judge", "VisionModel", "FixPicture"),
    }
    assert shown["ReflectionFlow/steps"] == {
        *("DraftSampler", "VerifierScore"),
        *("ReflectionWriter", "PromptEvolver", "CorrectorSampler"),
    }


def test_the_loop_speaks_of_chains_and_rounds_and_its_graphs_of_width_and_depth(
    nodes: dict[str, dict[str, Any]],
) -> None:
    inputs = nodes[f"{OURS}ReflectionLoop"]["input"]["required"]
    assert inputs["width"][1]["display_name"] == "chains"
    assert inputs["depth"][1]["display_name"] == "rounds"
    assert "display_name" not in nodes[f"{OURS}FluxSampling"]["input"]["required"]["width"][1]


def test_newer_comfyuis_find_our_nodes_by_other_words_and_hide_the_inner_step(
    comfy: ComfyServer, nodes: dict[str, dict[str, Any]]
) -> None:
    if "search_aliases" not in comfy.object_info("KSampler")["KSampler"]:
        pytest.skip("this ComfyUI knows no search aliases yet")
    aliases = {name: info["search_aliases"] for name, info in nodes.items()}
    assert all(aliases[name] for name in aliases if name != f"{OURS}ReflectionStep")
    for words, found in FOUND_BY.items():
        for name in found:
            shown = nodes[OURS + name]["display_name"].lower()
            assert words in (shown, *aliases[OURS + name]), f"{name}: {words}"
