"""Servers that mean harm: no key leaves or is shown, nothing crashes, memory and time are bounded,
and what is said of it is one sentence.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from vlm_asking import FAST, KEY, WHAT, endpoint_of
from vlm_server import MODEL, Asked, Reply, VlmServer, says

from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.judge_check import probe
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

HURRIED = replace(FAST, seconds=1.5, tries=1)
MEMORY = 32 * 2**20  # bytes of Python's own that one question may take
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = says("yes").body
Behaviour = Callable[[socket.socket], None]


@contextmanager
def raw_server(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The base_url of a server that reads a request and then does as it likes."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with suppress(OSError, ssl.SSLError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(5)
                _read_request(connection)
                behave(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/v1"


def _read_request(connection: socket.socket) -> None:
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = got.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-le")),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536) or b" " * length


def asked(url: str, limits: RequestLimits = HURRIED) -> str:
    (answer,) = Endpoint(Profile("mine", url, KEY, MODEL), limits).chat([WHAT])
    reason = answer.reason if isinstance(answer, Failure) else answer
    assert KEY not in reason and "\n" not in reason and len(reason) < 400
    return reason


def _sends(*parts: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return behave


def _packed(body: bytes, how: str) -> bytes:
    return HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (how.encode(), len(body))


def _bomb(size: int) -> bytes:
    """Gzip of `size` bytes of nothing, which takes a thousandth of them."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    million = bytes(2**20)
    return b"".join(packing.compress(million) for _ in range(size >> 20)) + packing.flush()


def _endless_chunks(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall((b"400\r\n" + b" " * 1024 + b"\r\n") * 50)


def _slow_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    while True:
        connection.sendall(b"X-A: b\r\n")
        time.sleep(0.2)


def _dripping(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def _endless_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    while True:
        connection.sendall(b"X-Flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 200)


BOMB = _bomb(200 * 2**20)
WITH_LENGTH = HEAD + b"Content-Length: %d\r\n\r\n"
CLOSED = "The endpoint mine closed the connection; check the server's log."
LARGE = "The endpoint mine answered with more than 4538368 bytes; ask another model."
SLOW = 'The endpoint mine took longer than 1.5 seconds; give its profile more "seconds", or less "'
HARM: dict[str, tuple[Behaviour, str]] = {
    "100 MB": (_sends(WITH_LENGTH % (100 * 2**20), *[bytes(2**20)] * 100), LARGE),
    "gzip bomb": (_sends(_packed(BOMB, "gzip"), BOMB), LARGE),
    "deflate bomb": (_sends(_packed(BOMB, "deflate"), BOMB), LARGE),
    "gzip bomb under 500": (
        _sends(_packed(BOMB, "gzip").replace(b"200 OK", b"500 No"), BOMB),
        "The endpoint mine answered 500 (internal server error);",
    ),
    "gzip that ends early": (
        _sends(_packed(gzip.compress(GOOD)[:-9], "gzip"), gzip.compress(GOOD)[:-9]),
        CLOSED,
    ),
    "an encoding that nobody asked for": (_sends(_packed(GOOD, "br"), GOOD), CLOSED),
    "endless chunks": (_endless_chunks, LARGE),
    "chunks of no number": (_sends(HEAD, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), CLOSED),
    "endless headers": (_endless_headers, CLOSED),
    "one long header": (_sends(HEAD, b"X-Long: ", *[b"a" * 2**20] * 4), CLOSED),
    "headers one by one": (_slow_headers, SLOW),
    "a byte now and then": (_dripping, SLOW),
    "less than announced": (_sends(WITH_LENGTH % 5000, GOOD), CLOSED),
    "less than nothing": (_sends(HEAD, b"Content-Length: -1\r\n\r\n", GOOD), CLOSED),
    "two lengths": (_sends(HEAD, b"Content-Length: 3\r\nContent-Length: 9\r\n\r\n", GOOD), CLOSED),
    "no status": (_sends(b"HTTP/1.1 banana\r\n\r\n"), CLOSED),
    "a status of its own": (
        _sends(b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"),
        "The endpoint",
    ),
}


@pytest.mark.parametrize("name", HARM)
def test_harm_is_one_sentence_in_little_time_and_memory(name: str) -> None:
    behave, words = HARM[name]
    with raw_server(behave) as url:
        asked(url)  # what is imported with the first question is not counted
        tracemalloc.start()
        began = time.monotonic()
        reason = asked(url)
        took, (_, most) = time.monotonic() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert reason.startswith(words), reason
    assert took < 20 and most < MEMORY, (took, most)


def test_packed_answers_of_an_honest_server_are_read() -> None:
    packed = {
        "gzip": gzip.compress(GOOD),
        "deflate": zlib.compress(GOOD),
        "": GOOD,
    }
    for how, body in packed.items():
        with raw_server(_sends(_packed(body, how or "identity"), body)) as url:
            assert asked(url) == "yes"


def test_a_server_that_answers_more_than_announced_is_read_as_announced() -> None:
    with raw_server(_sends(WITH_LENGTH % len(GOOD), GOOD, b"HTTP/1.1 200 OK\r\n\r\nmore")) as url:
        assert asked(url) == "yes"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_other_host_hears_nothing(status: int) -> None:
    with VlmServer([says("yes")]) as other:
        elsewhere = Reply(b"", status, {"Location": f"{other.url}/chat/completions?key={KEY}"})
        with VlmServer([elsewhere]) as server:
            (failure,) = endpoint_of(server, HURRIED).chat([WHAT])
        assert isinstance(failure, Failure) and f"answered {status}" in failure.reason
        assert failure.reason.endswith("put that one into the base_url of its profile.")
        assert not other.connections and KEY not in failure.reason


def escaped(key: str) -> str:
    return "".join(f"\\u{ord(sign):04x}" for sign in key)


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "escaped": escaped,
    "escaped twice": lambda key: escaped(key).replace("\\", "\\\\"),
    "behind many backslashes": lambda key: escaped(key).replace("\\", "\\" * 40),
    "backwards in pieces": lambda key: " ".join(key[i : i + 9] for i in range(0, len(key), 9)),
    "upper case": str.upper,
    "percent": lambda key: "".join(f"%{ord(sign):02X}" for sign in key),
    "HTML": lambda key: "".join(f"&#{ord(sign)};" for sign in key),
    "with zero-width spaces": "\u200b".join,
    "header": lambda key: f"Authorization: Bearer {key}",
}


@pytest.mark.parametrize("place", ["answer", "error", "refusal"])
@pytest.mark.parametrize("how", ECHOES)
def test_a_key_that_is_echoed_is_not_shown_however_it_is_written(how: str, place: str) -> None:
    def echo(request: Asked) -> Reply:
        words = f"you are {ECHOES[how](KEY)}, and sent {json.dumps(dict(request.headers))}"
        if place == "error":
            return Reply(json.dumps({"error": {"message": words}}).encode(), 400)
        reply = json.loads(says(words).body)
        if place == "refusal":
            reply["choices"][0]["message"] = {"content": None, "refusal": words}
        return Reply(json.dumps(reply).encode())

    with VlmServer(echo) as server:
        endpoint = endpoint_of(server, HURRIED)
        (answer,) = endpoint.chat([WHAT])
        found = probe(endpoint)
    shown = [answer.reason if isinstance(answer, Failure) else answer, found.problem]
    letters = ["".join(filter(str.isalnum, text)).casefold() for text in shown]
    pieces = [KEY[i : i + 8].casefold().replace("-", "") for i in range(len(KEY) - 8)]
    assert not [piece for text in letters for piece in pieces if len(piece) == 8 and piece in text]


def test_plain_http_behind_an_https_address_says_so() -> None:
    with VlmServer([says("yes")]) as server:
        reason = asked(server.url.replace("http:", "https:"))
    words = "does not speak TLS; begin its base_url with http:// instead."
    assert reason == f"The endpoint mine {words}"


def test_a_certificate_that_nobody_signed_is_not_trusted_and_gets_no_key(tmp_path: Path) -> None:
    heard: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))

    def listen(connection: socket.socket) -> None:
        heard.append(b"a request")

    with raw_server(listen, context) as url:
        reason = asked(url)
    assert reason.startswith("The endpoint mine has a certificate that is not trusted"), reason
    assert heard == []


def test_a_server_that_refuses_tls_is_asked_once_and_says_so() -> None:
    """This one has no certificate at all, so it ends every handshake with an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with raw_server(lambda _: None, context) as url:
        reason = asked(url)
    assert reason.startswith("The endpoint mine refused the TLS connection ("), reason
    assert "times" not in reason


def _certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file, made by openssl."""
    file = folder / "both.pem"
    asked_for = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
        "-keyout",
    ]
    names = ["-subj", "/CN=127.0.0.1", "-out", str(folder / "cert.pem")]
    command = ["openssl", *asked_for, str(file), *names]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("openssl is not here, which makes the certificate of this test")
    file.write_bytes(file.read_bytes() + (folder / "cert.pem").read_bytes())
    return file
