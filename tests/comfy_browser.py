"""ComfyUI's own user interface, in a real browser without a window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_server import NO_BROWSER, ROOT, ComfyServer, do_without
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page, ViewportSize

OURS = "ReflectionFlow_"
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
VIEW: ViewportSize = {"width": 1600, "height": 950}
RUN_MS = 180_000  # on a machine with other work
# What a newcomer is greeted with, and what only clutters a picture.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Minimap.Visible": False,
}
# What the interface looks for first and then does without, and the network, which tests have not.
INNOCENT = (
    "/api/userdata",
    "/user.css",
    "/favicon.ico",
    "/en.md",
    "api.comfy.org",
    "/templates/index_logo.json",
    "/missingModelMetadata-",
    "/missingModelDownload-",
)

OPENED = (
    "() => window.app?.extensionManager && window.app.graph && !document.querySelector('#splash')"
)
TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
LOAD = """([workflow, name]) => app.loadGraphData(workflow, true, true, name, {
    showMissingNodesDialog: true, showMissingModelsDialog: false})"""
NODES = """() => app.graph.nodes.map(node => ({
    id: node.id, type: node.type, title: node.title,
    known: node.type in LiteGraph.registered_node_types, red: Boolean(node.has_errors),
    files: node.properties.models?.length ?? 0,
    box: [...node.pos, ...node.size], needs: [...node.computeSize()],
    pictures: (node.imgs ?? []).map(image => [image.src, image.naturalWidth]),
    text: node.widgets?.find(widget => widget.name == '$$node-text-preview')?.value ?? ''}))"""
# The graph as large as fits between ComfyUI's bars.
FRAME = """() => {
    const boxes = [...app.graph.groups, ...app.graph.nodes].map(item => item.boundingRect)
    const [left, top] = [0, 1].map(i => Math.min(...boxes.map(box => box[i])))
    const [right, bottom] = [0, 1].map(i => Math.max(...boxes.map(box => box[i] + box[i + 2])))
    const [x, y, width, height] = [70, 100, 1520, 790]
    const ds = app.canvas.ds
    ds.scale = Math.min(width / (right - left), height / (bottom - top))
    ds.offset[0] = (x + width / 2) / ds.scale - (left + right) / 2
    ds.offset[1] = (y + height / 2) / ds.scale - (top + bottom) / 2
    app.canvas.deselectAll()
    app.canvas.setDirty(true, true)
}"""
# Looks at the loop every 20 ms, until the run is over, and keeps whatever is new.
WATCH = """type => {
    const node = app.graph.nodes.find(node => node.type == type)
    window.seen = {pictures: [], texts: [], over: ''}
    const keep = (list, value) => value && list.at(-1) != value && list.push(value)
    const look = () => {
        keep(seen.pictures, (node.imgs ?? []).map(image => image.src).join(' '))
        keep(seen.texts, node.widgets?.find(w => w.name == '$$node-text-preview')?.value)
    }
    const timer = setInterval(look, 20)
    // On a busy machine the canvas may not show what came before the run is over.
    const came = {
        b_preview: event => keep(seen.pictures, `preview of ${event.detail.size} bytes`),
        progress_text: ({detail}) => detail.nodeId == node.id && keep(seen.texts, detail.text),
    }
    for (const kind in came) app.api.addEventListener(kind, came[kind])
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, event => {
            clearInterval(timer)
            for (const kind in came) app.api.removeEventListener(kind, came[kind])
            seen.over = kind == 'execution_success' ? kind : JSON.stringify(event.detail)
        }, {once: true})
}"""


@dataclass
class Interface:
    """ComfyUI's page, and what its console complained of."""

    server: ComfyServer
    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        said = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(word in said for word in INNOCENT):
            self.complaints.append(said)

    @property
    def dialogs(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def nodes(self) -> list[dict[str, Any]]:
        return self.page.evaluate(NODES)

    def node(self, kind: str) -> dict[str, Any]:
        return next(node for node in self.nodes if node["type"] == OURS + kind)

    def settle(self) -> None:
        """Everything in view, and drawn: only then do nodes have the sizes that people see."""
        self.page.evaluate(FRAME)
        self.page.evaluate(TWO_FRAMES)

    def load(self, workflow: Path) -> None:
        graph = json.loads(workflow.read_text(encoding="utf-8"))
        self.page.evaluate(LOAD, [graph, workflow.stem])
        self.settle()

    def reopen(self) -> None:
        """The page anew and nothing open over it: ComfyUI opens the last graph again, and a dialog
        with it where files are missing."""
        self.load(WORKFLOWS[0])  # which needs none
        self.page.reload()
        self.page.wait_for_function(OPENED)
        while self.dialogs.count():
            self.page.keyboard.press("Escape")
            self.page.evaluate(TWO_FRAMES)

    def choose_template(self, name: str) -> None:
        self.page.locator(".side-bar-button", has_text="Templates").click()
        self.dialogs.get_by_text(self.server.pack, exact=True).click()
        self.dialogs.get_by_test_id(f"template-workflow-{name}").click()
        self.dialogs.wait_for(state="detached")
        self.page.evaluate(TWO_FRAMES)

    def run(self, watching: str) -> dict[str, Any]:
        """Presses Run; what was seen on a node meanwhile."""
        self.page.evaluate(WATCH, OURS + watching)
        self.page.get_by_test_id("queue-button").click()
        self.page.wait_for_function("() => seen.over", timeout=RUN_MS)
        return self.page.evaluate("() => seen")


@contextmanager
def browsing(comfy: ComfyServer) -> Iterator[Interface]:
    """A page of this ComfyUI; the test is skipped where there is no browser."""
    executable = find_browser()
    if executable is None:
        do_without(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    comfy.forget()  # nothing shall be seen that another test has painted
    comfy.post("/api/settings", SETTINGS)
    Image.new("RGB", (64, 64)).save(comfy.base / "input" / "example.png")  # ComfyUI ships one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            interface = Interface(comfy, browser.new_page(viewport=VIEW))
            interface.page.set_default_timeout(RUN_MS)
            interface.listen()
            interface.page.goto(comfy.url)
            interface.page.wait_for_function(OPENED)
            yield interface
        finally:
            browser.close()


def find_browser() -> str | None:
    """A browser that playwright can drive, without one of playwright's own downloads."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return None
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)
