"""What a server's model can do, found out with a few requests whose bodies are read as they come.

Unlike `Endpoint`, which answers questions, this looks at what the server says beside the answers:
thoughts, log-probabilities, refusals, costs.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..protocols import Progress
from . import wire
from .endpoint import Endpoint, RefusedRequest
from .interface import Question
from .parallel import ask_in_parallel
from .probe import (
    COLOURS,
    MOST,
    SCHEMA,
    JudgeFindings,
    fits_schema,
    holds_thoughts,
    names_only,
    pictures_told,
    plain_question,
    thought,
)
from .sending import open_client
from .thoughts import without_thoughts

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TOKENS = 2_048  # of an answer; a model that thinks needs them, another one stops after a word
MANY_TOKENS = 8_192  # for one that was cut off while it was thinking
TRIES = 8  # of one question; each of the others is one parameter that the server refuses
FEWER_LOGPROBS = 5  # what servers allow that refuse 20
TEXT_ONLY = Question("Answer with the word yes alone.", max_tokens=TOKENS)
TWO_ANSWERS: Mapping[str, Any] = {"temperature": 1, "n": 2}
THOUGHTS = ("reasoning", "reasoning_content", "thinking")  # fields of a message
PRICES = ("cost", "total_cost", "estimated_cost")  # fields of a usage


@dataclass(slots=True)
class Heard:
    """What one question brought: the answers, and what stands beside them."""

    texts: list[str] = field(default_factory=list)
    tops: dict[str, float] = field(default_factory=dict)  # log-probabilities of an answer's start
    thinks: bool = False
    cut: bool = False  # at the limit of tokens
    price: float | None = None
    seconds: float = 0.0
    problem: str = ""  # why there is no text
    refusal: RefusedRequest | None = None
    refused: frozenset[str] = frozenset()
    form: str = ""  # the response_format that was sent last

    @property
    def text(self) -> str:
        return self.texts[0] if self.texts else ""


def probe_server(endpoint: Endpoint, progress: Progress) -> JudgeFindings:
    """The findings about a server's model; see `probe`."""
    before = endpoint.usage.calls
    found = _ServerProbe(endpoint, progress).findings()
    return replace(found, calls=endpoint.usage.calls - before)


@dataclass(slots=True)
class _ServerProbe:
    endpoint: Endpoint
    progress: Progress
    refused: frozenset[str] = frozenset()
    logprobs: int = wire.TOP_LOGPROBS
    tokens: int = TOKENS

    def findings(self) -> JudgeFindings:
        (red,) = self._ask((plain_question("red"), wire.WITH_LOGPROBS))
        if red.refusal:
            return JudgeFindings(problem=self._why(red.refusal))
        self.refused |= red.refused
        blue, formed, many, two = self._ask(
            (plain_question("blue"), wire.WITH_LOGPROBS),
            (plain_question("green", schema=SCHEMA), wire.GREEDY),
            (plain_question(*list(COLOURS)[:MOST]), wire.GREEDY),
            (TEXT_ONLY, TWO_ANSWERS),
        )
        if blue.refusal:
            return JudgeFindings(problem=blue.refusal.reason)
        everyone = [red, blue, formed, many, two]
        thinks = any(heard.thinks for heard in everyone)
        if not red.text and not blue.text:
            why = (
                f"The endpoint {self.endpoint.profile} {red.problem} to a question about a picture"
            )
            return JudgeFindings(problem=f"{why}.", thinks=thinks)
        prices = [heard.price for heard in everyone if heard.price is not None]
        return JudgeFindings(
            sees=_sees(red, blue),
            sure=_sure(red, blue),
            thinks=thinks,
            log_probabilities=max(len(red.tops), len(blue.tops)),
            schema=formed.form if fits_schema(formed.text, "green") else "",
            answers=len(two.texts) if not two.refusal else None,
            pictures=self._pictures(many),
            seconds=statistics.median([red.seconds, blue.seconds]),
            price=statistics.fmean(prices) if prices else None,
        )

    def _pictures(self, many: Heard) -> int:
        """How many pictures of one question the model knows, asked of fewer where it has to be."""
        colours = list(COLOURS)
        if (told := pictures_told(many.text, colours[:MOST])) == MOST:
            return told
        (two,) = self._ask((plain_question(*colours[:2]), wire.GREEDY))
        return max(1, told, pictures_told(two.text, colours[:2]))

    def _why(self, refusal: RefusedRequest) -> str:
        """The sentence for a model that refuses a picture: perhaps it reads texts only."""
        if refusal.status not in (400, 404, 415, 422, 500, 501):
            return refusal.reason
        (text,) = self._ask((TEXT_ONLY, wire.GREEDY))
        if text.refusal:
            return refusal.reason
        model = self.endpoint.profile.model
        return f"The model {model} answers texts and refuses pictures. {refusal.reason}"

    def _ask(self, *asked: tuple[Question, Mapping[str, Any]]) -> list[Heard]:
        endpoint = self.endpoint
        endpoint.require_consent(question for question, _ in asked)

        def connect() -> Any:
            return open_client(endpoint.profile, endpoint.limits)

        return ask_in_parallel(
            connect, self._hear, asked, endpoint.limits.concurrency, self.progress, "probe"
        )

    async def _hear(self, client: AsyncOpenAI, asked: tuple[Question, Mapping[str, Any]]) -> Heard:
        """The answer to a question, asked again without what the server refuses."""
        question, parameters = asked
        heard = Heard()
        for _ in range(TRIES):
            began = time.monotonic()
            body = self._body(replace(question, max_tokens=self.tokens), parameters, heard.refused)
            heard.form = body.get("response_format", {}).get("type", "")
            raw = await self.endpoint.post(client, body)
            if isinstance(raw, RefusedRequest):
                if self._without(heard, body, raw):
                    continue
                heard.refusal = raw
                return heard
            _read(raw, heard)
            heard.problem = wire.read(raw).problem
            heard.seconds = time.monotonic() - began
            if not heard.text and heard.cut and self.tokens < MANY_TOKENS:
                self.tokens = MANY_TOKENS
                continue
            return heard
        return heard

    def _body(
        self, question: Question, parameters: Mapping[str, Any], refused: frozenset[str]
    ) -> dict[str, Any]:
        body = wire.body(question, self.endpoint.profile.model, parameters, self.refused | refused)
        if "top_logprobs" in body:
            body["top_logprobs"] = self.logprobs
        return body

    def _without(self, heard: Heard, body: Mapping[str, Any], refusal: RefusedRequest) -> bool:
        """Whether the question can be asked again without what was refused."""
        if refusal.status not in (400, 403, 422):
            return False
        many = body.get("top_logprobs", 0) > FEWER_LOGPROBS
        if many and re.search(r"top_?logprobs", refusal.said):
            self.logprobs = FEWER_LOGPROBS
            return True
        if refusal.status == 403 and "logprobs" not in refusal.said:
            return False
        parameter = wire.refused_parameter(body, refusal.said)
        # That a request is refused for its picture is not said by any parameter.
        if parameter is None or (parameter not in refusal.said and _is_about_pictures(refusal)):
            return False
        heard.refused |= {parameter}
        return True


def _is_about_pictures(refusal: RefusedRequest) -> bool:
    return re.search(r"image|picture|vision|multimodal", refusal.said, re.IGNORECASE) is not None


def _read(raw: bytes, heard: Heard) -> None:
    """Adds what a response's body says to what was heard; the body may be anything."""
    try:
        found = _table(json.loads(raw))
    except (ValueError, RecursionError):
        return
    listed = found.get("choices")
    choices = [_table(choice) for choice in listed] if isinstance(listed, list) else []
    messages = [_table(choice.get("message")) for choice in choices]
    texts = [_visible(message.get("content")) for message in messages]
    heard.texts = [text for text in texts if text]
    heard.cut = any(choice.get("finish_reason") == "length" for choice in choices)
    usage = _table(found.get("usage"))
    heard.thinks |= any(map(_thinks, messages)) or _thought_tokens(usage, " ".join(texts))
    heard.price = _price(usage)
    heard.tops = _tops(choices[0]) if choices else {}


def _visible(content: object) -> str:
    """The text of a message without thoughts, whether it is a text or a list of parts."""
    if isinstance(content, list):
        parts = [_table(part) for part in content]
        content = " ".join(
            part["text"]
            for part in parts
            if part.get("type") in ("text", "output_text") and isinstance(part.get("text"), str)
        )
    return without_thoughts(content) if isinstance(content, str) else ""


def _thinks(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return (
        any(message.get(name) for name in THOUGHTS)
        or (isinstance(content, str) and holds_thoughts(content))
        or any(_table(part).get("type") in ("thinking", "reasoning") for part in parts)
    )


def _thought_tokens(usage: Mapping[str, Any], text: str) -> bool:
    details = _table(usage.get("completion_tokens_details"))
    if _number(details.get("reasoning_tokens")):
        return True
    return thought(text, int(_number(usage.get("completion_tokens")) or 0))


def _price(usage: Mapping[str, Any]) -> float | None:
    costs = [_number(usage.get(name)) for name in PRICES]
    costs += [_number(_table(usage.get("cost")).get(name)) for name in PRICES]
    return next((cost for cost in costs if cost is not None), None)


def _tops(choice: Mapping[str, Any]) -> dict[str, float]:
    """The likeliest tokens where the answer names its colour, or else at its first token."""
    content = _table(choice.get("logprobs")).get("content")
    steps = [_table(step) for step in content] if isinstance(content, list) else []
    tables = [_likeliest(step) for step in steps if str(step.get("token", "")).strip()]
    tables = [table for table in tables if table]
    return next((t for t in tables if any(map(_colour_of, t))), tables[0] if tables else {})


def _likeliest(step: Mapping[str, Any]) -> dict[str, float]:
    listed = step.get("top_logprobs")
    rows = [_table(top) for top in listed] if isinstance(listed, list) else []
    return {
        row["token"]: min(logprob, 0.0)
        for row in rows
        if isinstance(row.get("token"), str)
        and (logprob := _number(row.get("logprob"))) is not None
    }


def _colour_of(token: str) -> str:
    """The colour that a token is, or begins; "" for any other token."""
    said = token.strip("\u2581\u0120 \t\r\n\"'*`").casefold()
    return next((colour for colour in COLOURS if said and colour.startswith(said)), "")


def _sees(red: Heard, blue: Heard) -> bool:
    return names_only(red.text, "red") and names_only(blue.text, "blue")


def _sure(red: Heard, blue: Heard) -> float | None:
    """The mean probability of the right colours among the colours; None without probabilities."""
    chances = [_chance(red.tops, "red"), _chance(blue.tops, "blue")]
    known = [chance for chance in chances if chance is not None]
    return sum(known) / len(known) if len(known) == len(chances) else None


def _chance(tops: Mapping[str, float], colour: str) -> float | None:
    masses = dict.fromkeys(COLOURS, 0.0)
    for token, logprob in tops.items():
        if named := _colour_of(token):
            masses[named] += math.exp(logprob)
    total = sum(masses.values())
    return masses[colour] / total if total > 0 else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
