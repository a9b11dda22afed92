"""ComfyUI's own text generation as a vision-language model: a CLIP that can write.

Newer versions of ComfyUI answer questions about pictures with models that they load as text
encoders. What a CLIP can do is tested, never assumed: older versions have no `generate`, and most
encoders see no pictures. Its weights stay under ComfyUI's control, and Cancel works at every token,
since ComfyUI checks for it whenever its progress moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor

from ...reflectionflow_core.allowance import NoCallsLeftError, give_back_calls, take_calls
from ...reflectionflow_core.protocols import SILENT, Progress
from ...reflectionflow_core.vlm.closed import certain_text, said_choice
from ...reflectionflow_core.vlm.failures import not_allowed
from ...reflectionflow_core.vlm.interface import Failure, Question, Usage
from ...reflectionflow_core.vlm.likelihoods import (
    MASS,
    check_choices,
    deciding_places,
    enough_samples,
    from_samples,
    from_top_tokens,
)
from ...reflectionflow_core.vlm.shared import runs_of
from ...reflectionflow_core.vlm.thoughts import without_thoughts
from .chat import check_sees, check_writes, tokens_of, writers
from .packed import first_logits, packed, writer_of
from .qwen import complete, lost_layer

SAMPLES = 8  # answers to a closed question of a model that shows no probabilities
FIRST = 8  # tokens in which an answer to a closed question begins, after white space
CHOICE_TOKENS = 256  # of an answer that does not begin with a choice, and may explain itself first
THINKING_TOKENS = 2048  # for a thought that could not be switched off
TOP = 50  # likeliest tokens at its beginning
GREEDY = {"do_sample": False}
FAIR = {
    "do_sample": True,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


class ComfyVlm:
    """A Vlm on a CLIP that ComfyUI uses as a text encoder at the same time."""

    def __init__(self, clip: Any) -> None:
        """Raises InputError for a CLIP that writes no text."""
        check_writes(clip)
        self.clip, self.usage, self.least_mass = clip, Usage(), MASS
        self.writer, self.layer = writer_of(clip), lost_layer(clip)

    def check_sees(self) -> None:
        """Raises InputError for a CLIP that has no part which reads pictures."""
        check_sees(self.clip)

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        return self._answers(questions, self._text, progress, phase)

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """Probabilities from the logits of the token at which the answer names its choice, or from
        samples if logits are hidden.

        Neighbouring questions about the same pictures are read in one pass if the model allows it
        (packed.py).
        """
        check_choices(choices)
        begun = self._begun(questions)

        def chosen(question: Question) -> tuple[float, ...] | Failure:
            tops = next(begun)
            odds = from_top_tokens(tops, choices, self.least_mass) if tops else None
            return odds or self._written_choice(question, choices)

        return self._answers(questions, chosen, progress, phase)

    def _written_choice(
        self, question: Question, choices: Sequence[str]
    ) -> tuple[float, ...] | Failure:
        """P(choice) where the answer, written as far as is needed, says one."""
        for longest in (FIRST, CHOICE_TOKENS):
            with logits_of(self.clip) as seen:
                ids = self._generated(question, longest, **GREEDY)
            texts = [self.clip.decode([token]) for token in ids]
            cut = len(ids) >= longest
            places = deciding_places(texts, choices, cut) if len(seen) >= len(ids) else ()
            for place, says in places:
                tops, own = self._likeliest(seen[place]), (texts[place], says)
                if odds := from_top_tokens(tops, choices, self.least_mass, own):
                    return odds
            text = certain_text(self.clip.decode(ids), choices, cut)
            if said_choice(text, choices) is not None or not cut:
                break
        texts = [text] if seen else self._samples(question, choices, longest)
        odds = from_samples(texts, choices)
        return odds or Failure("The text encoder's answer is none of the choices.")

    def _answers(
        self,
        questions: Sequence[Question],
        ask: Callable[[Question], Any],
        progress: Progress,
        phase: str,
    ) -> list[Any]:
        answers: list[Any] = []
        for question in questions:
            progress.check()
            try:
                answers.append(ask(question))
            except mm.OOM_EXCEPTION:
                reason = "Memory ran out on a question; choose a smaller model."
                answers.append(Failure(reason, temporary=True))
            except NoCallsLeftError as error:
                answers.append(not_allowed(error))
            progress.report(phase, len(answers), len(questions))
        return answers

    def _text(self, question: Question) -> str | Failure:
        longest = question.max_tokens
        ids = self._generated(question, longest, **GREEDY)
        text = self._said(ids)
        if not text and len(ids) >= longest:  # all of it went into a thought
            text = self._said(self._generated(question, longest + THINKING_TOKENS, **GREEDY))
        return text or Failure("The text encoder gave an empty answer, or nothing but a thought.")

    def _samples(self, question: Question, choices: Sequence[str], longest: int) -> list[str]:
        texts: list[str] = []
        while not enough_samples(texts, choices, SAMPLES):
            ids = self._generated(question, longest, seed=len(texts), **FAIR)
            cut = len(ids) >= longest
            texts.append(certain_text(self.clip.decode(ids), choices, cut))
        return texts

    def _begun(self, questions: Sequence[Question]) -> Iterator[list[tuple[str, float]] | None]:
        """For each question the likeliest first tokens, from one pass for all about the same
        pictures; None where it must be asked by itself."""
        for run in runs_of(questions):
            yield from self._together(run) if len(run) > 1 and self.writer else [None] * len(run)

    def _together(self, run: Sequence[Question]) -> list[list[tuple[str, float]] | None]:
        try:
            take_calls(len(run))
        except NoCallsLeftError:
            return [None] * len(run)  # the first ones may still be asked, each by itself
        pack = packed([tokens_of(self.clip, question) for question in run])
        try:
            with complete(self.clip, self.layer):
                logits = first_logits(self.clip, self.writer, pack) if pack else None
        except mm.OOM_EXCEPTION:
            logits = None  # each by itself needs less
        if logits is None:
            give_back_calls(len(run))
            return [None] * len(run)
        # An answer may begin with white space; where it really begins is then found out alone.
        begins = [bool(self._said([int(row.argmax())])) for row in logits]
        give_back_calls(len(run) - sum(begins))
        self.usage += Usage(calls=sum(begins), completion_tokens=sum(begins))
        pairs = zip(logits, begins, strict=True)
        return [self._likeliest(row) if said else None for row, said in pairs]

    def _likeliest(self, logits: Tensor) -> list[tuple[str, float]]:
        table = logits.log_softmax(-1)
        likely = table.topk(min(TOP, len(table)))
        words = (self._said([int(token)]) for token in likely.indices)
        return list(zip(words, likely.values.tolist(), strict=True))

    def _generated(self, question: Question, longest: int, **how: Any) -> list[int]:
        take_calls()
        tokens = tokens_of(self.clip, question)
        with complete(self.clip, self.layer):
            made = self.clip.generate(tokens, max_length=longest, **how)
        ids = torch.as_tensor(made).flatten().tolist()  # some versions give a batch of one
        self.usage += Usage(calls=1, completion_tokens=len(ids))
        return ids

    def _said(self, ids: Sequence[int]) -> str:
        return without_thoughts(self.clip.decode(list(ids)))


@contextmanager
def logits_of(clip: Any) -> Iterator[list[Tensor]]:
    """A list that takes the logits (vocabulary,) of every token that the CLIP generates meanwhile;
    it stays empty where its model draws tokens in another way than ComfyUI's usual one."""
    seen: list[Tensor] = []

    def watched(draw: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
            seen.append(logits[0].detach().cpu().double())
            return draw(logits, *args, **kwargs)

        return drawn

    try:
        for module in writers(clip):
            module.sample_token = watched(module.sample_token)
        yield seen
    finally:
        for module in writers(clip):
            module.__dict__.pop("sample_token", None)
