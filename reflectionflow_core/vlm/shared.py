"""Processes the common beginning of questions about the same pictures only once.

A chat template puts system text and pictures before the question, so questions about one picture
share about 750 of 800 tokens. Their keys and values are computed once, and every question continues
them. Independent of batches and answers: see local.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from .choices import Tokens
from .interface import Question
from .prompts import control_tokens

# Models, each tested, whose results do not change when a cache is continued by several tokens.
# Others read every question as a whole. Qwen3.5 is excluded: its linear attention keeps a
# running state, which cannot be continued for several questions at once.
FAMILIES = frozenset(
    {
        "gemma3",
        "glm4v",
        "idefics3",
        "internvl",
        "llava",
        "llava_onevision",
        "mistral3",
        "qwen2_5_vl",
        "qwen2_vl",
        "qwen3_vl",
        "qwen3_vl_moe",
        "smolvlm",
    }
)
BY_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """Keys and values (one row) of the text `head` with its pictures; `length` in tokens.

    `shift` is what Qwen and GLM add to positions after a picture.
    """

    images: tuple[Image, ...]
    head: str
    length: int
    cache: Any
    shift: Tensor | None

    def begins(self, images: Sequence[Image], texts: Sequence[str]) -> bool:
        """Whether all texts, with the same pictures, begin with this."""
        pairs = zip(images, self.images, strict=False)
        same = len(images) == len(self.images) and all(a is b for a, b in pairs)
        return same and all(text.startswith(self.head) for text in texts)


def same_pictures(first: Question, second: Question) -> bool:
    """Whether both questions have the same system text and the very same pictures."""
    pairs = zip(first.images, second.images, strict=False)
    alike = first.system == second.system and len(first.images) == len(second.images)
    return alike and bool(first.images) and all(a is b for a, b in pairs)


def in_order(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """The questions in order, in batches of at most `size`."""
    return (questions[start : start + size] for start in range(0, len(questions), size))


def by_picture(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """As `in_order`, but neighbours about the same pictures form separate batches."""
    for alone, runs in groupby(runs_of(questions), key=lambda run: len(run) == 1):
        if alone:
            yield from in_order([run[0] for run in runs], size)
        else:
            yield from (batch for run in runs for batch in in_order(run, size))


def runs_of(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions in order, grouped by neighbours about the same pictures."""
    runs: list[list[Question]] = []
    for question in questions:
        if runs and same_pictures(runs[-1][0], question):
            runs[-1].append(question)
        else:
            runs.append([question])
    return runs


def head_of(processor: Any, texts: Sequence[str]) -> str:
    """The common beginning of all texts, up to the end of a control token.

    Tokenizers read control tokens separately, so texts can be cut there.
    """
    low, high = (
        min(texts),
        max(texts),
    )  # the smallest and the largest: their common prefix is common to all
    differ = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    shared = low[: next(differ, len(low))]
    found = [token for token in control_tokens(processor) if token in shared]
    return shared[: max((shared.rfind(token) + len(token) for token in found), default=0)]


def rests_of(processor: Any, head: str, texts: Sequence[str]) -> list[Tokens] | None:
    """The tokens of each text after the head; None if the texts cannot be cut there."""
    ids = [_ids(processor, text) for text in (head, *texts)]
    rests = [_ids(processor, text[len(head) :]) for text in texts]
    apart = [ids[0] + rest for rest in rests] == ids[1:]
    return rests if apart and all(rests) else None


def length_before(rest: Tokens, batch: dict[str, Tensor]) -> int | None:
    """The number of tokens before `rest` in a question; None if the question does not end with it.

    Some templates put pictures last.
    """
    ids: list[int] = batch["input_ids"][0].tolist()
    length = len(ids) - len(rest)
    return length if tuple(ids[length:]) == rest else None


def read_beginning(
    model: Any, batch: dict[str, Any], images: tuple[Image, ...], head: str, length: int
) -> Beginning:
    """Keys and values of the first `length` tokens of a question, on the model's device."""
    cut = {name: t[:, :length] if name in BY_TOKEN else t for name, t in batch.items()}
    cache = model(**cut, use_cache=True, logits_to_keep=1).past_key_values
    return Beginning(images, head, length, cache, getattr(model.model, "rope_deltas", None))


def continued_logits(
    model: Any, beginning: Beginning, rests: Sequence[Tokens], pad: int, device: torch.device
) -> Tensor:
    """Logits (rests, vocabulary) of the token after the beginning and each rest.

    Padding comes last, where no other token attends to it.
    """
    longest = max(map(len, rests))
    padded = [[*rest, *[pad] * (longest - len(rest))] for rest in rests]
    ends = sorted({len(rest) - 1 for rest in rests})
    if beginning.shift is not None:
        model.model.rope_deltas = beginning.shift  # another picture may have been used in between
    logits = model(
        input_ids=torch.tensor(padded, device=device),
        past_key_values=_repeated(beginning.cache, len(rests)),
        use_cache=True,
        logits_to_keep=torch.tensor(ends, device=device),
    ).logits
    return torch.stack([row[ends.index(len(r) - 1)] for row, r in zip(logits, rests, strict=True)])


def _repeated(cache: Any, rows: int) -> Any:
    """A cache with `rows` rows; the given one is unchanged, since layers create new tensors."""
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    grown.batch_repeat_interleave(rows)
    return grown


def _ids(processor: Any, text: str) -> Tokens:
    return tuple(processor.tokenizer.encode(text, add_special_tokens=False))
