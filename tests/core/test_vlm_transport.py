"""What stands between us and a server: certificates, proxies, headers, a pace."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vlm_asking import FAST, KEY, WHAT, numbered
from vlm_server import MODEL, VlmServer, says

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that nobody has signed, and its key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make a certificate")
    file = tmp_path_factory.mktemp("ca") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *more, "-keyout", file, "-out", file.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[VlmServer]:
    server = VlmServer([says("yes")])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server


def test_a_certificate_is_trusted_by_the_file_that_the_profile_names(
    secure: VlmServer, certificate: Path
) -> None:
    url = secure.url.replace("http:", "https:")
    told = Endpoint(Profile("mine", url, KEY, MODEL), FAST).chat([WHAT])
    assert isinstance(told[0], Failure)
    assert told[0].reason.startswith(
        "The endpoint mine has a certificate that is not trusted (self"
    )
    assert '"ca_file"' in told[0].reason and not secure.asked
    trusting = Profile("mine", url, KEY, MODEL, ca_file=str(certificate.with_suffix(".crt")))
    assert Endpoint(trusting, FAST).chat([WHAT]) == ["yes"]


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    profile = Profile("mine", "https://127.0.0.1:1/v1", KEY, MODEL, ca_file=str(file))
    with pytest.raises(InputError, match="ca_file of profile 'mine' contains no certificates"):
        Endpoint(profile, FAST).chat([WHAT])


def test_a_socks_proxy_without_its_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:1")
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    endpoint = Endpoint(Profile("mine", "http://somewhere.invalid/v1", KEY, MODEL), FAST)
    with pytest.raises(InputError, match=r"SOCKS proxy .* `pip install socksio`"):
        endpoint.chat([WHAT])


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("SSL_CERT_FILE", "/nowhere.pem", r"certificates that cannot be read \(SSL_CERT_FILE\)"),
        ("HTTPS_PROXY", "http://user:secret@proxy:port", "proxy with an address that is not valid"),
        ("HTTPS_PROXY", "ftp://proxy:80", "proxy with an address that is not valid"),
    ],
)
def test_an_environment_that_no_client_can_use_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=why) as refused:
        Endpoint(Profile("mine", "https://somewhere.invalid/v1", KEY, MODEL), FAST).chat([WHAT])
    assert "secret" not in str(refused.value)


def test_the_headers_of_a_profile_go_with_every_request() -> None:
    with VlmServer([says("yes")]) as server:
        headers = {"X-Title": " pictures ", "HTTP-Referer": "https://example.org"}
        Endpoint(Profile("mine", server.url, KEY, MODEL, headers=headers), FAST).chat(numbered(2))
    assert len(server.asked) == 2  # a blank around a value cannot be sent
    for asked in server.asked:
        assert asked.headers["x-title"] == "pictures" and asked.key == f"Bearer {KEY}"
        assert asked.headers["http-referer"] == "https://example.org"


def test_the_fields_of_a_profile_go_with_every_request_and_come_first() -> None:
    with VlmServer([says("yes")]) as server:
        extra = {"temperature": 0.5, "provider": {"only": ["a"]}}
        Endpoint(Profile("mine", server.url, KEY, MODEL, extra=extra), FAST).chat([WHAT])
    (asked,) = server.asked
    assert asked.body["temperature"] == 0.5 and asked.body["provider"] == {"only": ["a"]}


def test_requests_begin_no_faster_than_the_profile_allows() -> None:
    with VlmServer([says("yes")]) as server:
        profile = Profile("mine", server.url, KEY, MODEL, requests_per_minute=600)
        assert Endpoint(profile).limits.per_minute == 600
        endpoint = Endpoint(profile, replace(FAST, per_minute=600))
        began = time.monotonic()
        endpoint.chat(numbered(4))
        threads = [threading.Thread(target=endpoint.chat, args=([WHAT],)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.monotonic() - began >= 0.5  # six requests, a tenth of a second apart
    assert len(server.asked) == 6


def test_samples_of_a_profile_are_the_most_that_are_drawn() -> None:
    with VlmServer(lambda a: says("yes" if a.number % 2 else "no")) as server:
        profile = Profile("mine", server.url, KEY, MODEL, samples=4)
        Endpoint(profile, RequestLimits(pause=0.001)).choose([WHAT], ("yes", "no"))
    assert len(server.asked) == 1 + 4
