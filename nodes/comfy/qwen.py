"""Corrections to ComfyUI's Qwen when it writes about a picture.

Its prompt encoding is right. But when Qwen2.5-VL and Qwen3.5 write, ComfyUI numbers the tokens of a
picture one after the other instead of by row and column, and it loads Qwen2.5-VL without the output
layer, which only writing needs. Both are corrected while a question is answered, and only then.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher
from safetensors import safe_open
from torch import Tensor, nn

from ...reflectionflow_core.flux.folders import SAFETENSORS
from ...reflectionflow_core.record import InputError
from .chat import QWEN25, writers
from .memory import Holder

HEAD = "lm_head.weight"
SCALES = ("lm_head.weight_scale", "lm_head.scale_weight")  # of weights in fp8
ENDS = (151643, 151645)  # <|endoftext|> and <|im_end|>


class OutputLayer(nn.Module):
    """Words' scores from hidden states; `weight` is (vocabulary, width)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden[:, -1:], self.weight.to(hidden))


def lost_layer(clip: Any) -> ModelPatcher | None:
    """The output layer of a Qwen2.5-VL, from the file of the CLIP; None for any other CLIP, whose
    layer ComfyUI has loaded. Raises InputError where no file of the CLIP has one."""
    named = [writer for writer in writers(clip) if type(writer).__name__ == QWEN25]
    if all(hasattr(writer.model, "lm_head") for writer in named):
        return None
    for file in _files(clip):
        if (weight := _head(file)) is not None:
            held = Holder(OutputLayer(weight))
            return ModelPatcher(held, clip.patcher.load_device, clip.patcher.offload_device)
    raise InputError(
        "This Qwen2.5-VL has lost its output layer, so that it cannot answer. Load "
        "qwen_2.5_vl_7b_fp8_scaled.safetensors or another whole file with Load CLIP, or Qwen3-VL."
    )


def _files(clip: Any) -> list[str]:
    """The safetensors files of a CLIP, as its loader left them for ComfyUI to load it again."""
    _, (files, *_), *_ = getattr(clip.patcher, "cached_patcher_init", None) or (None, ((),))
    files = [files] if isinstance(files, str) else files
    return [file for file in files if file.lower().endswith(SAFETENSORS)]


def _head(file: str) -> Tensor | None:
    """The weight of the output layer in a file; None if there is none in a floating type."""
    with safe_open(file, framework="pt") as tensors:
        names = set(tensors.keys())
        weight = tensors.get_tensor(HEAD) if HEAD in names else None
        if weight is None or not weight.is_floating_point():
            return None
        scales = [tensors.get_tensor(name) for name in SCALES if name in names]
    return (weight.float() * scales[0].float()).bfloat16() if scales else weight


@contextmanager
def complete(clip: Any, layer: ModelPatcher | None) -> Iterator[None]:
    """Lets a CLIP write, with its `lost_layer` and with picture positions by row and column."""
    found = writers(clip)
    if len(found) != 1:
        yield
        return
    writer = found[0]
    encoder = next(m for m in clip.cond_stage_model.modules() if _writes_with(m, writer))
    process, generate = encoder.process_tokens, writer.generate
    pictures: list[Mapping[str, Any]] = []

    def processed(*args: Any, **kwargs: Any) -> Any:
        made = process(*args, **kwargs)
        pictures[:] = made[3] if isinstance(made, tuple) else ()  # of older Gemmas only embeds
        return made

    def written(embeds: Tensor, *args: Any, **how: Any) -> Any:
        grids = [(p["index"], p["extra"][0]) for p in pictures if _has_grid(p)]
        if grids and "position_ids" in inspect.signature(generate).parameters:
            how["position_ids"] = places(grids, embeds.shape[1]).to(embeds.device)
        if layer is not None:
            mm.load_models_gpu([layer, clip.patcher])
            how.setdefault("stop_tokens", ENDS)
        return generate(embeds, *args, **how)

    encoder.process_tokens, writer.generate = processed, written
    if layer is not None:
        writer.logits = layer.model.module.forward  # a module would become a part of the CLIP
    try:
        yield
    finally:
        del encoder.process_tokens, writer.generate
        writer.__dict__.pop("logits", None)


def _writes_with(module: Any, writer: Any) -> bool:
    return hasattr(module, "process_tokens") and getattr(module, "transformer", None) is writer


def _has_grid(picture: Mapping[str, Any]) -> bool:
    """Whether a picture's tokens need positions by row and column.

    ComfyUI sets them itself if it passes the grid on in a table, as for Qwen3-VL.
    """
    return picture.get("type") == "image" and isinstance(picture.get("extra"), Tensor)


def places(pictures: Sequence[tuple[int, Tensor]], length: int) -> Tensor:
    """Time, row and column (3, length) of every token, as Qwen2-VL counts them.

    `pictures` are the first token of each and its grid (time, rows, columns) of patches, four of
    which make one token.
    """
    found = torch.arange(length).repeat(3, 1)
    shift = 0
    for start, grid in pictures:
        rows, columns = (int(side) // 2 for side in grid[-2:])
        end, first = start + rows * columns, start + shift
        found[0, start:end] = first
        found[1, start:end] = first + torch.arange(rows).repeat_interleave(columns)
        found[2, start:end] = first + torch.arange(columns).repeat(rows)
        shift += max(rows, columns) - rows * columns
        found[:, end:] = torch.arange(end, length) + shift
    return found
