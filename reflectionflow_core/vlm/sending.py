"""Sends a request to an OpenAI-compatible server, with retries; does not interpret the answer.

The package openai sends it. Its own retries are off, so that every request is counted; redirects
are off, so that key and pictures are only sent to the profile's address.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..allowance import give_back_calls, take_calls
from ..record import InputError
from ..texts import user_path
from .bodies import UnreadableBodyError, read_body
from .parallel import say_from_within
from .profiles import CONCURRENCY, SECONDS, Profile, is_loopback
from .server_errors import ServerError, error_in, error_of_status, parsed, parsed_events

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MAX_BYTES = 2**22  # bytes of a response besides its tokens; some do not limit thoughts
TOKEN_BYTES, LOGPROB_BYTES = 512, 160  # bytes per token, also of a stream, and log-probability
MOST_BYTES = 2**26  # most bytes of any response
MAX_ERROR_BYTES = 2**14  # bytes read of an error's body
HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
# Some servers reject requests without a user agent; the client itself uses the last header.
HEADERS |= {"user-agent", "x-stainless-raw-response"}
UNREACHABLE = ("ConnectError", "ConnectTimeout")  # transport errors before anything was sent
LOADING_PAUSE = 2.0  # seconds between requests to a server that is loading its model
SILENT_SECONDS = 5.0  # longer waits and repetitions of a request are reported


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Timeouts and retries of requests to one server; times in seconds."""

    concurrency: int = CONCURRENCY  # concurrent requests
    connect_seconds: float = 10.0
    seconds: float = SECONDS  # time of a request, from its first byte to the last of its response
    tries: int = 4  # tries per request
    pause: float = 0.5  # pause before the second try; doubled before each further one
    longest_pause: float = 60.0  # longest pause; no retry if the server asks for a longer one
    per_minute: float = 0.0  # requests per minute; 0: unlimited
    loading_seconds: float = 120.0  # time for a server to load its model without using up a try

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.tries < 1 or min(self.connect_seconds, self.seconds) <= 0:
            raise InputError(
                f"{self}: concurrency and tries must be at least 1, and times above 0 seconds."
            )


class Pace:
    """Spreads requests evenly, at most `per_minute` a minute, over all threads."""

    def __init__(self, per_minute: float = 0.0) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._next, self._lock = 0.0, Lock()

    async def turn(self) -> None:
        """Waits until the next request may be sent."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._seconds
        if at > now:
            await asyncio.sleep(at - now)


class SendError(Exception):
    """A failed request; internal to this package.

    `what` continues "The endpoint mine" in messages. `retry`: another try may help; `sent`: the
    request was sent. `error` is what the server said, in `body`; both may contain keys and must be
    filtered.
    """

    def __init__(
        self,
        what: str,
        advice: str,
        retry: bool = False,
        sent: bool = True,
        error: ServerError | None = None,
        body: str = "",
    ) -> None:
        super().__init__(what)
        self.what, self.advice, self.retry, self.sent = what, advice, retry, sent
        self.error, self.said, self.times = error or ServerError(0), body, 1

    @property
    def status(self) -> int:
        """The HTTP status, also of an error in a body; 0 if there is none."""
        return self.error.status


def _reported(error: ServerError, body: str) -> SendError:
    return SendError(error.what, error.advice, error.may_pass, error=error, body=body)


@asynccontextmanager
async def open_client(profile: Profile, limits: RequestLimits) -> AsyncIterator[AsyncOpenAI]:
    """A client for the profile's server that tries each request once."""
    import openai

    trusted = _trusted(profile)
    try:
        transport = openai.DefaultAsyncHttpxClient(
            event_hooks={"request": [_only_ours(profile)], "response": [_raise_for_status]},
            follow_redirects=False,
            trust_env=not is_loopback(profile.base_url),  # no proxy for this machine
            verify=trusted,
        )
    except ImportError:
        raise InputError(
            "The environment names a SOCKS proxy (ALL_PROXY or HTTPS_PROXY), which needs one more "
            "package. Run `pip install socksio`, or unset the variable."
        ) from None
    except OSError:  # includes ssl's own errors
        raise InputError(
            "The environment names certificates that cannot be read (SSL_CERT_FILE). Correct the "
            "variable, or unset it."
        ) from None
    except Exception:  # its classes depend on the client's version; a proxy may hold a password
        raise InputError(
            "The environment names a proxy with an address that is not valid (ALL_PROXY, "
            "HTTP_PROXY or HTTPS_PROXY). Write it like http://example.org:8080, or unset it."
        ) from None
    async with openai.AsyncOpenAI(
        base_url=profile.base_url,
        api_key=profile.api_key or "none",  # required by the client; see _only_ours
        timeout=openai.Timeout(limits.seconds, connect=limits.connect_seconds),
        max_retries=0,
        http_client=transport,
    ) as client:
        yield client


async def send(
    client: AsyncOpenAI,
    body: Mapping[str, Any],
    limits: RequestLimits,
    count: Callable[[], None],
    pace: Pace,
    who: str,
) -> tuple[bytes, float]:
    """The body of the response, and the seconds of the request that brought it.

    Calls `count` for each request sent, and reports long waits in sentences that begin with `who`.
    Raises SendError, and NoCallsLeftError before a request that the budget does not allow.
    """
    seen: list[str] = []
    began = time.monotonic()
    while True:
        await pace.turn()
        sent = time.monotonic()
        try:
            raw = await _send_once(client, body, limits, count)
            return raw, time.monotonic() - sent
        except SendError as error:
            if error.error.is_loading and time.monotonic() - began < limits.loading_seconds:
                most = f"{limits.loading_seconds:g} seconds"
                say_from_within(f"{who} loads its model and is waited for, at most {most}.")
                await asyncio.sleep(min(LOADING_PAUSE, limits.longest_pause))
                continue
            seen.append(error.what)
            error.times = seen.count(error.what)
            if not error.retry or len(seen) >= limits.tries:
                raise
            if error.error.wait > limits.longest_pause * (limits.tries - len(seen)):
                error.what += f", and asks to wait {error.error.wait:.0f} seconds"
                raise
            pause = limits.pause * 2 ** (len(seen) - 1) * random.uniform(0.5, 1)
            pause = min(max(pause, error.error.wait), limits.longest_pause)
            if time.monotonic() + pause - began > SILENT_SECONDS:
                say_from_within(f"{who} {error.what}; it is asked again in {pause:.0f} seconds.")
            await asyncio.sleep(pause)


async def _send_once(
    client: AsyncOpenAI, body: Mapping[str, Any], limits: RequestLimits, count: Callable[[], None]
) -> bytes:
    take_calls()
    sent = True  # even if cancelled: the server may be working on it
    try:
        # The client's timeouts are between bytes; a slow response would never exceed them.
        return await asyncio.wait_for(_post(client, body, limits), limits.seconds)
    except asyncio.TimeoutError:
        raise _too_slow(limits) from None
    except SendError as error:
        sent = error.sent
        raise
    finally:
        if sent:
            count()
        else:
            give_back_calls()


async def _post(client: AsyncOpenAI, body: Mapping[str, Any], limits: RequestLimits) -> bytes:
    import openai

    create: Any = client.chat.completions.with_streaming_response.create
    try:
        # An extra body is sent as it is; converting typed messages takes the client as long as all
        # the rest and changes nothing.
        async with create(model=body["model"], messages=[], extra_body=body) as response:
            raw = await _whole(response.http_response, _most_bytes(body))
    except openai.APIConnectionError as error:
        cause = error.__cause__
        if isinstance(cause, SendError):  # raised by our hook; older clients wrap it
            raise cause from None
        if untrusted := _untrusted(cause):
            raise untrusted from None
        if type(cause).__name__ in UNREACHABLE:
            raise SendError(
                "could not be reached",
                "check that it runs, and its base_url",
                retry=True,
                sent=False,
            ) from None
        if isinstance(error, openai.APITimeoutError):
            raise _too_slow(limits) from None
        raise _broken() from None
    text = raw.decode("utf-8", "replace")
    found = parsed(raw)
    if error := error_in(parsed_events(raw) if found is None else found, text):
        raise _reported(error, text)
    return raw


def _trusted(profile: Profile) -> ssl.SSLContext | bool:
    """Trusted certificates: the usual ones and those of the profile's file."""
    if not profile.ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(user_path(profile.ca_file))
    except OSError:  # includes ssl's own errors
        raise InputError(
            f"The ca_file of profile {profile.name!r} contains no certificates. Give a PEM file, "
            "which begins with -----BEGIN CERTIFICATE-----."
        ) from None
    return context


def _only_ours(profile: Profile) -> Callable[[Any], Awaitable[None]]:
    """A hook that removes the client's own headers, such as organisation and project from OpenAI's
    environment variables, which must not reach other servers."""

    async def strip(request: Any) -> None:
        for name in set(request.headers) - HEADERS:
            del request.headers[name]
        # The client also asks for compressions that bodies.py does not read, if it can.
        request.headers["accept-encoding"] = "gzip, deflate"
        if profile.api_key:
            request.headers["authorization"] = f"Bearer {profile.api_key}"
        request.headers.update(profile.headers)

    return strip


def _untrusted(error: BaseException | None) -> SendError | None:
    """A message for an unverifiable certificate or a failed TLS handshake; otherwise None."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return SendError(
                f"has a certificate that is not trusted ({error.verify_message})",
                'check its base_url, or give its profile the "ca_file" of its authority',
                sent=False,
            )
        if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            return SendError(
                "does not speak TLS", "begin its base_url with http:// instead", sent=False
            )
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            why = error.reason.replace("_", " ").lower()
            return SendError(
                f"refused the TLS connection ({why})",
                "check its base_url, and the TLS settings of the server",
                sent=False,
            )
        error = error.__cause__ or error.__context__
    return None


def _most_bytes(body: Mapping[str, Any]) -> int:
    """The largest expected response: log-probabilities take 20 times the text."""

    def whole(*names: str, default: int = 0) -> int:
        return next((v for name in names if isinstance(v := body.get(name), int)), default)

    tokens = whole("max_tokens", "max_completion_tokens") * whole("n", default=1)
    logprobs = whole("top_logprobs") + 1
    return min(MAX_BYTES + tokens * (TOKEN_BYTES + LOGPROB_BYTES * logprobs), MOST_BYTES)


async def _whole(response: Any, most: int) -> bytes:
    try:
        body = await read_body(response, most)
    except Exception:
        # Transport errors, whose library depends on the client's version; this block only
        # reads.
        raise _broken() from None
    if len(body) > most:
        raise SendError(f"answered with more than {most} bytes", "ask another model")
    return body


async def _raise_for_status(response: Any) -> None:
    """Raises SendError with the start of the body, which the client would read without limit."""
    status = response.status_code
    if status < 300:
        return
    try:
        said = await read_body(response, MAX_ERROR_BYTES)
    except UnreadableBodyError:
        said = b""
    body = said[:MAX_ERROR_BYTES].decode("utf-8", "replace")
    retry_after = response.headers.get("retry-after", "")
    raise _reported(error_of_status(status, body, retry_after), body)


def _too_slow(limits: RequestLimits) -> SendError:
    advice = 'give its profile more "seconds", or less "concurrency"'
    return SendError(f"took longer than {limits.seconds:g} seconds", advice, retry=True)


def _broken() -> SendError:
    return SendError("closed the connection", "check the server's log", retry=True)
