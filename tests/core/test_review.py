"""`reflectionflow review`: a local page that asks; only the browser that opened it is answered."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import webbrowser
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import toy_actors
from PIL import Image

from reflectionflow_core.archive import files, read_recording
from reflectionflow_core.cli import main
from reflectionflow_core.cli.review import ReviewPage

PROMPT = "a red cube"
SIZE = ("--width", "1", "--drafts", "2")
HTML = "<img src=x onerror=alert(1)> make it blue"
ROOT = Path(__file__).parent.parent.parent
KILLED = """
import sys
sys.path[:0] = ["tests"]
from fakes import toy_actors

from reflectionflow_core.cli import main
main(sys.argv[1:], build_actors=lambda *_: toy_actors())
"""


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


class Browser:
    """What a browser sends; it keeps its cookie."""

    def __init__(self, address: str) -> None:
        self.host, _, self.path = address.removeprefix("http://").partition("/")
        self.cookie = ""

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        known = {"Cookie": self.cookie} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=20)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, known)
        answer = connection.getresponse()
        if found := answer.getheader("Set-Cookie"):
            assert "HttpOnly" in found and "SameSite=Strict" in found
            self.cookie = found.partition(";")[0]
        assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
        read = answer.read()
        connection.close()
        return answer.status, read

    def open(self) -> int:
        return self.send("GET", f"/{self.path}")[0]

    def pause(self) -> dict[str, Any]:
        """The pause that waits; it may take a moment."""
        for _ in range(400):
            status, body = self.send("GET", "/pause")
            assert status == 200
            if found := json.loads(body)["pause"]:
                return found
            threading.Event().wait(0.02)
        raise AssertionError("There is no pause.")

    def answer(self, pause: dict[str, Any], said: Any, **headers: str) -> tuple[int, bytes]:
        return self.send("POST", f"/pauses/{pause['id']}", said, **headers)


@contextmanager
def reviewing(folder: Path, monkeypatch, *command: str) -> Iterator[tuple[Browser, list[int]]]:
    """The command in a thread, by default `review`, and a browser that knows its address."""
    pages, ended = [], []
    begun = threading.Event()
    entered = ReviewPage.__enter__

    def enter(page: ReviewPage) -> ReviewPage:
        pages.append(page)
        begun.set()
        return entered(page)

    monkeypatch.setattr(ReviewPage, "__enter__", enter)
    asked = command or ("review", str(folder))
    run = threading.Thread(
        target=lambda: ended.append(main(asked, build_actors=lambda *_: toy_actors()))
    )
    run.start()
    assert begun.wait(20)
    yield Browser(pages[0].address), ended
    run.join(20)
    assert not run.is_alive()


def begun(folder: Path, monkeypatch, depth: int = 1) -> Path:
    """A run that waits at its first pause."""
    monkeypatch.setattr("sys.stdin.readline", lambda: "stop\n", raising=False)
    size = [*SIZE, "--depth", str(depth)]
    command = ["run", PROMPT, "--out", str(folder), *size, "--ask"]
    assert main(command, build_actors=lambda *_: toy_actors()) == 0
    return folder


def black_mask() -> bytes:
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "PNG")
    return data.getvalue()


def test_a_person_steers_a_run_from_a_page(tmp_path, monkeypatch, capsys):
    folder = begun(tmp_path / "run", monkeypatch)
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or False)
    with reviewing(folder, monkeypatch, "review", str(folder), "--open") as (browser, ended):
        assert browser.open() == 303 and browser.send("GET", "/")[0] == 200
        pause = browser.pause()
        assert [each["number"] for each in pause["pictures"]] == [0, 1]
        assert browser.send("GET", f"/pauses/{pause['id']}/1")[1][:4] == b"\x89PNG"
        box = {"1": {"boxes": [[0.1, 0.1, 0.5, 0.5]], "mask": ""}}
        said = {"picked": 1, "vetoed": [0], "reflections": {"1": HTML}, "places": box, "prompt": ""}
        black = {"1": {"boxes": [], "mask": b64encode(black_mask()).decode()}}
        status, why = browser.answer(pause, {**said, "places": black})
        assert status == 400 and b"black all over" in why
        assert browser.answer(pause, said)[0] == 200
        last = browser.pause()
        assert last["ends"] and last["pictures"][-1]["reflection"] == HTML
        assert browser.answer(last, {"prompt": ""})[0] == 200
    assert ended == [0]
    first, second = read_recording(folder).history.feedback
    assert (first.picked, first.vetoed, dict(first.reflections)) == (1, (0,), {1: HTML})
    assert second.changes_nothing
    shown = capsys.readouterr().err
    assert "/?token=" in opened[0] and shown.count(opened[0]) == 2  # no browser: by hand
    assert shown.count("waits for your answer") == 2
    assert "<img src=x" not in (folder / "report.html").read_text("utf-8")


def test_stopping_keeps_what_was_chosen(tmp_path, monkeypatch, capsys):
    folder = begun(tmp_path / "run", monkeypatch, depth=2)
    with reviewing(folder, monkeypatch) as (browser, ended):
        browser.open()
        assert browser.answer(browser.pause(), {"picked": 0, "stop": True})[0] == 200
    assert ended == [0] and "--resume" in capsys.readouterr().err
    history = read_recording(folder).history
    assert len(history) == 2 and history.feedback[0].picked == 0


def test_strangers_and_hostile_requests_are_refused_and_the_pause_stays(tmp_path, monkeypatch):
    folder = begun(tmp_path / "run", monkeypatch)
    with reviewing(folder, monkeypatch) as (browser, _):
        stranger = Browser(f"http://{browser.host}/?token=wrong")
        assert stranger.open() == 403 and browser.open() == 303
        second = Browser(f"http://{browser.host}/{browser.path}")
        assert second.open() == 403  # the token opened the page already
        pause = browser.pause()
        answer = f"/pauses/{pause['id']}"
        for path in ("/", "/pause", "/panel.js", f"{answer}/0"):
            assert stranger.send("GET", path)[0] == 403
        assert stranger.send("POST", answer, {})[0] == 403
        for host in ("evil.example", "evil.example:80", "127.0.0.1", ""):
            assert browser.send("GET", "/pause", Host=host)[0] == 421
            assert browser.send("POST", answer, {}, Host=host)[0] == 421
        assert browser.answer(pause, {}, Origin="http://evil.example")[0] == 403
        for path in (
            *(f"{answer}/2", f"{answer}/-1", f"{answer}/0/../0", f"{answer}/%2e%2e", "/pauses/x/0"),
            *("/../../etc/passwd", "//etc/passwd", "/run.json", f"{answer}/0?x=/etc"),
        ):
            assert browser.send("GET", path)[0] in (200, 404)
            assert b"root:" not in browser.send("GET", path)[1]
        assert browser.send("POST", "/pauses/other", {})[0] == 404
        for length in ("10000000", "9" * 12, "-1", "x", "1e3"):
            assert browser.answer(pause, b"", Content_Length=length)[0] in (400, 411, 413)
        for body in (b"", b"{", b"[" * 100_000, b"[]", b"\xff", {"picked": 9}, {"path": "/etc"}):
            assert browser.answer(pause, body)[0] == 400
        for said in ({"prompt": "x" * 2001}, {"prompt": "\x00"}, {"vetoed": [0], "picked": 0}):
            assert browser.answer(pause, said)[0] == 400
        assert browser.pause()["id"] == pause["id"]
        assert browser.answer(pause, {"stop": True})[0] == 200
    assert not read_recording(folder).history.feedback


@pytest.mark.skipif(os.name == "nt", reason="There is no SIGKILL.")
def test_a_browser_that_goes_away_is_no_error_and_others_are_shown(capsys):
    with ReviewPage() as page:
        for error in (ConnectionResetError(), BrokenPipeError(), ValueError("broken")):
            try:
                raise error
            except (OSError, ValueError):
                page._server.handle_error(None, ("127.0.0.1", 1))
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_review_that_was_killed_asks_the_same_again(tmp_path, monkeypatch):
    folder = begun(tmp_path / "run", monkeypatch)
    before = (folder / "history.jsonl").read_bytes()
    command = [sys.executable, "-c", KILLED, "review", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = next(filter(None, (re.search(r"http\S+", line) for line in process.stderr)))[0]
        browser = Browser(address)
        browser.open()
        shown = browser.pause()
        process.send_signal(signal.SIGKILL)
    with reviewing(folder, monkeypatch) as (browser, _):
        browser.open()
        again = browser.pause()
        assert {**again, "id": ""} == {**shown, "id": ""}
        browser.answer(again, {"stop": True})
    assert (folder / "history.jsonl").read_bytes() == before


def test_a_new_run_asks_on_a_page_too(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    command = ("run", PROMPT, "--out", str(folder), *SIZE, "--depth", "1", "--review")
    with reviewing(folder, monkeypatch, *command) as (browser, ended):
        browser.open()
        assert browser.answer(browser.pause(), {"picked": 1, "stop": True})[0] == 200
    assert ended == [0]
    (said,) = read_recording(folder).history.feedback
    assert said.picked == 1


NEW = ["run", PROMPT, "--out", "new", "--review"]


@pytest.mark.parametrize(
    "command",
    [
        ["review", "nowhere"],
        ["review", ""],
        ["review", ".", "--port", "70000"],
        ["review", "."],
        [*NEW, "--ask"],
        [*NEW, "--quiet"],
        ["run", "--prompts", "many.txt", "--out", "new", "--review"],
    ],
)
def test_what_cannot_be_reviewed_is_said(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main(command, build_actors=lambda *_: toy_actors()) == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err.startswith("reflectionflow: ")
