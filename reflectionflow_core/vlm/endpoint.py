"""Vision-language models behind any OpenAI-compatible server: OpenAI, vLLM, Ollama, LM Studio ...

What a server does wrong becomes a Failure in its question's place; nothing here looks into the
answers (see answers.py). The client is imported with the first question.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..protocols import SILENT, Progress
from ..record import InputError
from . import wire
from .interface import Failure, Question, Usage
from .likelihoods import check_choices, from_samples, from_tops, masses_from_tops
from .profiles import FILE, Profile
from .sending import RequestLimits, SendError, open_client, send
from .together import ask_together

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Answer = TypeVar("Answer")
SAMPLES = 8  # answers that stand for a distribution where the server gives no probabilities
FIRST = 4  # tokens of an answer whose first one counts; some models begin with a line break
SAMPLED = 16  # tokens of a sampled answer; choices are short
SHOWN = 160  # characters of a server's own words in a Failure
SECRET = 8  # characters; shorter keys are placeholders such as "EMPTY", and words of answers too


class Endpoint:
    """Obeys `Vlm`. The answers to the same questions are as equal as the server makes them.

    `choose` reads the probabilities of the first token where the server gives them, and counts
    eight sampled answers where it does not; what a server refused once is not asked of it again.
    """

    def __init__(self, profile: Profile, limits: RequestLimits | None = None) -> None:
        """`limits` in place of those that the profile allows."""
        if not profile.model:
            variable = f"REFLECTIONFLOW_{profile.name.upper().replace('-', '_')}_MODEL"
            raise InputError(
                f"The profile {profile.name} names no model. Set {variable}, or write its "
                f'"model" into {FILE} (see the README).'
            )
        allowed = RequestLimits(concurrency=profile.concurrency, seconds=profile.seconds)
        self.profile, self.limits = profile, limits or allowed
        self._lock = Lock()
        self._usage = Usage()
        self._refused: frozenset[str] = frozenset()  # what the server does not accept, see wire

    def __repr__(self) -> str:
        return f"Endpoint({self.profile.name}, model={self.profile.model!r})"

    @property
    def usage(self) -> Usage:
        return self._usage

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        return self._together(self._answer, questions, progress, phase)

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """As of a Vlm; a question's schema is not used, as no choice is a JSON object."""
        check_choices(choices)

        async def choose_one(
            client: AsyncOpenAI, question: Question
        ) -> tuple[float, ...] | Failure:
            return await self._choice(client, question, choices)

        return self._together(choose_one, questions, progress, phase)

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """As of an ExactVlm, from the likeliest first tokens; a Failure where a server gives none,
        as samples are no probabilities. Answers should be words of one token.
        """
        check_choices(answers)

        async def weigh_one(client: AsyncOpenAI, question: Question) -> tuple[float, ...] | Failure:
            asked = replace(question, schema=None, max_tokens=FIRST)
            reply = await self._reply(client, asked, wire.LIKELY)
            if isinstance(reply, Failure):
                return reply
            if reply.tops is None:
                return Failure(f"The endpoint {self.profile} gives no probabilities of tokens.")
            return masses_from_tops(reply.tops, answers)

        return self._together(weigh_one, questions, progress, phase)

    def _together(
        self,
        ask: Callable[[AsyncOpenAI, Question], Awaitable[Answer]],
        questions: Sequence[Question],
        progress: Progress,
        phase: str,
    ) -> list[Answer]:
        def line() -> Any:
            return open_client(self.profile, self.limits)

        return ask_together(line, ask, questions, self.limits.concurrency, progress, phase)

    async def _answer(self, client: AsyncOpenAI, question: Question) -> str | Failure:
        reply = await self._reply(client, question, wire.GREEDY)
        return reply if isinstance(reply, Failure) else self._without_key(reply.texts[0])

    async def _choice(
        self, client: AsyncOpenAI, question: Question, choices: Sequence[str]
    ) -> tuple[float, ...] | Failure:
        question = replace(question, schema=None, max_tokens=FIRST)
        if "logprobs" not in self._refused:
            reply = await self._reply(client, question, wire.LIKELY)
            if isinstance(reply, Failure):
                return reply
            if reply.tops is not None:
                return from_tops(reply.tops, choices) or self._none_of_the_choices()
            self._learn(("logprobs",))
        texts = await self._samples(client, replace(question, max_tokens=SAMPLED))
        if isinstance(texts, Failure):
            return texts
        return from_samples(texts, choices) or self._none_of_the_choices()

    async def _samples(self, client: AsyncOpenAI, question: Question) -> list[str] | Failure:
        """In one request, or in as many as a server needs that gives one answer at a time."""
        texts: list[str] = []
        while (missing := SAMPLES - len(texts)) > 0:
            wishes = {"temperature": 1, "seed": len(texts), "n": missing}
            reply = await self._reply(client, question, wishes)
            if isinstance(reply, Failure):
                return reply
            texts += reply.texts[:missing]
        return texts

    async def _reply(
        self, client: AsyncOpenAI, question: Question, wishes: Mapping[str, Any]
    ) -> wire.Reply | Failure:
        """An answer with at least one text or token, asked for without what the server refuses.

        A body that is broken or empty is asked for once more, as what a proxy or a server under
        load sends now and then.
        """
        refused: frozenset[str] = frozenset()
        tries = min(2, self.limits.tries)
        while True:
            body = wire.body(question, self.profile.model, wishes, refused | self._refused)
            try:
                raw = await send(client, body, self.limits, self._count)
            except SendError as error:
                bad = error.status in (400, 422)
                blamed = wire.blame(body, error.said) if bad else None
                if blamed is None:
                    return self._failure(error)
                refused |= {blamed}
                continue
            self._learn(refused)  # only now: it may have been the question that was bad
            reply = wire.read(raw)
            self._add(Usage(0, reply.prompt_tokens, reply.completion_tokens))
            if reply.texts or ("logprobs" in body and reply.tops):
                return reply
            tries -= 1
            if not tries or reply.wrong == wire.TOO_SHORT:
                return Failure(f"The endpoint {self.profile} {reply.wrong}.")

    def _count(self) -> None:
        self._add(Usage(calls=1))

    def _add(self, usage: Usage) -> None:
        with self._lock:
            self._usage += usage

    def _learn(self, refused: Iterable[str]) -> None:
        with self._lock:
            self._refused = self._refused.union(refused)

    def _failure(self, error: SendError) -> Failure:
        times = f" {error.times} times" if error.times > 1 else ""
        said = "" if error.status in (401, 403) else self._in_its_words(error.said)
        return Failure(f"The endpoint {self.profile} {error.what}{times}{said}; {error.advice}.")

    def _none_of_the_choices(self) -> Failure:
        return Failure(f"The endpoint {self.profile} answers with none of the choices.")

    def _in_its_words(self, said: str) -> str:
        """What the server wrote of an error, on one line, without key and addresses."""
        words = self._without_key(" ".join(wire.message_in(said).split()))
        words = re.sub(r"(?i)\bbearer\s+\S+|\b[a-z][a-z+.-]*://\S+", "***", words)
        address = urlsplit(self.profile.base_url)
        for part in (address.netloc, address.hostname or ""):
            words = words.replace(part, "***")
        return f' and said "{words[:SHOWN]}"' if words else ""

    def _without_key(self, text: str) -> str:
        key = self.profile.api_key
        return text.replace(key, "***") if len(key) >= SECRET else text
