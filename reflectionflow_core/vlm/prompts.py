"""Encodes questions for a local model: chat template, pictures of limited size, padded batch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from ..pictures import to_rgb
from .failures import UnfitError
from .interface import Question
from .thoughts import closing_mark


def encode(
    processor: Any, questions: Sequence[Question], max_pixels: int, side: str = "left"
) -> dict[str, Tensor]:
    """The model's inputs by name; `input_ids` (questions, tokens) are padded on `side`.

    ValueError for pictures that the processor rejects, UnfitError as `rendered`.
    """
    texts = rendered(processor, questions)
    # Most templates contain the BOS token; the tokenizer would add a second one.
    bos = processor.tokenizer.bos_token
    has_bos = bool(bos) and texts[0].startswith(bos)
    pictures = [[at_most(image, max_pixels) for image in q.images] for q in questions]
    return dict(
        processor(
            text=texts,
            images=pictures if any(pictures) else None,
            padding=True,
            padding_side=side,
            add_special_tokens=not has_bos,
            return_tensors="pt",
        )
    )


def rendered(processor: Any, questions: Sequence[Question]) -> list[str]:
    """The questions in the model's chat template, with one placeholder per picture.

    The system text is put above the question if the template rejects system messages; thinking is
    switched off. UnfitError for a question that the template rejects anyway.
    """
    return [_rendered(processor, question) for question in questions]


def _rendered(processor: Any, question: Question) -> str:
    tokens = control_tokens(processor)
    try:
        text = _templated(processor, _conversation(question, tokens))
    except (TemplateError, TypeError, LookupError):
        merged = replace(question, text=f"{question.system}\n\n{question.text}", system="")
        try:
            text = _templated(processor, _conversation(merged, tokens))
        except (TemplateError, TypeError, LookupError) as error:  # written for plain texts
            raise UnfitError(
                f"The model cannot read a question: its chat template refuses it ({error})."
            ) from error
    mark = closing_mark(text)
    return f"{text.rstrip()}\n\n{mark}\n\n" if mark else text


def _templated(processor: Any, messages: list[dict[str, Any]]) -> str:
    template = processor.chat_template or processor.tokenizer.chat_template
    switch = {"enable_thinking": False} if "enable_thinking" in str(template) else {}
    return processor.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **switch
    )


def to_device(
    batch: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """The batch on `device`, with pictures in the model's `dtype`."""
    return {
        name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
        for name, value in batch.items()
    }


def continued(batch: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The batch with the same answer tokens after every question."""
    ids: Tensor = batch["input_ids"]
    if not tokens:
        return batch
    said = torch.tensor(tokens, device=ids.device).expand(len(ids), -1)
    longer = {"input_ids": said, "attention_mask": torch.ones_like(said)}
    for name in ("mm_token_type_ids", "token_type_ids"):  # 0 means text
        if name in batch:
            longer[name] = torch.zeros_like(said)
    joined = {name: torch.cat([batch[name], more], 1) for name, more in longer.items()}
    return {**batch, **joined}


def control_tokens(processor: Any) -> tuple[str, ...]:
    """The tokenizer's special tokens, which user texts must not contain."""
    added = processor.tokenizer.added_tokens_decoder.values()
    return tuple(str(token) for token in added if token.special and len(str(token)) > 1)


def without_control_tokens(text: str, tokens: Sequence[str]) -> str:
    """`text` with a space inside every control token, so that it is ordinary text."""
    for token in tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def at_most(image: Image.Image, max_pixels: int) -> Image.Image:
    """The picture in RGB, scaled down to at most `max_pixels` pixels."""
    shrink = math.sqrt(max_pixels / (image.width * image.height))
    rgb = to_rgb(image)
    if shrink >= 1:
        return rgb
    size = max(1, int(image.width * shrink)), max(1, int(image.height * shrink))
    return rgb.resize(size, Image.Resampling.BICUBIC)


def full_text(question: Question) -> str:
    """The question's text, followed by the answer's schema if it has one."""
    if question.schema is None:
        return question.text
    schema = json.dumps(question.schema, ensure_ascii=False)
    form = f"Answer with one JSON object, nothing else, that fits this schema:\n{schema}"
    return f"{question.text}\n\n{form}"


def _conversation(question: Question, tokens: Sequence[str]) -> list[dict[str, Any]]:
    text = full_text(question)
    pictures = [{"type": "image"} for _ in question.images]
    messages = [{"role": "user", "content": [*pictures, _text(text, tokens)]}]
    if question.system:
        messages.insert(0, {"role": "system", "content": [_text(question.system, tokens)]})
    return messages


def _text(text: str, tokens: Sequence[str]) -> dict[str, str]:
    return {"type": "text", "text": without_control_tokens(text, tokens)}
