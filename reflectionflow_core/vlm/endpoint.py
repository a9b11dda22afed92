"""Vision-language models behind OpenAI-compatible servers: OpenAI, vLLM, Ollama, LM Studio ...

A question that fails becomes a Failure; answers are checked elsewhere (answers.py). The package
openai is imported with the first question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from ..protocols import SILENT, Progress
from ..record import InputError
from . import wire
from .closed import said_choice
from .consent import PictureConsent
from .failures import within_budget
from .interface import Failure, Question, Usage
from .likelihoods import (
    AGREEING,
    Rivals,
    best_scores,
    check_choices,
    enough_samples,
    from_answer,
    from_samples,
    masses_from_top_tokens,
)
from .parallel import ask_in_parallel
from .profiles import FILE, Profile
from .quoting import in_its_words
from .redaction import Redaction
from .replies import MAX_TOKENS, NO_COMPLETION, NO_JSON, THOUGHT_ONLY, TOO_SHORT, Reply, read
from .sending import Pace, RequestLimits, SendError, open_client, send

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Answer = TypeVar("Answer")
FIRST_TOKENS = 4  # tokens of an answer whose first word counts; some models begin with a line break
SAMPLE_TOKENS = 16  # tokens of a sampled answer; choices are short
THINKING_TOKENS = 4096  # tokens for a thought before an answer, unless set in the profile
LEAST_ROOM = 256  # fewest tokens for a thought; below that, none are requested
NOT_THE_SERVER = "check the base_url of its profile, which may lead elsewhere"
LONGER = "give the model a longer context, or switch its thinking off"
REMEDIES = {
    TOO_SHORT: 'give its profile more "max_tokens"',
    THOUGHT_ONLY: 'switch its thinking off in the "extra" of its profile, or at the server',
    NO_JSON: NOT_THE_SERVER,
    NO_COMPLETION: NOT_THE_SERVER,
}


@dataclass(frozen=True, slots=True)
class Response:
    """The body of a response, that of its request, and the seconds between them without waits."""

    raw: bytes
    asked: Mapping[str, Any]
    seconds: float


class Endpoint:
    """A Vlm behind a server; answers are only as reproducible as the server makes them.

    `choose` uses the log-probabilities at the token with the choice, if the server gives them and
    the choices have at least MASS there. Otherwise it counts sampled answers: three if they agree,
    else up to the profile's `samples`. A parameter that the server rejected is not sent again. A
    model that was seen thinking is asked not to, and gets enough tokens to think anyway.
    """

    def __init__(
        self,
        profile: Profile,
        limits: RequestLimits | None = None,
        consent: PictureConsent | None = None,
    ) -> None:
        """`limits` replace the profile's; pictures are sent only with `consent`, if that is given.

        InputError if the profile names no model.
        """
        if not profile.model:
            variable = f"REFLECTIONFLOW_{profile.name.upper().replace('-', '_')}_MODEL"
            raise InputError(
                f"The profile {profile.name} names no model. Set {variable}, or write its "
                f'"model" into {FILE} (see docs/judges.md).'
            )
        allowed = RequestLimits(
            concurrency=profile.concurrency,
            seconds=profile.seconds,
            per_minute=profile.requests_per_minute,
        )
        self.profile, self.limits, self.consent = profile, limits or allowed, consent
        self._lock, self._pace = Lock(), Pace(self.limits.per_minute)
        self._usage = Usage()
        self._refused: frozenset[str] = frozenset()  # parameters, see wire.py
        self._guessed: Counter[str] = Counter()  # by parameters: requests answered without them
        self._least = 0  # fewest tokens that the server accepts, if it rejected fewer
        self._most_room: dict[int, int] = {}  # by number of pictures, if tokens were rejected
        self.thinks = False  # whether it thinks before it answers, if known
        self.samples = profile.samples
        self.redaction = Redaction(profile.secrets, profile.private)
        self.model_name = profile.model

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
        """`Vlm.choose`; ignores schemas, since choices are not JSON objects."""
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
        """`ExactVlm.likelihoods` from the top first tokens; answers should be one token long.

        A Failure if the server gives no log-probabilities: samples are too imprecise.
        """
        return self._first_tokens(questions, answers, masses_from_top_tokens, progress, phase)

    def label_scores(
        self,
        questions: Sequence[Question],
        labels: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """`LogitVlm.label_scores`; logits need vLLM's --logprobs-mode raw_logits."""
        return self._first_tokens(questions, labels, best_scores, progress, phase)

    def _first_tokens(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        weigh: Callable[[Rivals, Sequence[str]], tuple[float, ...]],
        progress: Progress,
        phase: str,
    ) -> list[tuple[float, ...] | Failure]:
        check_choices(answers)

        async def weigh_one(client: AsyncOpenAI, question: Question) -> tuple[float, ...] | Failure:
            asked = replace(question, schema=None, max_tokens=FIRST_TOKENS)
            reply = await self._reply(client, asked, wire.WITH_LOGPROBS)
            if isinstance(reply, Failure):
                return reply
            if not reply.texts:
                return self.unanswered(reply)
            if not any(token.rivals for token in reply.tokens[:1]):
                return Failure(f"The endpoint {self.profile} gives no probabilities of tokens.")
            return weigh(reply.tokens[0].rivals, answers)

        return self._in_parallel(weigh_one, questions, progress, phase)

    def require_consent(self, questions: Iterable[Question]) -> None:
        """InputError if pictures would be sent to a host that the user has not agreed to."""
        if self.consent and any(question.images for question in questions):
            self.consent.require(self.profile)

    def _in_parallel(
        self,
        ask: Callable[[AsyncOpenAI, Question], Awaitable[Answer | Failure]],
        questions: Sequence[Question],
        progress: Progress,
        phase: str,
    ) -> list[Answer | Failure]:
        def connect() -> Any:
            return open_client(self.profile, self.limits)

        self.require_consent(questions)
        most = self.limits.concurrency
        return ask_in_parallel(connect, within_budget(ask), questions, most, progress, phase)

    async def _answer(self, client: AsyncOpenAI, question: Question) -> str | Failure:
        def readable(reply: Reply) -> bool:
            # A truncated object is useless.
            return bool(reply.texts) and not (question.schema and reply.was_cut)

        reply = await self._reply(client, question, wire.GREEDY, readable)
        return reply if isinstance(reply, Failure) else self.redaction.of(reply.texts[0])

    async def _choice(
        self, client: AsyncOpenAI, question: Question, choices: Sequence[str]
    ) -> tuple[float, ...] | Failure:
        def readable(reply: Reply) -> bool:
            said = (said_choice(text, choices) for text in reply.certain(choices))
            return any(index is not None for index in said) or odds_of(reply) is not None

        def odds_of(reply: Reply) -> tuple[float, ...] | None:
            return from_answer(reply.tokens, choices, cut=any(reply.doubtful[:1]))

        question = replace(question, schema=None, max_tokens=FIRST_TOKENS)
        if "logprobs" not in self._refused:
            reply = await self._reply(client, question, wire.WITH_LOGPROBS, readable)
            if isinstance(reply, Failure):
                return reply
            if odds := odds_of(reply):
                return odds
            if reply.was_cut and not readable(reply):
                return self.unanswered(replace(reply, problem=TOO_SHORT))
            if not reply.tokens and not self._guessed["logprobs"]:  # else they were not requested
                self._learn(("logprobs",))
        question = replace(question, max_tokens=SAMPLE_TOKENS)
        texts = await self._samples(client, question, choices, readable)
        if isinstance(texts, Failure):
            return texts
        return from_samples(texts, choices) or self._no_choice()

    async def _samples(
        self,
        client: AsyncOpenAI,
        question: Question,
        choices: Sequence[str],
        readable: Callable[[Reply], bool],
    ) -> list[str] | Failure:
        """Samples until the first ones agree or there are enough; several per request."""
        texts: list[str] = []
        most = self.samples
        while not enough_samples(texts, choices, most):
            missing = (AGREEING if len(texts) < AGREEING else most) - len(texts)
            parameters = {"temperature": 1, "seed": len(texts), "n": min(missing, most)}
            reply = await self._reply(client, question, parameters, readable)
            if isinstance(reply, Failure):
                return reply
            if not texts and reply.was_cut and not readable(reply):
                return self.unanswered(replace(reply, problem=TOO_SHORT))
            texts += reply.certain(choices)[:missing]
        return texts

    async def _reply(
        self,
        client: AsyncOpenAI,
        question: Question,
        parameters: Mapping[str, Any],
        readable: Callable[[Reply], bool] = lambda reply: bool(reply.texts),
    ) -> Reply | Failure:
        """A reply with at least one text or token, without rejected parameters.

        After a broken or empty body, sent now and then by proxies and busy servers, the request is
        repeated once; so is one whose token limit was used up by a thought, with a higher limit.
        """
        tries = min(2, self.limits.tries)
        while True:
            thinks = self.thinks
            room = self._room if thinks else 0
            try:
                reply = read((await self.request(client, question, parameters, room)).raw)
            except SendError as error:
                return self.failure(error)
            self._add(Usage(0, reply.prompt_tokens, reply.completion_tokens))
            self.thinks |= reply.thought or (reply.was_cut and not readable(reply))
            if reply.texts and (readable(reply) or thinks or not reply.was_cut):
                return reply
            if "logprobs" in parameters and reply.tokens and (readable(reply) or not reply.was_cut):
                return reply
            if self.thinks and not thinks:
                continue  # once, with tokens for a thought, and without thinking if possible
            tries -= 1
            if not tries or reply.problem == TOO_SHORT or reply.declined:
                return self.unanswered(reply)

    async def request(
        self, client: AsyncOpenAI, question: Question, parameters: Mapping[str, Any], room: int
    ) -> Response:
        """The response to a question, without parameters that the server rejects; raises SendError.

        `room` are extra tokens for a thought; fewer if the server rejects so many. Which parameters
        are rejected is tracked per request, because concurrent requests may change that.
        """
        refused: frozenset[str] = frozenset()
        guessed: frozenset[str] = frozenset()
        extra, pictures = self.profile.extra, len(question.images)
        most = self._most_room.get(pictures, MAX_TOKENS)
        room = min(max(room, self._least - question.max_tokens), most)
        while True:
            asked = {**parameters, **self._without_thought()}
            left_out = refused | self._refused
            roomy = replace(question, max_tokens=question.max_tokens + room)
            body = wire.body(roomy, self.profile.model, asked, left_out, extra)
            ours = self._count, self._pace, f"The endpoint {self.profile}"
            try:
                raw, seconds = await send(client, body, self.limits, *ours)
            except SendError as error:
                enough = min(self._room, most)
                if error.error.asked_too_little and room < enough:
                    self.thinks, room = True, enough
                    continue
                if error.error.least_tokens > roomy.max_tokens:
                    self._least = error.error.least_tokens
                    room = self._least - question.max_tokens
                    continue
                if room and error.error.asked_too_much:
                    room = most = room // 2 if room > LEAST_ROOM else 0
                    continue
                parameter = _refused(body, error)
                if parameter is None or parameter in left_out or parameter in extra:
                    raise
                refused |= {parameter}
                if wire.named_parameter(body, error.said) != parameter:
                    guessed |= {parameter}
                continue
            # Only after a success: the question itself may have been at fault.
            self._learn(refused - guessed)
            self._guess(guessed)
            if most < MAX_TOKENS:
                self._most_room[pictures] = most
            return Response(raw, body, seconds)

    def _without_thought(self) -> Mapping[str, Any]:
        ours = self.thinks and not wire.THOUGHT_FIELDS & self.profile.extra.keys()
        return wire.WITHOUT_THOUGHT if ours else {}

    @property
    def _room(self) -> int:
        """Tokens for a thought before an answer."""
        return self.profile.max_tokens or THINKING_TOKENS

    def _count(self) -> None:
        self._add(Usage(calls=1))

    def _add(self, usage: Usage) -> None:
        with self._lock:
            self._usage += usage

    def _learn(self, refused: Iterable[str]) -> None:
        with self._lock:
            self._refused = self._refused.union(refused)

    def _guess(self, parameters: Iterable[str]) -> None:
        """Learns unnamed parameters at their second rejection; the first may be a bad moment."""
        with self._lock:
            self._guessed.update(parameters)
            twice = {name for name in parameters if self._guessed[name] > 1}
        self._learn(twice)

    def unanswered(self, reply: Reply) -> Failure:
        """Why a reply has no answer, and what to do."""
        said = in_its_words(reply.declined, self.profile, self.redaction)
        remedy = f"; {REMEDIES[reply.problem]}" if reply.problem in REMEDIES else ""
        if reply.problem == TOO_SHORT and any(m < self._room for m in self._most_room.values()):
            remedy = f", and its server refuses more; {LONGER}"
        reason = f"The endpoint {self.profile} {reply.problem}{said}{remedy}."
        return Failure(reason, temporary=reply.problem in (NO_JSON, NO_COMPLETION))

    def failure(self, error: SendError) -> Failure:
        """Why a request has no answer, and what to do."""
        times = f" {error.times} times" if error.times > 1 else ""
        how = self.profile, self.redaction, error.error.about_key
        said = in_its_words(error.error.message, *how)
        reason = f"The endpoint {self.profile} {error.what}{times}{said}; {error.advice}."
        return Failure(reason, temporary=not error.error.about_question)

    def _no_choice(self) -> Failure:
        return Failure(f"The endpoint {self.profile} answers with none of the choices.")


def _refused(body: Mapping[str, Any], error: SendError) -> str | None:
    """The parameter that the server rejected; None if the request failed for another reason."""
    if error.error.sees_nothing:
        return None
    if error.status in (400, 422):
        guess = wire.refused_parameter if error.error.about_question else wire.named_parameter
        return guess(body, error.said)
    named = error.status in (403, 500, 501)
    return wire.named_parameter(body, error.error.message) if named else None
