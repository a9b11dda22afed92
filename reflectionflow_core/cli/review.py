"""`reflectionflow review DIR`: asks a person in a browser on this machine, between two rounds.

It continues the run in DIR and asks on a local page, with the panel that ComfyUI shows. The address
has a token that works once; then the browser that opened it is known by a cookie, and no other gets
an answer.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
from collections.abc import Callable
from hmac import compare_digest
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..feedback import Feedback
from ..protocols import SILENT, Progress
from ..record import InputError
from ..report.pause import MOST_BYTES, PANEL, answer_of, pause_data, pause_picture
from ..search import Pause
from ..texts import parse_json
from .asking import StoppedByPersonError

COOKIE = "reflectionflow"
LOOK = 0.1  # seconds between two looks at Ctrl-C
QUIET = 10.0  # seconds that a browser may be silent within a request
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SENT = {  # with every answer
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
PICTURE = re.compile("/pauses/(?P<id>[A-Za-z0-9_-]{1,64})/(?P<number>[0-9]{1,6})")
PAUSE = re.compile("/pauses/(?P<id>[A-Za-z0-9_-]{1,64})")
LENGTH = re.compile("[0-9]{1,12}")
STRANGER = "This page belongs to another browser. Run the command again for a new address."
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ReflectionFlow: what next?</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --comfy-menu-bg: #fff; --comfy-input-bg: #f2f0ec;
  --input-text: #22262b; --descrip-text: #62686f; --border-color: #d5d1c9; }
@media (prefers-color-scheme: dark) { :root { --comfy-menu-bg: #26292e; --comfy-input-bg: #191b1e;
  --input-text: #e6e4e0; --descrip-text: #a3a9b1; --border-color: #3d4249; } }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: var(--comfy-input-bg);
  color: var(--input-text); }
#state { padding: 32px; white-space: pre-line; }
</style></head><body><p id="state" role="status">The search is working.</p>
<script type="module" src="/review.js"></script></body></html>
"""
SCRIPT = """import { Panel, STYLE } from "/panel.js";

const state = document.querySelector("#state");
document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
let shown = null;
let folder = "";

const send = (answer) =>
  fetch(`/pauses/${shown.data.id}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(answer),
  });

async function look() {
  const answer = await fetch("/pause").catch(() => null);
  if (!answer?.ok) {
    const kept = folder && `Its pictures and report.html are in ${folder}. `;
    state.textContent = `The command has ended. ${kept}You can close this page.`;
    shown?.close();
  } else {
    const { pause, ...about } = await answer.json();
    folder = about.folder;
    const working = `The search is working. After the round it asks here.\n${about.state}`;
    state.textContent = pause ? "The search waits for you." : working;
    if (shown && shown.data.id !== pause?.id) shown.close();
    if (pause && !shown) {
      const picture = (number) => `/pauses/${pause.id}/${number}`;
      const closed = () => (shown = null);
      shown = new Panel(pause, { say: (text) => text, picture, send, closed, whole: true });
    }
  }
  setTimeout(look, 700);
}

look();
"""


class ReviewPage:
    """Asks on a local page; `address` opens it once.

    `stops` is True once the person has ended the search. `folder` is shown on the page as the place
    of the pictures, and what `state` returns while the search works.
    """

    def __init__(self, port: int = 0, folder: str = "") -> None:
        self.stops, self.folder = False, folder
        self.state: Callable[[], str] = str
        self._pause: Pause | None = None
        self._id = ""
        self._said: Feedback | None = None
        self._lock, self._done = threading.Lock(), threading.Event()
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"No page can be opened on port {port} ({error}). Give another --port, or leave "
                "it out."
            ) from error
        self._server.page = self
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/?token={self._server.token}"

    def __enter__(self) -> ReviewPage:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        self._done.clear()
        self._id, self._pause = secrets.token_urlsafe(12), pause
        progress.say("The page waits for your answer.")
        while not self._done.wait(LOOK):
            progress.check()
        assert self._said is not None  # `take` sets it first
        if self.stops and self._said.changes_nothing:
            raise StoppedByPersonError
        return self._said

    def data(self) -> dict[str, Any]:
        """The pause that waits, as the page asks for it, or None while the search works."""
        pause = self._pause
        shown = pause and {"id": self._id, "seconds": None} | pause_data(pause)
        return {"pause": shown, "folder": self.folder, "state": self.state()}

    def picture(self, number: int) -> bytes | None:
        pause = self._pause
        return pause and pause_picture(pause, number)

    def waits_as(self, id: str) -> bool:
        return self._pause is not None and compare_digest(self._id.encode(), id.encode())

    def take(self, given: Any) -> None:
        """Takes an answer, once; raises InputError for an invalid one."""
        with self._lock:
            if self._pause is None:
                raise InputError("Somebody has answered already, in another tab.")
            self._said, self.stops = answer_of(given, self._pause)
            self._pause = None
            self._done.set()


class _Server(ThreadingHTTPServer):
    """Its token opens the page once; its session is the cookie of the browser that did."""

    daemon_threads = True
    page: ReviewPage

    def __init__(self, *where: Any) -> None:
        super().__init__(*where)
        self.token: str | None = secrets.token_urlsafe(24)
        self.session = secrets.token_urlsafe(24)
        port = self.server_address[1]
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.cookie = f"reflectionflow-{port}"  # browsers keep cookies by host, not by port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Shows an error, unless the browser went away, as on a reload."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def spend(self, token: str) -> bool:
        """Whether this is the token, and it was not used before."""
        known, right = self.token, False
        if known is not None and compare_digest(known.encode(), token.encode()):
            self.token, right = None, True
        return right


class _Handler(BaseHTTPRequestHandler):
    timeout = QUIET
    server_version, sys_version = "ReflectionFlow", ""

    @property
    def ours(self) -> _Server:
        assert isinstance(self.server, _Server)
        return self.server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        token = parse_qs(address.query).get("token", [""])[0]
        if not self._is_for_us():
            return
        if address.path == "/" and token and self.ours.spend(token):
            cookie = f"{self.ours.cookie}={self.ours.session}; HttpOnly; SameSite=Strict"
            self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", Location="/", Set_Cookie=cookie)
        elif self._is_known():
            self._get(address.path)

    def _get(self, path: str) -> None:
        page, picture = self.ours.page, PICTURE.fullmatch(path)
        if path == "/":
            self._send(HTTPStatus.OK, PAGE.encode(), "text/html")
        elif path == "/review.js":
            self._send(HTTPStatus.OK, SCRIPT.encode(), "text/javascript")
        elif path == "/panel.js":
            self._send(HTTPStatus.OK, PANEL.read_bytes(), "text/javascript")
        elif path == "/pause":
            self._send(HTTPStatus.OK, json.dumps(page.data()).encode(), "application/json")
        elif (
            picture
            and page.waits_as(picture["id"])
            and (found := page.picture(int(picture["number"])))
        ):
            self._send(HTTPStatus.OK, found, "image/png")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def do_POST(self) -> None:
        origin = self.headers.get("Origin")
        asked = PAUSE.fullmatch(self.path)
        if not self._is_for_us() or not self._is_known():
            return
        if origin is not None and origin not in {f"http://{host}" for host in self.ours.hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "Another page sent this.")
        elif asked is None or not self.ours.page.waits_as(asked["id"]):
            self._refuse(HTTPStatus.NOT_FOUND, "This question is no longer open.")
        elif (given := self._body()) is not None:
            try:
                self.ours.page.take(given)
            except InputError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            else:
                self._send(HTTPStatus.OK, b"{}", "application/json")

    def _is_for_us(self) -> bool:
        """Whether the request is for this machine's own name: other names may belong to anybody."""
        if self.headers.get("Host") in self.ours.hosts:
            return True
        self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This page is for this machine alone.")
        return False

    def _is_known(self) -> bool:
        try:
            sent = SimpleCookie(self.headers.get("Cookie", "")).get(self.ours.cookie)
        except CookieError:
            sent = None
        if sent and compare_digest(sent.value.encode(), self.ours.session.encode()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, STRANGER)
        return False

    def _body(self) -> Any:
        """The JSON of an answer; None if it was refused. Nothing too large is read."""
        length = self.headers.get("Content-Length", "")
        if not LENGTH.fullmatch(length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "The answer does not say how long it is.")
        elif int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The answer is too large.")
        else:
            try:
                return parse_json(self.rfile.read(int(length)))
            except (ValueError, TimeoutError):
                self._refuse(HTTPStatus.BAD_REQUEST, "The answer is not JSON.")
        return None

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send(status, json.dumps({"error": text}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, **headers: str) -> None:
        self.close_connection = True  # what a refused request still sends is not read
        self.send_response(status)
        for name, value in {**SENT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the search."""
