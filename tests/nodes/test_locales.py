"""The languages of the nodes: one table of English words, and the files that ComfyUI reads.

locales/words.json is the table. After changing it, or a name or a tooltip, write the files anew:

    REFLECTIONFLOW_REWRITE_LOCALES=1 python -m pytest tests/nodes/test_locales.py

ComfyUI's choices ("when passed") stay English: they are values that graphs hold.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from comfy_graphs import OURS
from comfy_server import ROOT, ComfyServer

LOCALES = ROOT / "locales"
WORDS: dict[str, dict[str, str]] = json.loads((LOCALES / "words.json").read_text("utf-8"))
LANGUAGES = ("de", "es", "fr", "ja", "ko", "zh", "zh-TW")
REWRITE = os.environ.get("REFLECTIONFLOW_REWRITE_LOCALES") == "1"
CHOICE = "COMFY_DYNAMICCOMBO_V3"
COMMAND = re.compile(r'const (\w+) = "(ReflectionFlow\.\w+)"')
LABEL = re.compile(r'\{ id: (\w+), label: "([^"]+)"')
# Nodes in the open, of which every word is translated; of the others at least the name.
IN_THE_OPEN = ("ReflectionFlow", "ReflectionFlow/steps")
SAID = re.compile(r"\bsay\(([^()]*)\)")
TOOL = re.compile(r'\w+: \["[^"]", "(\w+)"\]')
SPECIAL = re.compile(r"[{}|@]")  # to the frontend's message format

Nodes = dict[str, dict[str, Any]]
Parts = dict[str, Any]


@pytest.fixture(scope="module")
def nodes(comfy: ComfyServer) -> Nodes:
    known = comfy.object_info()
    return {name: known[name] for name in sorted(known) if name.startswith(OURS)}


def inputs_of(known: dict[str, Any], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every input and its options, those behind a choice included, as the frontend names them."""
    for group in ("required", "optional"):
        for name, (kind, *options) in known.get(group, {}).items():
            given = options[0] if options else {}
            yield before + name, given
            for option in given.get("options", ()) if kind == CHOICE else ():
                yield from inputs_of(option["inputs"], f"{before}{name}.")


def english_of(node: dict[str, Any]) -> Parts:
    """A node's texts in the form of nodeDefs.json; a tooltip that depends on a choice is left out.

    The frontend looks a tooltip up by the input's name alone.
    """
    labels: dict[str, str] = {}
    tooltips: dict[str, set[str]] = {}
    for name, given in inputs_of(node["input"]):
        labels[name] = given.get("display_name") or name.rpartition(".")[2]
        tooltips.setdefault(name, set()).add(given.get("tooltip") or "")
    inputs = {
        name.replace(".", "_"): {"name": label}
        | ({"tooltip": next(iter(tooltips[name]))} if len(tooltips[name]) == 1 else {})
        for name, label in labels.items()
    }
    outputs = {
        str(i): {"name": name, "tooltip": tooltip}
        for i, (name, tooltip) in enumerate(
            zip(node["output_name"], node["output_tooltips"], strict=True)
        )
    }
    top = {"display_name": node["display_name"], "description": node["description"]}
    return {**top, "inputs": inputs, "outputs": outputs}


def translated(english: Any, language: str) -> Any:
    """The same tree with every text that the table has; what is then empty is left out."""
    if not isinstance(english, dict):
        return WORDS.get(english, {}).get(language)
    parts = {key: translated(value, language) for key, value in english.items()}
    return {key: value for key, value in parts.items() if value}


def texts_in(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for part in tree.values():
            yield from texts_in(part)
    elif tree:
        yield tree


def commands() -> Parts:
    script = (ROOT / "nodes/web/reflectionflow.js").read_text("utf-8")
    ids = dict(COMMAND.findall(script))
    return {ids[name].replace(".", "_"): {"label": text} for name, text in LABEL.findall(script)}


def script_texts() -> set[str]:
    """What the panel of a pause says, and the pack's other scripts."""
    files = [*(ROOT / "nodes/web").glob("*.js"), ROOT / "reflectionflow_core/report/panel.js"]
    scripts = "".join(file.read_text("utf-8") for file in files)
    said = {text for call in SAID.findall(scripts) for text in re.findall(r'"([^"]+)"', call)}
    return said | set(TOOL.findall(scripts))


def files_of(nodes: Nodes, language: str) -> dict[str, Parts]:
    english = {name: english_of(node) for name, node in nodes.items()}
    return {
        "nodeDefs.json": translated(english, language),
        "commands.json": translated(commands(), language),
    }


def test_the_files_are_written_from_the_table(nodes: Nodes) -> None:
    for language in LANGUAGES:
        for name, parts in files_of(nodes, language).items():
            path = LOCALES / language / name
            if REWRITE:
                path.parent.mkdir(exist_ok=True)
                text = json.dumps(parts, ensure_ascii=False, indent=1) + "\n"
                path.write_text(text, encoding="utf-8")
            assert json.loads(path.read_text("utf-8")) == parts, f"{path} is old; see above"
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == set(LANGUAGES)


def test_every_text_of_the_nodes_in_the_open_and_every_name_is_translated(nodes: Nodes) -> None:
    shown = (
        set(texts_in(commands()))
        | script_texts()
        | {node["display_name"] for node in nodes.values()}
    )
    for node in nodes.values():
        if node["category"] in IN_THE_OPEN:
            shown |= set(texts_in(english_of(node)))
    missing = [
        f"{language}: {text}"
        for text in sorted(shown)
        for language in LANGUAGES
        if not WORDS.get(text, {}).get(language)
    ]
    assert not missing, "Translate in locales/words.json:\n" + "\n".join(missing)


def test_the_table_translates_nothing_that_no_node_says(nodes: Nodes) -> None:
    said = set(texts_in(commands())) | script_texts()
    said |= {text for node in nodes.values() for text in texts_in(english_of(node))}
    assert not sorted(WORDS.keys() - said)
    for english, row in WORDS.items():
        assert set(row) == set(LANGUAGES), english


def test_translations_name_only_inputs_that_exist(nodes: Nodes) -> None:
    for language in LANGUAGES:
        written = json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8"))
        for name, parts in written.items():
            english = english_of(nodes[name])
            for group in ("inputs", "outputs"):
                assert parts.get(group, {}).keys() <= english[group].keys(), name


def test_translations_keep_figures_and_hold_no_sign_of_the_message_format() -> None:
    digits = re.compile(r"\d+")
    for english, row in WORDS.items():
        for language, text in row.items():
            assert not SPECIAL.search(text), f"{language}: {text}"
            lost = set(digits.findall(english)) - set(digits.findall(text))
            assert not lost, f"{language} lost {lost}: {text}"


def test_comfyui_hands_the_languages_to_the_browser(comfy: ComfyServer) -> None:
    known = comfy.get("/i18n")
    for language in LANGUAGES:
        loop = known[language]["nodeDefs"][OURS + "ReflectionLoop"]
        assert loop["display_name"] == WORDS["Reflection Loop"][language]
        assert loop["inputs"]["width"]["name"] == WORDS["chains"][language]
        stop = known[language]["commands"]["ReflectionFlow_StopAndKeepBest"]["label"]
        assert stop == WORDS["Stop search and keep best"][language]
        assert comfy.get(f"/reflectionflow/words/{language}")["Veto"] == WORDS["Veto"][language]
    assert comfy.get("/reflectionflow/words/en") == {}
