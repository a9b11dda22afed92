"""Finds out what a server's model can do, with a few requests.

Unlike `Endpoint` it evaluates what accompanies the answers: thoughts, log-probabilities,
rejections, costs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..protocols import Progress
from . import wire
from .endpoint import Endpoint
from .interface import Question
from .likelihoods import from_answer
from .parallel import ask_in_parallel
from .probe import (
    COLOURS,
    MOST,
    SCHEMA,
    TEXT_ONLY,
    JudgeFindings,
    fits_schema,
    pictures_told,
    plain_question,
    tells_two,
    thought,
)
from .replies import Reply, is_number, read
from .sending import SendError, open_client
from .server_errors import as_table, parsed

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TOKENS = 2_048  # tokens of an answer; only a thinking model needs them all
MANY_TOKENS = 8_192  # fewest tokens for a model that was cut off while thinking
TWO_ANSWERS: Mapping[str, Any] = {"temperature": 1, "n": 2}
PRICES = ("cost", "total_cost", "estimated_cost")  # fields of the usage
MAY_BE_TEXT_ONLY = (400, 404, 415, 422, 500, 501)  # statuses used to reject pictures


@dataclass(slots=True)
class Heard:
    """The result of one question: the reply and what accompanies it."""

    reply: Reply = field(default_factory=Reply)
    price: float | None = None
    thought_tokens: float = 0.0  # counted separately by the server
    seconds: float = 0.0
    refusal: SendError | None = None
    form: str = ""  # the last response_format sent

    @property
    def text(self) -> str:
        return self.reply.texts[0] if self.reply.texts else ""

    @property
    def thinks(self) -> bool:
        spent, texts = self.reply.completion_tokens, " ".join(self.reply.texts)
        return self.reply.thought or self.thought_tokens > 0 or thought(texts, spent)

    @property
    def logprobs(self) -> int:
        return max((len(token.rivals) for token in self.reply.tokens), default=0)

    def chance(self, colour: str) -> float | None:
        """The probability of a colour among all colours; None if unknown."""
        chances = from_answer(self.reply.tokens, list(COLOURS))
        return chances[list(COLOURS).index(colour)] if chances else None


def probe_server(endpoint: Endpoint, progress: Progress) -> JudgeFindings:
    """The findings about a server's model.

    Raises what `progress.check` raises, and InputError if pictures may not be sent.
    """
    before = endpoint.usage.calls
    found = _ServerProbe(endpoint, progress).findings()
    return replace(found, calls=endpoint.usage.calls - before)


@dataclass(frozen=True, slots=True)
class _ServerProbe:
    endpoint: Endpoint
    progress: Progress

    def findings(self) -> JudgeFindings:
        (red,) = self._ask((plain_question("red"), wire.WITH_LOGPROBS))
        if red.refusal:
            return JudgeFindings(problem=self._why(red.refusal))
        blue, formed, many, two = self._ask(
            (plain_question("blue"), wire.WITH_LOGPROBS),
            (plain_question("green", schema=SCHEMA), wire.GREEDY),
            (plain_question(*list(COLOURS)[:MOST]), wire.GREEDY),
            (TEXT_ONLY, TWO_ANSWERS),
        )
        if blue.refusal:
            return JudgeFindings(problem=self.endpoint.failure(blue.refusal).reason)
        everyone = [red, blue, formed, many, two]
        thinks = any(heard.thinks for heard in everyone)
        if not red.text and not blue.text:
            why = self.endpoint.unanswered(red.reply).reason
            return JudgeFindings(problem=why, thinks=thinks)
        prices = [heard.price for heard in everyone if heard.price is not None]
        return JudgeFindings(
            sees=tells_two(red.text, blue.text),
            sure=_sure(red, blue),
            thinks=thinks,
            log_probabilities=max(red.logprobs, blue.logprobs),
            schema=formed.form if fits_schema(formed.text, "green") else "",
            answers=None if two.refusal else len(two.reply.texts),
            pictures=self._pictures(many),
            seconds=statistics.median([red.seconds, blue.seconds]),
            price=statistics.fmean(prices) if prices else None,
        )

    def _pictures(self, many: Heard) -> int:
        """How many pictures in one question the model recognises; fewer are tried if necessary."""
        colours = list(COLOURS)
        if (told := pictures_told(many.text, colours[:MOST])) == MOST:
            return told
        (two,) = self._ask((plain_question(*colours[:2]), wire.GREEDY))
        return max(1, told, pictures_told(two.text, colours[:2]))

    def _why(self, refusal: SendError) -> str:
        """The sentence for a model that rejects a picture: it may only read texts."""
        reason = self.endpoint.failure(refusal).reason
        if refusal.error.sees_nothing or refusal.status not in MAY_BE_TEXT_ONLY:
            return reason
        (text,) = self._ask((TEXT_ONLY, wire.GREEDY))
        if text.refusal:
            return reason
        model = self.endpoint.profile.model
        return f"The model {model} answers texts and refuses pictures. {reason}"

    def _ask(self, *asked: tuple[Question, Mapping[str, Any]]) -> list[Heard]:
        endpoint = self.endpoint
        endpoint.require_consent(question for question, _ in asked)

        def connect() -> Any:
            return open_client(endpoint.profile, endpoint.limits)

        return ask_in_parallel(
            connect, self._hear, asked, endpoint.limits.concurrency, self.progress, "probe"
        )

    async def _hear(self, client: AsyncOpenAI, asked: tuple[Question, Mapping[str, Any]]) -> Heard:
        """The answer to a question; asked again with more tokens if it was cut off in a thought."""
        heard = Heard()
        while True:
            many = self.endpoint.thinks
            most = max(MANY_TOKENS, self.endpoint.profile.max_tokens)
            try:
                sent = await self.endpoint.request(client, *asked, most if many else TOKENS)
            except SendError as error:
                heard.refusal = error
                return heard
            usage = as_table(as_table(parsed(sent.raw)).get("usage"))
            heard.reply, heard.price, heard.seconds = read(sent.raw), _price(usage), sent.seconds
            heard.form = sent.asked.get("response_format", {}).get("type", "")
            details = as_table(usage.get("completion_tokens_details"))
            heard.thought_tokens = _number(details.get("reasoning_tokens")) or 0.0
            if heard.text or not heard.reply.was_cut or many:
                return heard
            self.endpoint.thinks = True


def _sure(red: Heard, blue: Heard) -> float | None:
    """The mean probability of the right colours among the colours; None without probabilities."""
    of_red, of_blue = red.chance("red"), blue.chance("blue")
    return None if of_red is None or of_blue is None else (of_red + of_blue) / 2


def _price(usage: Mapping[str, Any]) -> float | None:
    """The price of this answer as stated by the server."""
    costs = [_number(usage.get(name)) for name in PRICES]
    costs += [_number(as_table(usage.get("cost")).get(name)) for name in PRICES]
    return next((cost for cost in costs if cost is not None), None)


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None
