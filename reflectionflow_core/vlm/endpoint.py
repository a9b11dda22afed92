"""Vision-language models behind any OpenAI-compatible server: OpenAI, vLLM, Ollama, LM Studio ...

A question that a server does not answer becomes a Failure; what is in the answers is not checked
here (see answers.py). The package openai is imported with the first question.
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
from .likelihoods import check_choices, from_samples, from_top_tokens, masses_from_top_tokens
from .parallel import ask_in_parallel
from .profiles import FILE, Profile
from .sending import RequestLimits, SendError, open_client, send

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Answer = TypeVar("Answer")
SAMPLES = 8  # answers that estimate probabilities if the server gives none
FIRST_TOKENS = 4  # of an answer whose first word counts; some models begin with a line break
SAMPLE_TOKENS = 16  # of a sampled answer; choices are short
SHOWN = 160  # characters of a server's error message in a Failure
SECRET = 8  # characters; shorter keys are placeholders such as "EMPTY", and may occur in answers


class Endpoint:
    """A Vlm behind a server. Answers are only as reproducible as the server makes them.

    `choose` reads the first token's log-probabilities if the server gives them, and otherwise
    counts eight sampled answers. A parameter that the server refused once is not sent again.
    """

    def __init__(self, profile: Profile, limits: RequestLimits | None = None) -> None:
        """`limits` replace those of the profile. Raises InputError if that names no model."""
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
        self._refused: frozenset[str] = frozenset()  # parameters, see wire.py

    def __repr__(self) -> str:
        return f"Endpoint({self.profile.name}, model={self.profile.model!r})"

    @property
    def usage(self) -> Usage:
        return self._usage

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        return self._in_parallel(self._answer, questions, progress, phase)

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """As `Vlm.choose`; a question's schema is ignored, since choices are not JSON objects."""
        check_choices(choices)

        async def choose_one(
            client: AsyncOpenAI, question: Question
        ) -> tuple[float, ...] | Failure:
            return await self._choice(client, question, choices)

        return self._in_parallel(choose_one, questions, progress, phase)

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """As `ExactVlm.likelihoods`, from the top first tokens; answers should be one token long.

        A Failure if the server gives no log-probabilities: samples cannot replace them here.
        """
        check_choices(answers)

        async def weigh_one(client: AsyncOpenAI, question: Question) -> tuple[float, ...] | Failure:
            asked = replace(question, schema=None, max_tokens=FIRST_TOKENS)
            reply = await self._reply(client, asked, wire.WITH_LOGPROBS)
            if isinstance(reply, Failure):
                return reply
            if reply.top_tokens is None:
                return Failure(f"The endpoint {self.profile} gives no probabilities of tokens.")
            return masses_from_top_tokens(reply.top_tokens, answers)

        return self._in_parallel(weigh_one, questions, progress, phase)

    def _in_parallel(
        self,
        ask: Callable[[AsyncOpenAI, Question], Awaitable[Answer]],
        questions: Sequence[Question],
        progress: Progress,
        phase: str,
    ) -> list[Answer]:
        def connect() -> Any:
            return open_client(self.profile, self.limits)

        return ask_in_parallel(connect, ask, questions, self.limits.concurrency, progress, phase)

    async def _answer(self, client: AsyncOpenAI, question: Question) -> str | Failure:
        reply = await self._reply(client, question, wire.GREEDY)
        return reply if isinstance(reply, Failure) else self._without_key(reply.texts[0])

    async def _choice(
        self, client: AsyncOpenAI, question: Question, choices: Sequence[str]
    ) -> tuple[float, ...] | Failure:
        question = replace(question, schema=None, max_tokens=FIRST_TOKENS)
        if "logprobs" not in self._refused:
            reply = await self._reply(client, question, wire.WITH_LOGPROBS)
            if isinstance(reply, Failure):
                return reply
            if reply.top_tokens is not None:
                return from_top_tokens(reply.top_tokens, choices) or self._no_choice()
            self._learn(("logprobs",))
        texts = await self._samples(client, replace(question, max_tokens=SAMPLE_TOKENS))
        if isinstance(texts, Failure):
            return texts
        return from_samples(texts, choices) or self._no_choice()

    async def _samples(self, client: AsyncOpenAI, question: Question) -> list[str] | Failure:
        """In one request, or several where a server gives fewer answers at a time."""
        texts: list[str] = []
        while (missing := SAMPLES - len(texts)) > 0:
            parameters = {"temperature": 1, "seed": len(texts), "n": missing}
            reply = await self._reply(client, question, parameters)
            if isinstance(reply, Failure):
                return reply
            texts += reply.texts[:missing]
        return texts

    async def _reply(
        self, client: AsyncOpenAI, question: Question, parameters: Mapping[str, Any]
    ) -> wire.Reply | Failure:
        """A reply with at least one text or token, asked for without refused parameters.

        After a broken or empty body the request is sent once more: proxies and busy servers send
        such bodies now and then.
        """
        refused: frozenset[str] = frozenset()
        tries = min(2, self.limits.tries)
        while True:
            body = wire.body(question, self.profile.model, parameters, refused | self._refused)
            try:
                raw = await send(client, body, self.limits, self._count)
            except SendError as error:
                bad = error.status in (400, 422)
                parameter = wire.refused_parameter(body, error.said) if bad else None
                if parameter is None:
                    return self._failure(error)
                refused |= {parameter}
                continue
            self._learn(refused)  # only after a success: the question itself may have been bad
            reply = wire.read(raw)
            self._add(Usage(0, reply.prompt_tokens, reply.completion_tokens))
            if reply.texts or ("logprobs" in body and reply.top_tokens):
                return reply
            tries -= 1
            if not tries or reply.problem == wire.TOO_SHORT:
                return Failure(f"The endpoint {self.profile} {reply.problem}.")

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

    def _no_choice(self) -> Failure:
        return Failure(f"The endpoint {self.profile} answers with none of the choices.")

    def _in_its_words(self, said: str) -> str:
        """The server's error message on one line, without key and addresses."""
        words = self._without_key(" ".join(wire.message_in(said).split()))
        words = re.sub(r"(?i)\bbearer\s+\S+|\b[a-z][a-z+.-]*://\S+", "***", words)
        address = urlsplit(self.profile.base_url)
        for part in (address.netloc, address.hostname or ""):
            words = words.replace(part, "***")
        return f' and said "{words[:SHOWN]}"' if words else ""

    def _without_key(self, text: str) -> str:
        key = self.profile.api_key
        return text.replace(key, "***") if len(key) >= SECRET else text
