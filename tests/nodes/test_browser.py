"""The pack in ComfyUI's own user interface, in a real browser without a window.

REFLECTIONFLOW_SCREENSHOT=docs/first_look.png keeps a picture of the finished first look.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from comfy_browser import (
    LOAD,
    OURS,
    RUN_MS,
    TWO_FRAMES,
    VIEW,
    WORKFLOWS,
    Interface,
    browsing,
)
from comfy_server import ROOT, ComfyServer, Graph
from PIL import Image

FIRST_LOOK = "1.1 Reflection, a first look without a download"
SCREENSHOT = "REFLECTIONFLOW_SCREENSHOT"
SCREENSHOT_BYTES = 300_000
TITLE = 30  # a node's position is its body's; the title stands above
GROUPS = """() => app.graph.groups.map(group => ({
    title: group.title, box: [...group.pos, ...group.size]}))"""
READABLE = "() => !app.canvas.low_quality"  # further away ComfyUI draws no text
# Pictures are fetched one by one after a run is over.
SHOWN = """types => app.graph.nodes.every(
    node => !types.includes(node.type) || node.imgs?.every(image => image.complete))"""
SELECT = "type => app.canvas.selectItems([app.graph.nodes.find(node => node.type == type)])"
APP = "() => app.extensionManager.command.execute('Comfy.ToggleLinear')"
# In an app: the best picture, enlarged, and the contact sheet.
SHEET = """() => new Set([...document.querySelectorAll('[data-testid=linear-outputs] img')]
    .filter(image => image.naturalWidth).map(image => image.src)).size >= 2"""
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def opened(comfy: ComfyServer) -> Iterator[Interface]:
    with browsing(comfy) as interface:
        yield interface


@pytest.fixture
def interface(opened: Interface) -> Interface:
    opened.complaints.clear()
    return opened


def test_the_first_look_opens_from_the_template_browser_and_runs(interface: Interface) -> None:
    interface.choose_template(FIRST_LOOK)
    assert interface.page.evaluate(READABLE), "it opens so small that ComfyUI leaves out all text"
    interface.settle()
    assert faults(interface) == []

    seen = interface.run(watching="ReflectionLoop")

    assert seen["over"] == "execution_success"
    assert seen["pictures"], "the loop node showed no pictures while it ran"
    assert len(seen["texts"]) > 1, "the loop node told of no rounds while it ran"
    assert any("Round 1" in text for text in seen["texts"]), seen["texts"]
    interface.page.wait_for_function(SHOWN, arg=[OURS + "ReflectionTrail", "SaveImage"])
    interface.settle()
    if kept := os.environ.get(SCREENSHOT):
        photograph(interface, Path(kept))
    loop, trail = interface.node("ReflectionLoop"), interface.node("ReflectionTrail")
    assert loop["pictures"]
    assert "★" in loop["text"]
    [(_, sheet_width)] = trail["pictures"]
    assert sheet_width > 300
    assert faults(interface) == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_opens_without_a_fault_and_asks_what_its_twin_asks(
    interface: Interface, workflow: Path
) -> None:
    interface.load(workflow)

    assert faults(interface) == []
    twin = twin_of(workflow)
    asked = interface.page.evaluate("async () => (await app.graphToPrompt()).output")
    known = interface.server.object_info()
    assert bare(asked, known) == bare(twin, known)


def twin_of(workflow: Path) -> Graph:
    """The graph for the API that a template's id is made of."""
    wanted = json.loads(workflow.read_text(encoding="utf-8"))["id"]
    (file,) = (
        file
        for file in (workflow.parent / "api").glob("*.json")
        if str(uuid5(NAMESPACE_URL, f"reflectionflow/{file.stem}")) == wanted
    )
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("group", ["1.1", "2.1"])
def test_a_template_is_an_app_where_comfyui_has_apps(interface: Interface, group: str) -> None:
    """The first look runs there, and shows the best picture and the contact sheet."""
    if "search_aliases" not in interface.server.object_info("KSampler")["KSampler"]:
        pytest.skip("this ComfyUI has no finished apps yet")
    (workflow,) = (file for file in WORKFLOWS if file.stem.startswith(f"{group} "))
    interface.load(workflow)
    page = interface.page
    page.evaluate(APP)
    page.get_by_test_id("linear-widgets").wait_for()
    shown = page.get_by_test_id("builder-widget-label").all_inner_texts()
    assert shown == ["prompt", "chains", "rounds", "seed"]
    if group == "1.1":
        page.get_by_test_id("linear-run-button").get_by_role("button", name="Run").click()
        page.wait_for_function(SHEET, timeout=RUN_MS)
    page.evaluate(APP)
    page.get_by_test_id("linear-widgets").wait_for(state="detached")


def test_the_menu_ends_a_search_and_says_where_there_is_none(interface: Interface) -> None:
    interface.load(ROOT / "workflows" / f"{FIRST_LOOK}.json")
    run = "async id => app.extensionManager.command.execute(id)"
    interface.page.evaluate(run, "ReflectionFlow.StopAndKeepBest")
    interface.page.get_by_text("No search is running.").first.wait_for()
    interface.page.evaluate(run, "ReflectionFlow.ForgetSearches")
    assert interface.server.get("/reflectionflow/kept")["searches"] == []
    items = interface.page.evaluate(
        "type => app.collectNodeMenuItems(app.graph.nodes.find(n => n.type == type))"
        ".map(item => item?.content)",
        OURS + "ReflectionLoop",
    )
    assert "Stop search and keep best" in items


def test_a_node_shows_its_help(interface: Interface) -> None:
    interface.load(ROOT / "workflows" / f"{FIRST_LOOK}.json")
    interface.page.evaluate(SELECT, OURS + "ReflectionLoop")
    interface.page.get_by_test_id("info-button").click()

    shown = interface.page.get_by_test_id("properties-panel")
    shown.get_by_role("heading", level=1).get_by_text("Reflection Loop").wait_for()
    assert interface.complaints == []


def test_every_node_has_a_help_page(comfy: ComfyServer) -> None:
    for name in comfy.object_info():
        if name.startswith(OURS):
            page = comfy.fetch(f"/extensions/{comfy.pack}/docs/{name}.md").decode()
            assert page.startswith("# "), name


def test_every_workflow_is_a_template(comfy: ComfyServer) -> None:
    listed = comfy.get("/api/workflow_templates")[comfy.pack]
    assert FIRST_LOOK in listed
    assert sorted(listed) == [workflow.stem for workflow in WORKFLOWS]


def faults(interface: Interface) -> list[str]:
    """What a person would frown at."""
    nodes = interface.nodes
    found = [f"unknown: {node['type']}" for node in nodes if not node["known"]]
    # A newer ComfyUI paints a node red whose files it offers to download, as in its own templates.
    found += [f"red: {node['title']}" for node in nodes if node["red"] and not node["files"]]
    found += [f"dialog: {text}" for text in interface.dialogs.all_inner_texts()]
    found += [f"console: {complaint}" for complaint in interface.complaints]
    found += [f"cut: {n['title']}" for n in nodes if n["box"][3] + 1 < n["needs"][1]]
    titled = [(node["title"], whole(node["box"])) for node in nodes]
    groups = [(group["title"], tuple(group["box"])) for group in interface.page.evaluate(GROUPS)]
    found += [f"overlap: {a} and {b}" for a, b in overlaps(titled) + overlaps(groups)]
    found += [
        f"sticks out: {title} of {group}"
        for group, frame in groups
        for title, box in titled
        if overlap(box, frame) and not inside(box, frame)
    ]
    return found


def whole(body: Box) -> Box:
    x, y, width, height = body
    return x, y - TITLE, width, height + TITLE


def overlap(a: Box, b: Box) -> bool:
    apart = (a[0] + a[2] <= b[0], b[0] + b[2] <= a[0], a[1] + a[3] <= b[1], b[1] + b[3] <= a[1])
    return not any(apart)


def overlaps(boxes: list[tuple[str, Box]]) -> list[tuple[str, str]]:
    return [
        (name, other)
        for i, (name, box) in enumerate(boxes)
        for other, its_box in boxes[i + 1 :]
        if overlap(box, its_box)
    ]


def inside(a: Box, b: Box) -> bool:
    return (
        a[0] >= b[0] and a[1] >= b[1] and a[0] + a[2] <= b[0] + b[2] and a[1] + a[3] <= b[1] + b[3]
    )


def bare(graph: Graph, known: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """A graph in API format without titles, and without what the interface adds for itself."""
    return {
        name: (
            node["class_type"],
            {
                key: value
                for key, value in node["inputs"].items()
                if key in chain(*known[node["class_type"]]["input_order"].values())
            },
        )
        for name, node in graph.items()
    }


def photograph(interface: Interface, place: Path) -> None:
    """The page as a small PNG, without the note that a job is done."""
    done = interface.page.get_by_text("job completed")
    done.evaluate("note => note.closest('.pointer-events-none').style.display = 'none'")
    interface.settle()
    interface.page.mouse.move(VIEW["width"] / 2, VIEW["height"] - 5)
    interface.page.wait_for_timeout(500)
    taken = Image.open(BytesIO(interface.page.screenshot())).convert("RGB")
    small = taken.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    small.save(place, optimize=True)
    assert place.stat().st_size < SCREENSHOT_BYTES


def drawn(number: int, kind: str, *values: Any, **sockets: str) -> dict[str, Any]:
    """A node of a saved workflow, with its wired sockets."""
    inputs = [{"name": n.replace("__", "."), "type": kind} for n, kind in sockets.items()]
    outputs = {"VisionModel": "REFLECTIONFLOW_VLM", "MiniatureLoader": "MODEL"}
    return {
        "id": number,
        "type": OURS + kind,
        "pos": [400 * (number % 2), 200 * number],
        "size": [300, 120],
        "flags": {},
        "order": number,
        "mode": 0,
        "inputs": [{**given, "link": number * 10 + i} for i, given in enumerate(inputs)],
        "outputs": [{"name": "out", "type": outputs.get(kind, "*"), "links": None}],
        "properties": {},
        "widgets_values": list(values),
    }


CHOICES = {
    "last_node_id": 5,
    "last_link_id": 40,
    "nodes": [
        drawn(1, "VisionModel", "on a server", "mine", 3, True),
        drawn(2, "Judge", "what a vision model sees", "yes-no", vlm="REFLECTIONFLOW_VLM"),
        drawn(3, "MiniatureLoader"),
        drawn(4, "Judge", "what is there", "(none)", judge__detection_model="MODEL"),
        drawn(5, "Judge", "the miniature's shapes", 0.25),
    ],
    "links": [[20, 1, 0, 2, 0, "REFLECTIONFLOW_VLM"], [40, 3, 0, 4, 0, "MODEL"]],
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}


def test_a_saved_choice_opens_with_its_own_inputs_and_their_wires(interface: Interface) -> None:
    interface.page.evaluate(LOAD, [CHOICES, "choices"])
    interface.settle()
    asked = interface.page.evaluate("async () => (await app.graphToPrompt()).output")
    inputs = {number: node["inputs"] for number, node in asked.items()}
    assert inputs["1"] == {
        "source": "on a server",
        "source.profile": "mine",
        "source.refresh": 3,
        "source.send_pictures": True,
    }
    sees = {"judge": "what a vision model sees", "judge.method": "yes-no", "judge.ground": False}
    assert inputs["2"] == {**sees, "vlm": ["1", 0]}
    found = {"judge": "what is there", "judge.detector": "(none)"}
    assert inputs["4"] == {**found, "judge.detection_model": ["3", 0]}
    assert inputs["5"] == {"judge": "the miniature's shapes", "judge.error": 0.25}
    assert faults(interface) == []


COLOURS = """kind => [
    app.canvas.default_connection_color_byType[kind], LGraphCanvas.link_type_colors[kind],
    getComputedStyle(document.body).getPropertyValue('--color-datatype-' + kind).trim()]"""
CANVASES = {"light": "#d3d3d3", "dark": "#222222"}  # by ComfyUI's palettes of that name
PALETTE = "async name => app.extensionManager.setting.set('Comfy.ColorPalette', name)"


def test_each_kind_of_wire_has_a_colour_in_both_renderers_and_every_palette(
    interface: Interface,
) -> None:
    info = interface.server.object_info()
    ours = [known for name, known in info.items() if name.startswith(OURS)]
    kinds = {kind for known in ours for kind in known["output"] if "REFLECTIONFLOW" in kind}
    shown = kinds - {"REFLECTIONFLOW_PICTURES"}  # only inside Reflection Loop
    for palette, canvas in CANVASES.items():
        interface.page.evaluate(PALETTE, palette)
        interface.page.evaluate(TWO_FRAMES)
        colours = {kind: interface.page.evaluate(COLOURS, kind) for kind in shown}
        assert all(len(set(three)) == 1 and three[0] for three in colours.values()), colours
        assert len({three[0] for three in colours.values()}) == len(shown)
        assert all(contrast(three[0], canvas) >= 3 for three in colours.values()), colours


def contrast(one: str, other: str) -> float:
    """Of two colours "#rrggbb", from 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
