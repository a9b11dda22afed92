"""A server of a vision-language model on the loopback that answers as scripted, or misbehaves.

    with VlmServer([too_many(), says("yes")]) as server:
        Endpoint(Profile("mine", server.url, "", "toy")).chat(...)

It speaks POST /v1/chat/completions and GET /v1/models, and knows nothing of our client.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "toy-vlm"


@dataclass(frozen=True)
class Asked:
    """One request: its place in the order of arrival from 0, its JSON, headers in lower case."""

    number: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def key(self) -> str:
        return self.headers["authorization"]

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        contents = [message["content"] for message in self.body["messages"]]
        return [
            part
            for content in contents
            for part in (
                [{"type": "text", "text": content}] if isinstance(content, str) else content
            )
        ]

    @property
    def text(self) -> str:
        return "\n".join(part["text"] for part in self.parts if part["type"] == "text")

    @property
    def pictures(self) -> list[str]:
        """Data URLs."""
        return [part["image_url"]["url"] for part in self.parts if part["type"] == "image_url"]


@dataclass(frozen=True)
class Reply:
    """What is sent; times in seconds. `announced` is a Content-Length other than the true one."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0  # before the first byte
    drip: float = 0.0  # before every further byte of the body
    announced: int | None = None
    reset: bool = False
    endless: bool = False
    bare: bool = False  # the body alone, without a status or headers


Script = Callable[[Asked], Reply] | Sequence[Reply]


def says(
    *contents: str | None,
    tops: Mapping[str, float] | None = None,
    tokens: object = (10, 5),
    finish: str = "stop",
    **how: Any,
) -> Reply:
    """A chat completion with these texts; `tops` are the log-probabilities of first tokens."""
    likely = [{"token": token, "logprob": logprob} for token, logprob in (tops or {}).items()]
    written = [top for top in likely if top["token"] == contents[0]] or likely
    logprobs = {"content": [{**written[0], "top_logprobs": likely}]} if likely else None
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": content},
            "finish_reason": finish,
            "logprobs": logprobs,
        }
        for index, content in enumerate(contents)
    ]
    reply = {"id": "1", "object": "chat.completion", "model": MODEL, "choices": choices}
    if isinstance(tokens, tuple):
        reply["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return Reply(json.dumps(reply).encode(), **how)


def refuses(status: int, message: str = "", **headers: str) -> Reply:
    return Reply(json.dumps({"error": {"message": message}}).encode(), status, headers)


def too_many(retry_after: str = "0.001") -> Reply:
    return refuses(429, "slow down", **{"Retry-After": retry_after})


def cut(content: str) -> Reply:
    """The connection ends in the middle of what was announced."""
    whole = says(content).body
    return Reply(whole[: len(whole) // 2], announced=len(whole))


def echoed(asked: Asked, status: int) -> Reply:
    return refuses(status, f"cannot take the key {asked.key}")


class VlmServer:
    """Answers each request as `script` says: a function of it, or replies in order of arrival, the
    last one for ever. `asked` are the requests so far, `answered` the same in the order in which
    they were answered, `errors` what went wrong in here."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._busy = 0
        self.asked: list[Asked] = []
        self.answered: list[Asked] = []
        self.errors: list[BaseException] = []
        self.most_at_once = 0
        self.connections = 0
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"vlm": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.vlm = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> VlmServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def reply_to(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        """The script's answer, after its wait."""
        with self._lock:
            asked = Asked(len(self.asked), body, headers)
            self.asked.append(asked)
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
        try:
            if callable(self._script):
                reply = self._script(asked)
            else:
                reply = self._script[min(asked.number, len(self._script) - 1)]
            self.closing.wait(reply.wait)
            return reply
        finally:
            with self._lock:  # before the answer is sent: with it the client may ask again
                self._busy -= 1
                self.answered.append(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    vlm: VlmServer

    def get_request(self) -> Any:
        self.vlm.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        import sys

        if (error := sys.exc_info()[1]) and not isinstance(error, ConnectionError):
            self.vlm.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms
    vlm: VlmServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
        self._send(Reply(json.dumps(models).encode()))

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if len(sent := self.rfile.read(length)) < length:
            self.close_connection = True  # on a busy machine a request runs out of time half sent
            return
        body = json.loads(sent)
        if self.path != "/v1/chat/completions":
            self._send(refuses(404, "no such path"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.vlm.reply_to(body, headers)
        with suppress(ConnectionError):
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.reset:
            # Lingering for no time makes of a close a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if reply.bare:
            self.connection.sendall(reply.body)
            self.close_connection = True
            return
        length = len(reply.body) if reply.announced is None else reply.announced
        lines = [f"HTTP/1.1 {reply.status} Whatever", "Content-Type: application/json"]
        if reply.endless:
            lines.append("Connection: close")
        else:
            lines.append(f"Content-Length: {length}")
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.close_connection = reply.endless or length != len(reply.body)
        if reply.drip:
            self._drip(head, reply)
        elif reply.endless:
            self.connection.sendall(head)
            while not self.vlm.closing.is_set():
                self.connection.sendall(reply.body)
        else:
            self.connection.sendall(head + reply.body)

    def _drip(self, head: bytes, reply: Reply) -> None:
        self.connection.sendall(head)
        for byte in reply.body:
            if self.vlm.closing.wait(reply.drip):
                self.close_connection = True
                return
            self.connection.sendall(bytes([byte]))
