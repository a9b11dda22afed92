"""One request to an OpenAI-compatible server, again where that is worth it; understands no answer.

The official client sends. Its own retries are off, so that every request is counted, and so are
redirects: key and pictures go where the profile says and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..record import InputError
from .profiles import CONCURRENCY, SECONDS, Profile, is_loopback

if TYPE_CHECKING:
    from openai import AsyncOpenAI

LARGEST = 2**19  # bytes of a response; an answer of thousands of tokens has a tenth
LARGEST_ERROR = 2**14  # bytes that are read of what a server says of an error
HEADERS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
# Some servers turn away whoever does not name itself; by the last one the client knows how it was
# asked.
HEADERS |= {"user-agent", "x-stainless-raw-response"}
UNREACHABLE = ("ConnectError", "ConnectTimeout")  # the transport's words for: nothing was sent
ADVICE = {
    401: "check the api_key of its profile",
    403: "check what its key is allowed to",
    404: "check the base_url and the model of its profile",
    413: "send smaller pictures",
    429: 'wait, or give its profile less "concurrency"',
}


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How long and how often a server is asked; all times in seconds."""

    concurrency: int = CONCURRENCY  # requests at once
    connect_seconds: float = 10.0
    seconds: float = SECONDS  # one request from its first byte to its answer's last
    tries: int = 4  # of one request
    pause: float = 0.5  # before the second try; doubles with every further one
    longest_pause: float = 30.0  # whatever the server's Retry-After says

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.tries < 1 or min(self.connect_seconds, self.seconds) <= 0:
            raise InputError(
                f"{self} cannot be kept. Give at least one request, one try and some time."
            )


class SendError(Exception):
    """A request without an answer; never leaves this package.

    `what` follows "The endpoint mine"; `again` says whether another try is worth it, `wait` how
    many seconds the server asks for, `said` what it wrote (never shown as it is: it may echo keys).
    """

    def __init__(self, what: str, advice: str, again: bool = False, sent: bool = True) -> None:
        super().__init__(what)
        self.what, self.advice, self.again, self.sent = what, advice, again, sent
        self.status, self.said, self.wait, self.times = 0, "", 0.0, 1


@asynccontextmanager
async def open_client(profile: Profile, limits: RequestLimits) -> AsyncIterator[AsyncOpenAI]:
    """A client for the profile's server that gives each request one try."""
    import openai

    transport = openai.DefaultAsyncHttpxClient(
        event_hooks={"request": [_only_ours(profile.api_key)], "response": [_raise_for_status]},
        follow_redirects=False,
        trust_env=not is_loopback(profile.base_url),  # no proxy leads back to this machine
    )
    async with openai.AsyncOpenAI(
        base_url=profile.base_url,
        api_key=profile.api_key or "none",  # the client insists on one; see _only_ours
        timeout=openai.Timeout(limits.seconds, connect=limits.connect_seconds),
        max_retries=0,
        http_client=transport,
    ) as client:
        yield client


async def send(
    client: AsyncOpenAI, body: Mapping[str, Any], limits: RequestLimits, count: Callable[[], None]
) -> bytes:
    """The body of the response; calls `count` for each request sent. Raises SendError."""
    seen: list[str] = []
    for attempt in range(limits.tries):
        try:
            return await _send_once(client, body, limits, count)
        except SendError as error:
            seen.append(error.what)
            error.times = seen.count(error.what)
            if not error.again or attempt == limits.tries - 1:
                raise
            pause = limits.pause * 2**attempt * random.uniform(0.5, 1)
            await asyncio.sleep(min(max(pause, error.wait), limits.longest_pause))
    raise AssertionError("tries are at least one")


async def _send_once(
    client: AsyncOpenAI, body: Mapping[str, Any], limits: RequestLimits, count: Callable[[], None]
) -> bytes:
    sent = True  # also if we are cancelled: the server may be at work
    try:
        # The client's own times are between two bytes, which a slow drip never exceeds.
        return await asyncio.wait_for(_post(client, body), limits.seconds)
    except asyncio.TimeoutError:
        raise _too_slow() from None
    except SendError as error:
        sent = error.sent
        raise
    finally:
        if sent:
            count()


async def _post(client: AsyncOpenAI, body: Mapping[str, Any]) -> bytes:
    import openai

    create: Any = client.chat.completions.with_streaming_response.create
    try:
        # An extra body goes out as it is; the client's translation of typed ones takes as long as
        # all the rest and would change nothing.
        async with create(model=body["model"], messages=[], extra_body=body) as response:
            return await _whole(response.iter_bytes())
    except openai.APIConnectionError as error:
        cause = error.__cause__
        if isinstance(cause, SendError):  # from our hook; older clients wrap it
            raise cause from None
        if type(cause).__name__ in UNREACHABLE:
            raise SendError(
                "could not be reached",
                "check that it runs, and its base_url",
                again=True,
                sent=False,
            ) from None
        if isinstance(error, openai.APITimeoutError):
            raise _too_slow() from None
        raise _broken() from None


def _only_ours(key: str) -> Callable[[Any], Awaitable[None]]:
    """A hook that takes off whatever the client adds of itself and of OpenAI's variables in the
    environment (organisation, project, headers): they are none of another server's business."""

    async def strip(request: Any) -> None:
        for name in set(request.headers) - HEADERS:
            del request.headers[name]
        if key:
            request.headers["authorization"] = f"Bearer {key}"

    return strip


async def _whole(chunks: AsyncIterable[bytes]) -> bytes:
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > LARGEST:
                break
    except Exception:
        # The transport's errors come through the client here, and which library that is depends on
        # the client's version. Nothing but reading is in this block.
        raise _broken() from None
    if len(body) > LARGEST:
        raise SendError(f"answered with more than {LARGEST} bytes", "ask another model")
    return bytes(body)


async def _raise_for_status(response: Any) -> None:
    """Reads the beginning of an error's body; the client would read all of it, without a limit."""
    status = response.status_code
    if status < 300:
        return
    said = bytearray()
    async for chunk in response.aiter_bytes():
        said += chunk
        if len(said) > LARGEST_ERROR:
            break
    known = status in HTTPStatus.__members__.values()
    name = f" ({HTTPStatus(status).phrase.lower()})" if known else ""
    advice = "try again later" if status >= 500 else ADVICE.get(status, "check its profile")
    error = SendError(f"answered {status}{name}", advice, again=status == 429 or status >= 500)
    error.status, error.said = status, said[:LARGEST_ERROR].decode("utf-8", "replace")
    error.wait = _seconds(response.headers.get("retry-after", ""))
    raise error


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header in seconds; a date counts as none, our own pause is there."""
    try:
        return float(retry_after) if float(retry_after) > 0 else 0.0
    except ValueError:
        return 0.0


def _too_slow() -> SendError:
    advice = 'give its profile more "seconds", or less "concurrency"'
    return SendError("took too long", advice, again=True)


def _broken() -> SendError:
    return SendError("broke the connection off", "look into the server's log", again=True)
