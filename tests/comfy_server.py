"""A real ComfyUI as a subprocess with this pack in it, and a small client for its API.

    server = ComfyServer(folder).start()
    run = server.run(graph)            # graph: API format; waits, and returns what /history knows
    run.images("9"), run.text("10"), run.error
    server.stop()

ComfyUI is found through COMFYUI_PATH and COMFYUI_PYTHON. It is never imported here: our own package
`nodes` would stand before ComfyUI's. Nothing outside `folder` is written to.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PROBE = Path(__file__).parent / "nodes" / "probe"
PACK = "rf-pack"  # not our own name: users rename folders
FOLDERS = ("custom_nodes", "models/diffusers", "models/loras", "input", "output", "temp", "user")
UNNEEDED = ("*.git", ".venv", "tests", "train", "runs", "docs", "__pycache__")
START_SECONDS = 400  # on a machine with other work
HUNG_S = 1800  # a script that takes longer hangs
NO_COMFYUI = "ComfyUI is not here; set COMFYUI_PATH to its folder and COMFYUI_PYTHON to its Python"
NO_BROWSER = "A browser is not here; put Chromium or Chrome on the PATH, and install playwright"

REQUIRE = "REFLECTIONFLOW_REQUIRE_COMFYUI"

# Most scripted servers know nothing of plain pictures: who tests the check of judges sets it.
USUAL = {"OMP_NUM_THREADS": "1", "REFLECTIONFLOW_JUDGE_CHECK": "off"}

CLIENT = "tests"  # without a client ComfyUI leaves what was cached out of its history

Graph = Mapping[str, Mapping[str, Any]]


class ComfyError(Exception):
    """ComfyUI did not start, or did not answer as it should."""


class Rejected(ComfyError):  # noqa: N818  (what ComfyUI does is no error of the test)
    """POST /prompt said no; `body` is what it said."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(json.dumps(body, indent=1))
        self.body = body

    @property
    def messages(self) -> list[str]:
        """What is wrong with each node, in words."""
        errors = [e for node in self.body["node_errors"].values() for e in node["errors"]]
        return [f"{e['message']}: {e['details']}" for e in errors]


def find_comfyui() -> tuple[Path, Path] | None:
    """ComfyUI's folder and its Python, or None where they are not."""
    folder = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()
    inside = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")
    usual = folder.parent / "venv" / inside
    python = Path(os.environ.get("COMFYUI_PYTHON", usual)).expanduser()
    return (folder, python) if (folder / "main.py").is_file() and python.exists() else None


def demand_comfyui() -> None:
    if find_comfyui() is None:
        do_without(NO_COMFYUI)


def found_by(script: str, *options: str, comfy: tuple[Path, Path] | None = None) -> Any:
    """What a script of tests/nodes prints last, as JSON, in ComfyUI's own Python and without a
    server: that of `comfy`, its folder and Python, or the one that is found. Each script runs once.
    """
    if comfy is None:
        demand_comfyui()
    comfyui, python = comfy or find_comfyui() or (Path(), Path())
    path = ROOT / "tests" / "nodes" / script
    done = _outcome((str(python), str(path), str(comfyui), str(ROOT), *options))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@cache
def _outcome(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    # Here and not around the tests' own functions: `cache` forgets what ends with an exception.
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=HUNG_S, check=False)
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def do_without(missing: str) -> NoReturn:
    """Skips a test for want of something, or fails it where nothing may be wanting."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{missing} ({REQUIRE} is 1)", pytrace=False)
    pytest.skip(missing)


@dataclass(frozen=True)
class Run:
    """What ComfyUI remembers of one finished prompt."""

    server: ComfyServer
    prompt_id: str
    entry: Mapping[str, Any]

    @property
    def status(self) -> str:
        """success, error, or interrupted."""
        kinds = [kind for kind, _ in self.entry["status"]["messages"]]
        return (
            "interrupted"
            if "execution_interrupted" in kinds
            else self.entry["status"]["status_str"]
        )

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        return self.entry["outputs"]

    @property
    def cached(self) -> set[str]:
        """The nodes of the graph that were answered from ComfyUI's cache."""
        return set(self.message("execution_cached").get("nodes", ()))

    @property
    def error(self) -> str:
        return self.message("execution_error").get("exception_message", "").strip()

    def message(self, kind: str) -> Mapping[str, Any]:
        return next((m for k, m in self.entry["status"]["messages"] if k == kind), {})

    def shown_at(self, node: str) -> list[Mapping[str, Any]]:
        """What appeared on a node of the graph, its children's outputs included, in order."""
        meta = self.entry["meta"]
        return [self.outputs[n] for n in sorted(meta) if meta[n]["display_node"] == node]

    def text(self, node: str) -> str:
        return "\n".join(map(str, self.outputs[node]["text"]))

    def texts(self, node: str) -> list[str]:
        return list(self.outputs[node]["text"])

    def images(self, node: str) -> list[Image.Image]:
        return [self.server.picture(image) for image in self.outputs[node]["images"]]

    def pixels(self, node: str) -> list[bytes]:
        return [image.convert("RGB").tobytes() for image in self.images(node)]


@dataclass
class ComfyServer:
    """One ComfyUI with a base folder of its own; `start` may be called again after `kill`."""

    base: Path
    pack: str = PACK
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: Sequence[str] = ()
    process: subprocess.Popen | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def log_file(self) -> Path:
        return self.base / "comfy.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def start(self) -> ComfyServer:
        found = find_comfyui()
        if found is None:
            raise ComfyError(NO_COMFYUI)
        folder, python = found
        self._furnish()
        self.port = free_port()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [str(python), str(folder / "main.py"), *self._arguments()],
                cwd=self.base,
                env=os.environ | USUAL | dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_it_answers()
        return self

    def _furnish(self) -> None:
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        linked(ROOT, self.base / "custom_nodes" / self.pack)
        linked(PROBE, self.base / "custom_nodes" / "probe")

    def _arguments(self) -> list[str]:
        return [
            *("--cpu", "--port", str(self.port), "--base-directory", str(self.base)),
            *("--user-directory", str(self.base / "user")),
            *("--database-url", f"sqlite:///{(self.base / 'comfy.db').as_posix()}"),
            *("--disable-api-nodes", "--disable-all-custom-nodes"),
            *("--whitelist-custom-nodes", self.pack, "probe", *self.flags),
        ]

    def _wait_until_it_answers(self) -> None:
        assert self.process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise ComfyError(f"ComfyUI did not start. The end of its log:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Ends it, gently if it lets itself be; safe to call twice."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    # ------------------------------------------------------------------ its API

    def get(self, path: str) -> Any:
        return json.loads(self.fetch(path))

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def object_info(self, node: str = "") -> dict[str, Any]:
        return self.get(f"/object_info/{node}" if node else "/object_info")

    def queue(self, graph: Graph, client_id: str = CLIENT, **extra_data: Any) -> str:
        """The prompt's id; raises Rejected if it was refused."""
        body = {"prompt": graph, "client_id": client_id, "extra_data": extra_data}
        try:
            return json.loads(self.post("/prompt", body))["prompt_id"]
        except urllib.error.HTTPError as refused:
            raise Rejected(json.loads(refused.read())) from None

    def wait(self, prompt_id: str, seconds: float = 120) -> Run:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := self.get(f"/history/{prompt_id}"):
                return Run(self, prompt_id, found[prompt_id])
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.03)
        raise ComfyError(f"{prompt_id} did not finish. The end of the log:\n{self.log[-4000:]}")

    def run(self, graph: Graph, client_id: str = CLIENT, seconds: float = 120, **extra: Any) -> Run:
        """Queues, waits; a run that failed has `status` error, and raises nothing."""
        return self.wait(self.queue(graph, client_id, **extra), seconds)

    def succeed(
        self, graph: Graph, client_id: str = CLIENT, seconds: float = 120, **extra: Any
    ) -> Run:
        """Like `run`, for a graph that must not fail."""
        run = self.run(graph, client_id, seconds, **extra)
        if run.status != "success":
            raise ComfyError(f"{run.status}: {run.error or run.entry['status']}")
        return run

    def interrupt(self) -> None:
        self.post("/interrupt")

    def unload(self) -> None:
        """The button "Unload Models"."""
        self._free(unload_models=True)

    def forget(self) -> None:
        """The button "Free model and node cache"."""
        self._free(unload_models=True, free_memory=True)

    def _free(self, **what: bool) -> None:
        # ComfyUI does it in its own thread, which may sleep for minutes if it was just going to:
        # then it needs another request.
        self.post("/free", what)
        asked = time.monotonic()
        while self.state()["flags"]:
            time.sleep(0.02)
            if time.monotonic() - asked > 1:
                self.post("/free", what)
                asked = time.monotonic()

    def queue_is_empty(self) -> bool:
        queue = self.get("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def view(self, image: Mapping[str, str]) -> bytes:
        """The file of an image that an output names."""
        return self.fetch(f"/view?{urllib.parse.urlencode(image)}")

    def picture(self, image: Mapping[str, str]) -> Image.Image:
        return Image.open(io.BytesIO(self.view(image)))

    def state(self) -> dict[str, Any]:
        """What the probe sees inside: see tests/nodes/probe."""
        return self.get("/probe/state")

    @contextmanager
    def listening(self, client_id: str) -> Iterator[Listener]:
        """A websocket as a browser has it."""
        import websocket

        address = f"ws://127.0.0.1:{self.port}/ws?clientId={client_id}"
        connection = websocket.create_connection(address, timeout=120)
        try:
            yield Listener(connection)
        finally:
            connection.close()


@dataclass
class Listener:
    """The messages that ComfyUI sends to one client."""

    connection: Any
    messages: list[dict[str, Any]] = field(default_factory=list)
    binaries: list[bytes] = field(default_factory=list)

    def next(self) -> dict[str, Any] | bytes:
        received = self.connection.recv()
        if isinstance(received, bytes):
            self.binaries.append(received)
            return received
        self.messages.append(json.loads(received))
        return self.messages[-1]

    def until(self, kind: str, **data: Any) -> dict[str, Any]:
        """Listens until a message of this kind, whose data holds all that is given."""
        while True:
            message = self.next()
            if isinstance(message, bytes):
                continue
            found = message["data"]
            if message["type"] == kind and found.items() >= data.items():
                return found
            if message["type"] == "executing" != kind and found["node"] is None:
                raise ComfyError(f"A run was over before there was any {kind} with {data}.")

    def until_over(self, prompt_id: str) -> None:
        self.until("executing", node=None, prompt_id=prompt_id)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message["data"] for message in self.messages if message["type"] == kind]

    def executed_nodes(self) -> list[str]:
        """Every node that really ran, children of an expansion by their own ids."""
        return [event["node"] for event in self.of("executing") if event["node"]]


def linked(folder: Path, place: Path) -> None:
    """`folder` at `place`: as a link, or as a copy on Windows, which asks for rights to link."""
    if place.exists():
        return
    if sys.platform == "win32":
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns(*UNNEEDED))
    else:
        place.symlink_to(folder, target_is_directory=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
