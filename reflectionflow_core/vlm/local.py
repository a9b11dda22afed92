"""Vision-language models on this machine, by transformers: Qwen2.5-VL, Qwen3-VL and others.

What lies in a model's own generation_config.json beyond its end tokens is not used: answers are
greedy (or fairly sampled), and the same whether a question is asked alone or among others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from ..flux.folders import first_line
from ..flux.placement import Placement, device_named, make_placement
from ..protocols import SILENT, Progress
from ..record import MAX_SEED, InputError
from .choices import Tokens, masses, prefixes, shares, spellings
from .decoding import Grammars, GumbelNoise, TokenLimits
from .folder import load_model, load_processor
from .interface import Failure, Question, Usage
from .prompts import encode, placed

Answer = TypeVar("Answer")
Work = Callable[[Sequence[Question], Sequence[int], Progress], list[Any]]


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How a model on this machine answers.

    `batch_size` questions at once, pictures of at most `max_pixels` pixels. Temperature 0 is
    greedy; above it, `seed` and a question's place in its call decide what is drawn.
    """

    batch_size: int = 4
    max_pixels: int = 768 * 768
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "batch size": (self.batch_size, 1, 1024),
            "number of pixels": (self.max_pixels, 32 * 32, 2**28),
            "temperature": (self.temperature, 0, 10),
            "seed": (self.seed, 0, MAX_SEED),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputError(f"The {name} is {value}. Give a number from {low} to {high:,}.")


def load_vlm(
    source: str | Path,
    *,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    settings: LocalSettings | None = None,
    placement: Placement | None = None,
) -> LocalVlm:
    """A model from a folder (never touches the network) or from the hub by an id: owner/name.

    Weights in "bf16", "fp32", or "nf4": four bits by bitsandbytes, on an NVIDIA GPU. They stay on
    `device` unless a `placement` moves them. Raises InputError for what cannot be loaded.
    """
    if dtype == "nf4" and placement:
        raise InputError("nf4 weights cannot be moved between GPU and host memory. Choose bf16.")
    place = device_named(device)
    processor = load_processor(source)
    model = load_model(AutoModelForImageTextToText, source, dtype, place)
    resident = make_placement("resident", place, {}, ())
    return LocalVlm(model, processor, placement or resident, settings or LocalSettings())


class LocalVlm:
    """A Vlm of transformers. `placement` may be replaced by a host with a memory of its own."""

    def __init__(
        self, model: Any, processor: Any, placement: Placement, settings: LocalSettings
    ) -> None:
        self.model, self.processor, self.placement = model, processor, placement
        self.settings, self.usage = settings, Usage()
        own, tokenizer = model.generation_config, processor.tokenizer
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        self.ends: list[int] = [ends] if isinstance(ends, int) else list(ends)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.ends[0]
        # generate() fills what it was not told from here: sampling, repetition penalties ...
        model.generation_config = GenerationConfig(eos_token_id=self.ends, pad_token_id=pad)
        words = model.config.get_text_config()
        self.context: int = words.max_position_embeddings
        self.grammars = Grammars(tokenizer, words.vocab_size) if Grammars.available() else None

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        return self._answers(questions, self._chat, progress, phase)

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """Exact probabilities of the choices' tokens, shared among the choices.

        "Yes" and " yes" count for "yes": see `choices`. One pass over the prompt for choices of
        one token, one more for every beginning of a longer one.
        """
        return self._weighed(questions, choices, shares, progress, phase)

    def likelihoods(
        self,
        questions: Sequence[Question],
        answers: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        """As of an ExactVlm, from the same tokens as `choose`."""
        return self._weighed(questions, answers, masses, progress, phase)

    def _weighed(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        weigh: Callable[[Mapping[Tokens, int], Mapping[Tokens, float], int], tuple[float, ...]],
        progress: Progress,
        phase: str,
    ) -> list[tuple[float, ...] | Failure]:
        owners = spellings(self.processor.tokenizer, choices)

        def work(
            asked: Sequence[Question], places: Sequence[int], progress: Progress
        ) -> list[tuple[float, ...]]:
            del places
            batch = self._encoded(asked, room=max(map(len, owners)))
            found = self._logarithms(batch, list(owners), progress)
            return [weigh(owners, row, len(choices)) for row in found]

        return self._answers(questions, work, progress, phase)

    def _answers(
        self, questions: Sequence[Question], work: Work, progress: Progress, phase: str
    ) -> list[Any]:
        """`work` done on every batch of questions, each answer in its place."""
        answers: list[Any] = []
        for start in range(0, len(questions), self.settings.batch_size):
            places = range(start, min(start + self.settings.batch_size, len(questions)))
            for answer in self._tried([questions[i] for i in places], places, work, progress):
                answers.append(answer)
                progress.report(phase, len(answers), len(questions))
        return answers

    def _tried(
        self, asked: Sequence[Question], places: Sequence[int], work: Work, progress: Progress
    ) -> list[Any]:
        """A batch; one by one where it cannot be done at once, a Failure where not even that."""
        progress.check()
        try:
            with torch.no_grad(), self.placement.on_device(self.model):
                return work(asked, places, progress)
        except torch.OutOfMemoryError:
            reason = "Memory ran out on a question; choose smaller pictures or a smaller model."
        except _UnfitError as error:
            reason = str(error)
        # Outside of `except`, whose error would keep the batch's memory.
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(asked) == 1:
            return [Failure(reason)]
        alone = zip(asked, places, strict=True)
        return [a for q, i in alone for a in self._tried([q], [i], work, progress)]

    def _chat(
        self, asked: Sequence[Question], places: Sequence[int], progress: Progress
    ) -> list[str]:
        limits = [question.max_tokens for question in asked]
        steering = self._steering(asked, places)
        batch = self._encoded(asked, room=max(limits))
        prompt = batch["input_ids"].shape[1]
        told = self.model.generate(
            **batch,
            max_new_tokens=max(limits),
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([TokenLimits(limits, prompt, progress)]),
            logits_processor=steering,
        )
        answers = [self._until_end(row, n) for row, n in zip(told[:, prompt:], limits, strict=True)]
        self.usage += Usage(completion_tokens=sum(map(len, answers)))
        return self.processor.tokenizer.batch_decode(answers, skip_special_tokens=True)

    def _steering(self, asked: Sequence[Question], places: Sequence[int]) -> LogitsProcessorList:
        steering = LogitsProcessorList()
        if self.grammars and any(question.schema is not None for question in asked):
            steering.append(self.grammars.processor(asked))
        if self.settings.temperature:
            seeds = [(self.settings.seed << 20) + place for place in places]
            steering.append(GumbelNoise(self.settings.temperature, seeds))
        return steering

    def _until_end(self, row: Tensor, limit: int) -> list[int]:
        """The tokens of one answer with its end token, without what fills the batch up."""
        tokens: list[int] = row[:limit].tolist()
        ends = [place for place, token in enumerate(tokens) if token in self.ends]
        return tokens[: ends[0] + 1] if ends else tokens

    def _logarithms(
        self, batch: dict[str, Any], sequences: Sequence[Tokens], progress: Progress
    ) -> list[dict[Tokens, float]]:
        """For each question the logarithm of each sequence's probability as its beginning."""
        found = [dict.fromkeys(sequences, 0.0) for _ in batch["input_ids"]]
        for prefix in prefixes(sequences):
            progress.check()
            longer = _continued(batch, prefix)
            logits = self.model(**longer, logits_to_keep=1, use_cache=False).logits[:, -1]
            table = logits.double().log_softmax(-1).cpu()
            for sequence in sequences:
                if len(sequence) > len(prefix) and sequence[: len(prefix)] == prefix:
                    for row, logarithms in zip(table, found, strict=True):
                        logarithms[sequence] += float(row[sequence[len(prefix)]])
        return found

    def _encoded(self, asked: Sequence[Question], room: int) -> dict[str, Any]:
        """The batch on the device, counted; refuses what leaves no `room` for the answer."""
        try:
            batch = encode(self.processor, asked, self.settings.max_pixels)
        except ValueError as error:
            raise _UnfitError(f"The model cannot read a question: {first_line(error)}") from error
        lengths = batch["attention_mask"].sum(1).tolist()
        if max(lengths) + room > self.context:
            raise _UnfitError(
                f"A question of {max(lengths)} tokens and an answer of up to {room} do not fit "
                f"into the model's {self.context}; ask less, or with smaller pictures."
            )
        self.usage += Usage(calls=len(asked), prompt_tokens=sum(lengths))
        return placed(batch, self.placement.device, self.model.dtype)


class _UnfitError(Exception):
    """A batch in which a question cannot be asked; the message is the reason of its Failure."""


def _continued(batch: dict[str, Any], tokens: Tokens) -> dict[str, Any]:
    """The batch with the same tokens of an answer behind every question."""
    ids: Tensor = batch["input_ids"]
    if not tokens:
        return batch
    said = torch.tensor(tokens, device=ids.device).expand(len(ids), -1)
    longer = {"input_ids": said, "attention_mask": torch.ones_like(said)}
    for name in ("mm_token_type_ids", "token_type_ids"):  # 0 is text
        if name in batch:
            longer[name] = torch.zeros_like(said)
    joined = {name: torch.cat([batch[name], more], 1) for name, more in longer.items()}
    return {**batch, **joined}
