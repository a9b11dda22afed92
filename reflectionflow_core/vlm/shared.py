"""Questions about the same pictures: what they begin with goes through the model once.

A chat template puts system text and pictures before a question's own words, so questions about one
picture begin with the same tokens, some 750 of 800. Their keys and values are computed once, and
every question continues them. Knows no batches and no answers: see local.py.
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

# Models that continue a cache by several tokens as if they had read all at once: tested one by one.
# Others read every question as a whole. A Qwen3.5 is none of these: its linear attention keeps a
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
    """Keys and values, one row of them, of the text `head` with its pictures; `length` in tokens.

    `shift` is what Qwen and GLM add to the positions after a picture.
    """

    images: tuple[Image, ...]
    head: str
    length: int
    cache: Any
    shift: Tensor | None

    def begins(self, images: Sequence[Image], texts: Sequence[str]) -> bool:
        """True if all texts, below the same pictures, begin with this."""
        pairs = zip(images, self.images, strict=False)
        same = len(images) == len(self.images) and all(a is b for a, b in pairs)
        return same and all(text.startswith(self.head) for text in texts)


def same_pictures(first: Question, second: Question) -> bool:
    """True if both questions begin alike: the same system text and the very same pictures."""
    pairs = zip(first.images, second.images, strict=False)
    alike = first.system == second.system and len(first.images) == len(second.images)
    return alike and bool(first.images) and all(a is b for a, b in pairs)


def in_order(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """The questions in order, in batches of at most `size`."""
    return (questions[start : start + size] for start in range(0, len(questions), size))


def by_picture(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """As `in_order`; neighbours about the same pictures come in batches of their own."""
    for alone, runs in groupby(runs_of(questions), key=lambda run: len(run) == 1):
        if alone:
            yield from in_order([run[0] for run in runs], size)
        else:
            yield from (batch for run in runs for batch in in_order(run, size))


def runs_of(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions in order; neighbours about the same pictures stand together."""
    runs: list[list[Question]] = []
    for question in questions:
        if runs and same_pictures(runs[-1][0], question):
            runs[-1].append(question)
        else:
            runs.append([question])
    return runs


def head_of(processor: Any, texts: Sequence[str]) -> str:
    """What all texts begin with, to the end of a control token.

    Every tokenizer reads a control token by itself, so a text can be cut there.
    """
    low, high = min(texts), max(texts)  # what these two share, all share
    differ = (i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    shared = low[: next(differ, len(low))]
    found = [token for token in control_tokens(processor) if token in shared]
    return shared[: max((shared.rfind(token) + len(token) for token in found), default=0)]


def rests_of(processor: Any, head: str, texts: Sequence[str]) -> list[Tokens] | None:
    """The tokens of each text behind the head; None if they do not come apart there."""
    ids = [_ids(processor, text) for text in (head, *texts)]
    rests = [_ids(processor, text[len(head) :]) for text in texts]
    apart = [ids[0] + rest for rest in rests] == ids[1:]
    return rests if apart and all(rests) else None


def length_before(rest: Tokens, batch: dict[str, Tensor]) -> int | None:
    """How many tokens of a question stand before its `rest`; None if it does not end with it, as
    where a template puts pictures last.
    """
    ids: list[int] = batch["input_ids"][0].tolist()
    length = len(ids) - len(rest)
    return length if tuple(ids[length:]) == rest else None


def read_beginning(
    model: Any, batch: dict[str, Any], images: tuple[Image, ...], head: str, length: int
) -> Beginning:
    """The keys and values of the first `length` tokens of a question on the model's device."""
    cut = {name: t[:, :length] if name in BY_TOKEN else t for name, t in batch.items()}
    cache = model(**cut, use_cache=True, logits_to_keep=1).past_key_values
    return Beginning(images, head, length, cache, getattr(model.model, "rope_deltas", None))


def continued_logits(
    model: Any, beginning: Beginning, rests: Sequence[Tokens], pad: int, device: torch.device
) -> Tensor:
    """The logits (rests, vocabulary) of the token that follows the beginning and each rest.

    Padding comes last, where no other token sees it.
    """
    longest = max(map(len, rests))
    padded = [[*rest, *[pad] * (longest - len(rest))] for rest in rests]
    ends = sorted({len(rest) - 1 for rest in rests})
    if beginning.shift is not None:
        model.model.rope_deltas = beginning.shift  # another picture may have come in between
    logits = model(
        input_ids=torch.tensor(padded, device=device),
        past_key_values=_repeated(beginning.cache, len(rests)),
        use_cache=True,
        logits_to_keep=torch.tensor(ends, device=device),
    ).logits
    return torch.stack([row[ends.index(len(r) - 1)] for row, r in zip(logits, rests, strict=True)])


def _repeated(cache: Any, rows: int) -> Any:
    """A cache for `rows` rows. The given one stays as it is: a layer that grows or is repeated
    makes new tensors."""
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    grown.batch_repeat_interleave(rows)
    return grown


def _ids(processor: Any, text: str) -> Tokens:
    return tuple(processor.tokenizer.encode(text, add_special_tokens=False))
