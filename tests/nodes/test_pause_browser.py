"""The panel of a pause in a real browser: picked, edited and drawn on, reloaded, in two tabs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from comfy_browser import LOAD, OPENED, OURS, RUN_MS, Interface, browsing
from comfy_server import ROOT, ComfyServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TEMPLATE = ROOT / "workflows" / "1.1 Reflection, a first look without a download.json"
HTML = "turn it <img src=x onerror='window.broken = 1'> green"
SET = """([kind, values]) => {
    const loop = app.graph.nodes.find(node => node.type == kind)
    for (const [name, value] of Object.entries(values))
        loop.widgets.find(widget => widget.name == name).value = value
}"""
OVER = "() => window.over"
WATCH = """() => {
    window.over = ''
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, () => (window.over = kind), {once: true})
}"""

# No room for the panel's choices, beside large workflows that the page has stored.
FULL = """() => {
    const store = Storage.prototype.setItem
    Storage.prototype.setItem = function (name, text) {
        if (name.startsWith('reflectionflow')) throw new DOMException('', 'QuotaExceededError')
        store.call(this, name, text)
    }
}"""


@pytest.fixture(scope="module")
def interface(comfy: ComfyServer) -> Iterator[Interface]:
    with browsing(comfy) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_waits(comfy: ComfyServer) -> Iterator[None]:
    """A test that fails in a pause would else leave ComfyUI waiting, and the next ones with it."""
    yield
    comfy.interrupt()


def begin(interface: Interface, **values: Any) -> None:
    graph = json.loads(Path(TEMPLATE).read_text(encoding="utf-8"))
    interface.page.evaluate(LOAD, [graph, "pause"])
    asked = {"ask_me": True, "stop": "never", "drafts": 2, "width": 1, "depth": 1, **values}
    interface.page.evaluate(SET, [OURS + "ReflectionLoop", asked])
    interface.page.evaluate(WATCH)
    interface.page.get_by_test_id("queue-button").click()


def wait_for_panel(page: Page) -> None:
    page.locator(".rf-pause .rf-go").wait_for(timeout=RUN_MS)


def draw_a_box(page: Page, card: Locator) -> None:
    """From a quarter of the picture to its middle, three quarters down."""
    box = card.locator(".rf-view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 3 / 4, steps=3)
    page.mouse.up()


def test_three_clicks_steer_a_search_through_a_reload_and_two_tabs(interface: Interface) -> None:
    page, server = interface.page, interface.server
    begin(interface, seed=901)
    wait_for_panel(page)
    browser = page.context.browser
    assert browser is not None
    second = browser.new_page()
    second.goto(server.url, timeout=RUN_MS)
    second.wait_for_function(OPENED, timeout=RUN_MS)
    wait_for_panel(second)
    assert page.locator(".rf-go").inner_text() == "Go on as planned"
    card = page.locator(".rf-card").nth(1)
    card.get_by_role("button", name="Winner").click()
    card.locator("textarea").fill(HTML)
    card.get_by_role("button", name="Box").click()
    draw_a_box(page, card)
    page.reload(timeout=RUN_MS)
    page.wait_for_function(OPENED, timeout=RUN_MS)
    wait_for_panel(page)
    page.evaluate(WATCH)
    assert page.locator(".rf-card").nth(1).locator("textarea").input_value() == HTML
    assert page.locator(".rf-go").inner_text() == "Go on with my choices"
    page.locator(".rf-go").click()
    # The next pause; that none is open in between may be too short to be seen.
    said = second.locator(".rf-card .rf-note", has_text="Made by").first
    said.wait_for(timeout=RUN_MS)
    assert said.inner_text() == f"Made by: {HTML}"
    assert second.locator(".rf-pause img[src=x]").count() == 0
    assert second.evaluate("() => window.broken") is None
    second.locator(".rf-go").click()
    page.wait_for_function(OVER, timeout=RUN_MS)
    second.close()
    history = server.get("/history?max_items=1").popitem()[1]
    outputs = history["outputs"].values()
    (report,) = (json.loads(found["report"][0]) for found in outputs if "report" in found)
    first = report["feedback"][0]
    assert (first["picked"], first["reflections"]) == (1, {"1": HTML})
    assert first["places"]["1"]["boxes"][0] == pytest.approx([0.25, 0.25, 0.5, 0.75], abs=0.02)
    assert [c["parent"] for c in report["candidates"]] == [None, None, 1]


def test_cancel_and_time_close_the_panel_even_if_storage_is_full(
    interface: Interface,
) -> None:
    begin(interface, seed=902)
    wait_for_panel(interface.page)
    interface.server.interrupt()
    interface.page.locator(".rf-pause").wait_for(state="detached")
    interface.page.wait_for_function(OVER)
    interface.page.evaluate(FULL)
    begin(interface, seed=902, ask_seconds=10, depth=0)
    wait_for_panel(interface.page)
    interface.page.locator(".rf-pause").wait_for(state="detached")
    interface.page.wait_for_function(OVER, timeout=RUN_MS)
    assert interface.page.evaluate(OVER) == "execution_success"
    said = interface.node("ReflectionLoop")["text"]
    assert said == "Nobody answered, so the search ends here."
