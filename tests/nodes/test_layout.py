"""The templates in ComfyUI's two renderers: nothing overlaps and no wire runs behind a node, before
a run and after it; and the template browser finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from canvas_geometry import places
from comfy_browser import WORKFLOWS, Interface, browsing
from comfy_server import ComfyServer

RENDERER = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
# Here wires must cross, wherever nodes stand, since a node's sockets have a fixed order; nowhere
# more often than this, in either renderer.
CROSSINGS = {
    # Drafts, Reflection Writer and Prompt Evolver are each joined to the prompt, to Verifier Score
    # and to Corrector Sampler; the wires that several nodes share run in lanes.
    "1.3 ": 42,
    # Corrector Conditioning takes the VAE above the draft, which comes from where the VAE went too;
    # MODEL and CLIP go to both halves.
    "3.1 ": 7,
    # FLUX, whose CLIP and VAE the editor takes in the same order, goes to the editor itself.
    "3.2 ": 4,
    "4.3 ": 5,  # and the CLIP to the judge
    # The loop takes the plan between two wires of the critic.
    "3.3 ": 1,
}


@pytest.fixture(scope="module")
def opened(comfy: ComfyServer) -> Iterator[Interface]:
    with browsing(comfy) as interface:
        yield interface


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2"])
def rendered(request: pytest.FixtureRequest, opened: Interface) -> Iterator[Interface]:
    opened.page.evaluate(RENDERER, request.param)
    yield opened
    opened.page.evaluate(RENDERER, False)


# Nodes 2.0 measures nodes and grows them: until all have kept their boxes for so many frames.
STEADY = """async frames => {
    const boxes = () => JSON.stringify([
        app.graph.nodes.map(node => [...node.pos, ...node.size]),
        [...document.querySelectorAll('[data-node-id]')].map(drawn => drawn.offsetHeight)])
    for (let same = 0, before = ''; same < frames; ) {
        await new Promise(requestAnimationFrame)
        const now = boxes()
        same = now == before ? same + 1 : 0
        before = now
    }
}"""


def shown(interface: Interface, workflow: Path) -> None:
    interface.load(workflow)
    interface.page.evaluate(STEADY, 12)
    interface.settle()


def faults(interface: Interface, workflow: Path) -> list[str]:
    found = places(interface.page)
    assert len(found.nodes) == len(json.loads(workflow.read_text("utf-8"))["nodes"])
    assert found.wires
    crossings = found.crossings()
    allowed = CROSSINGS.get(workflow.stem[:4], 0)
    return found.faults() + (crossings if len(crossings) > allowed else [])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_nothing_overlaps_and_wires_cross_nothing(rendered: Interface, workflow: Path) -> None:
    shown(rendered, workflow)
    assert faults(rendered, workflow) == []


@pytest.mark.parametrize("group", ["1.1 ", "1.2 ", "1.3 "])
def test_nothing_overlaps_after_a_run(rendered: Interface, group: str) -> None:
    (workflow,) = (file for file in WORKFLOWS if file.stem.startswith(group))
    shown(rendered, workflow)
    assert rendered.run(watching=watched(workflow))["over"] == "execution_success"
    rendered.page.wait_for_timeout(2000)  # pictures come one by one, and nodes grow with them,
    rendered.page.evaluate(STEADY, 30)  # later on a busy machine
    rendered.settle()
    # The first Nodes 2.0 (ComfyUI 0.8) grow with their pictures, downwards out of their groups.
    found = [fault for fault in faults(rendered, workflow) if not fault.startswith("sticks out")]
    assert found == []


def watched(workflow: Path) -> str:
    kinds = {node["type"] for node in json.loads(workflow.read_text("utf-8"))["nodes"]}
    names = ("ReflectionLoop", "FixPicture", "CorrectorSampler")
    return next(name for name in names if f"ReflectionFlow_{name}" in kinds)


FOUND_BY = {"reflection": "1.1 ", "fix": "2.3 ", "best": "2.6 ", "poster": "3.4 "}


def test_the_template_browser_finds_templates_by_what_people_type(
    opened: Interface, comfy: ComfyServer
) -> None:
    opened.reopen()
    opened.page.locator(".side-bar-button", has_text="Templates").click()
    opened.dialogs.get_by_text(comfy.pack, exact=True).click()
    card, names = "template-workflow-{}".format, [file.stem for file in WORKFLOWS]
    for typed, number in FOUND_BY.items():
        opened.dialogs.get_by_role("textbox").first.fill(typed)
        (found,) = (name for name in names if name.startswith(number))
        opened.dialogs.get_by_test_id(card(found)).wait_for()
        for other in [name for name in names if typed not in name.lower()][:1]:
            opened.dialogs.get_by_test_id(card(other)).wait_for(state="detached")
        picture = comfy.fetch(f"/api/workflow_templates/{comfy.pack}/{quote(found)}.jpg")
        assert picture.startswith(b"\xff\xd8")
