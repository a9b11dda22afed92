"""The reward model's forward pass in training and use; independent of checkpoints and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..pictures import to_rgb
from ..vlm.prompts import control_tokens, without_control_tokens
from .reward_template import SLOT

MIN_PIXELS = 56 * 56


def encode_rows(
    processor: Any, template: str, prompts: Sequence[str], images: Sequence[Image], max_pixels: int
) -> dict[str, Tensor]:
    """Model inputs with one row per prompt and picture, padded on the right.

    `template` contains SLOT, for the prompt, and TOKEN, where the reward is read, once each.
    """
    tokens = control_tokens(processor)
    return dict(
        processor(
            text=[_chat(processor, template, prompt, tokens) for prompt in prompts],
            images=[[to_rgb(image)] for image in images],
            size={"shortest_edge": MIN_PIXELS, "longest_edge": max_pixels},
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
    )


def rewards(model: Any, head: Tensor, batch: Mapping[str, Any], token: int) -> Tensor:
    """Rewards (rows,) in fp32: `head` (1, hidden) on the hidden state at each row's token."""
    ids: Tensor = batch["input_ids"]
    # Trained with plain text positions even for pictures, unlike Qwen itself.
    positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
    hidden: Tensor = model(**batch, position_ids=positions, use_cache=False).last_hidden_state
    at_token = hidden[ids == token].float()  # one per row, in order
    # In bf16, close rewards would become ties.
    with torch.autocast(ids.device.type, enabled=False):
        return (at_token @ head.to(ids.device).float().T)[:, 0]


def _chat(processor: Any, template: str, prompt: str, tokens: Sequence[str]) -> str:
    # A TOKEN in the prompt would count as a second reward.
    text = template.replace(SLOT, without_control_tokens(prompt, tokens))
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
