"""Thousands of questions to a server that misbehaves in every way known to us, and what came of it.

Every question carries an id that a right answer repeats, so an answer in the wrong place is seen.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from vlm_server import Asked, Reply, VlmServer, cut, echoed, refuses, says, too_many

from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

KEY = "plantedKey-0123456789abcdef"
# Small times and pauses, so that thousands of faults fit into a minute.
LIMITS = RequestLimits(
    8, connect_seconds=0.5, seconds=0.5, tries=3, pause=0.002, longest_pause=0.01
)
BATCH = 1000  # questions of one endpoint, which remembers what its server refuses
OUTCOMES = ("at once", "after asking again", "failure", "wrong question", "crash")
SENTENCE = re.compile(r"The (endpoint toy|model's answer|model answered) [^\n]{5,400}\.")
Fault = Callable[[Asked, str], Reply]


class Told(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")
    id: str
    score: float = Field(ge=0, le=1)
    words: list[str]


def right(asked: Asked, name: str) -> Reply:
    return says(good(name))


def good(name: str, **changed: object) -> str:
    return json.dumps({"id": name, "score": 0.5, "words": ["red", "圆"], **changed})


def content(make: Callable[[str], str]) -> Fault:
    def fault(asked: Asked, name: str) -> Reply:
        return says(make(name))

    return fault


def always(reply: Reply) -> Fault:
    def fault(asked: Asked, name: str) -> Reply:
        return reply

    return fault


def text(wrong: str | None) -> Fault:
    return always(says(wrong))


def body(raw: bytes) -> Fault:
    return always(Reply(raw))


def sent(**how: Any) -> Fault:
    def fault(asked: Asked, name: str) -> Reply:
        return replace(says(good(name)), **how)

    return fault


def repeats_key(status: int) -> Fault:
    def fault(asked: Asked, name: str) -> Reply:
        return echoed(asked, status) if status != 200 else says(f"You are {asked.key}")

    return fault


def cut_short(asked: Asked, name: str) -> Reply:
    return cut(good(name))


def pedantic(asked: Asked, name: str) -> Reply:
    refused = "response_format" in asked.body
    return refuses(400, "unknown field response_format") if refused else right(asked, name)


# What the server does instead, and how often: a slow fault costs half a second, a large one 10 ms.
FAULTS: dict[str, tuple[float, Fault]] = {
    "none": (8, right),
    "late, so answers overtake each other": (2, sent(wait=0.03)),
    "prose around the JSON": (2, content(lambda name: f"Sure! {good(name)} Hope {{this}} helps.")),
    "code fence": (2, content(lambda name: f"```json\n{good(name)}\n```")),
    "JSON cut short": (2, content(lambda name: good(name)[:-9])),
    "single quotes": (1, content(lambda name: good(name).replace('"', "'"))),
    "missing field": (1, content(lambda name: json.dumps({"id": name}))),
    "extra field": (1, content(lambda name: good(name, why="because"))),
    "field of another type": (1, content(lambda name: good(name, words="red"))),
    "null field": (1, content(lambda name: good(name, score=None))),
    "out of range": (1, content(lambda name: good(name, score=7))),
    "NaN": (1, content(lambda name: good(name, score=float("nan")))),
    "1e999": (1, content(lambda name: good(name).replace("0.5", "1e999"))),
    "lone surrogate": (1, content(lambda name: good(name, words=["\ud800"]) + "\ud83d")),
    "a list": (1, content(lambda name: f"[{good(name)[1:-1]}]".replace(":", ","))),
    "deeply nested": (1, text('{"id":' * 5000)),
    "another language": (1, text("我看到一个红色的圆圈。")),
    "declined": (1, text("I'm sorry, but I can't help with that.")),
    "empty text": (1, text("")),
    "null content": (1, text(None)),
    "key in the answer": (1, repeats_key(200)),
    "no choices": (1, body(b'{"choices": []}')),
    "null choices": (1, body(b'{"choices": [null, 3], "usage": {"prompt_tokens": "many"}}')),
    "body that is no JSON": (1, body(b"<html>Welcome</html>")),
    "body that is no object": (1, body(b'["ok"]')),
    "body in no encoding": (1, body(b"\xff\xfe\xfa{")),
    "empty body": (1, body(b"")),
    "gzip that is none": (1, always(Reply(b"plain", 200, {"Content-Encoding": "gzip"}))),
    "500 with gzip that is none": (1, always(Reply(b"plain", 500, {"Content-Encoding": "gzip"}))),
    "no HTTP": (1, always(Reply(b"SSH-2.0-OpenSSH_9.6\r\n", bare=True))),
    "no answer at all": (1, always(Reply(b"", bare=True))),
    "1 MB of text": (0.3, text("x" * 2**20)),
    "200 kB of braces": (0.3, text("{" * 200_000)),
    "endless body": (0.3, always(Reply(b" " * 2**16, endless=True))),
    "cut connection": (1, cut_short),
    "reset connection": (1, sent(reset=True)),
    "no answer in time": (0.1, sent(wait=0.8)),
    "slow drip": (0.1, sent(drip=0.01)),
    "429": (1, always(too_many())),
    "429 for an hour": (1, always(too_many("3600"))),
    "500": (1, always(refuses(500, "out of memory"))),
    "503 with a page": (1, always(Reply(b"<html>busy</html>", 503))),
    "400": (1, always(refuses(400, "the picture is too large"))),
    "401 that repeats the key": (1, repeats_key(401)),
    "400 that repeats the key": (1, repeats_key(400)),
    "500 that repeats the key": (1, repeats_key(500)),
    "404": (1, always(refuses(404, "no such model"))),
    "redirect": (1, always(Reply(b"", 307, {"Location": "http://[::1/"}))),
    "400 on response_format": (1, pedantic),
}
LEARNED = "400 on response_format"  # after it an endpoint asks without; so not in every batch


class Misbehaving:
    """A script: a fault for each id, once or for ever, drawn from the seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.times: Counter[str] = Counter()

    def fault(self, place: int) -> tuple[str, bool]:
        """Its name, and whether it lasts."""
        draw = random.Random(f"{self._seed} {place}")
        names = [name for name in FAULTS if name != LEARNED or place // BATCH % 4 == 0]
        return draw.choices(names, [FAULTS[name][0] for name in names])[0], draw.random() < 0.5

    def __call__(self, asked: Asked) -> Reply:
        found = re.search(r"id=(\d+)\.", asked.text)
        assert found
        self.times[found[1]] += 1
        fault, lasts = self.fault(int(found[1]))
        acts = lasts or self.times[found[1]] == 1
        return (FAULTS[fault][1] if acts else right)(asked, found[1])


@dataclass(frozen=True)
class Result:
    """How many questions of each fault had each outcome, and all that was said of failures."""

    outcomes: Counter[tuple[str, str]]
    reasons: Counter[str]
    calls: int
    errors: list[BaseException]

    def total(self, outcome: str) -> int:
        return sum(count for (_, name), count in self.outcomes.items() if name == outcome)

    @property
    def unnamed(self) -> list[str]:
        """Failures that are no sentence of ours, or tell what nobody should read."""
        secrets = (KEY, "Bearer", "127.0.0.1", "http:")
        return [
            reason
            for reason in self.reasons
            if not SENTENCE.fullmatch(reason) or any(secret in reason for secret in secrets)
        ]


def trial(answers: int, seed: int = 0) -> Result:
    """Asks `answers` questions, 1000 an endpoint, through `answers.ask`."""
    script = Misbehaving(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    calls = 0
    with VlmServer(script) as server:
        for start in range(0, answers, BATCH):
            places = range(start, min(start + BATCH, answers))
            endpoint = Endpoint(Profile("toy", server.url, KEY, "toy-vlm"), LIMITS)
            questions = [Question(f"What is in the picture? id={place}.") for place in places]
            try:
                told = ask(endpoint, questions, Told)
            except Exception as crash:
                told = [crash] * len(questions)
            calls += endpoint.usage.calls
            for place, answer in zip(places, told, strict=True):
                times = script.times[str(place)]
                outcomes[script.fault(place)[0], _outcome(place, answer, times)] += 1
                if not isinstance(answer, Told):
                    text = answer.reason if isinstance(answer, Failure) else repr(answer)
                    reasons[text] += 1
    return Result(outcomes, reasons, calls, server.errors)


def _outcome(place: int, answer: Told | Failure | Exception, times: int) -> str:
    if isinstance(answer, Failure):
        return "failure"
    if isinstance(answer, Exception):
        return "crash"
    if answer.id != str(place):
        return "wrong question"
    return "at once" if times == 1 else "after asking again"


def table(result: Result) -> Iterator[str]:
    """As Markdown, a line a fault."""
    yield f"| the server's fault, once or for ever | {' | '.join(OUTCOMES)} |"
    yield f"|---|{'---|' * len(OUTCOMES)}"
    for fault in FAULTS:
        counts = [str(result.outcomes[fault, outcome]) for outcome in OUTCOMES]
        yield f"| {fault} | {' | '.join(counts)} |"
    yield f"| all | {' | '.join(str(result.total(outcome)) for outcome in OUTCOMES)} |"
