"""The corrector's LoRA laid out for ComfyUI's FLUX, whose linears are fused.

ComfyUI keeps query, key and value in one linear (in single blocks with the feed-forward), where the
published file has a LoRA for each. A fused linear gets one stacked `down` and an `up` for each
part of its outputs; nothing is ever added to the base's own weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import comfy.ops
import comfy.utils
import torch
from comfy.ldm.flux.model import Flux
from torch import Tensor, nn

from ...reflectionflow_core.flux.lora import CorrectorLora, LoraLayer, corrector_paths
from ...reflectionflow_core.record import InputError

Linear = comfy.ops.manual_cast.Linear


@dataclass(frozen=True)
class OutputPart:
    """Where a linear of diffusers' FLUX lies in a linear of ComfyUI's."""

    linear: str  # path of ComfyUI's, such as "double_blocks.0.img_attn.qkv"
    start: int  # first of its outputs
    length: int


class FusedLora(nn.Module):
    """What is added to the outputs of one fused linear."""

    def __init__(self, parts: Mapping[OutputPart, LoraLayer]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.ranks = [layer.rank for layer in parts.values()]
        self.down = _linear(torch.cat([layer.down for layer in parts.values()]))
        self.ups = nn.ModuleList(_linear(_scaled(layer)) for layer in parts.values())

    def add_to(self, outputs: Tensor, tokens: Tensor) -> None:
        """Adds the delta of `tokens` (..., inputs) to `outputs` (..., outputs), in place.

        What the file has no LoRA for stays untouched.
        """
        narrow = self.down(tokens).split(self.ranks, dim=-1)
        for part, up, given in zip(self.parts, self.ups, narrow, strict=True):
            outputs[..., part.start : part.start + part.length].add_(up(given))


class NativeLora(nn.Module):
    """A FusedLora for each of ComfyUI's linears, by the linear's dotted path."""

    def __init__(self, lora: CorrectorLora, flux: Flux) -> None:
        super().__init__()
        _check_mode(lora)
        grouped: dict[str, dict[OutputPart, LoraLayer]] = {}
        parts = parts_of(flux)
        for name, layer in lora.items():
            part = parts[name]
            grouped.setdefault(part.linear, {})[part] = layer
        self.linears = nn.ModuleDict(
            {_key(path): FusedLora(parts) for path, parts in grouped.items()}
        )

    def at(self, path: str) -> FusedLora:
        return self.linears[_key(path)]  # type: ignore[return-value]


def parts_of(flux: Flux) -> dict[str, OutputPart]:
    """Where each linear that carries LoRA lies, by its path in diffusers' FLUX."""
    sizes = {
        "depth": len(flux.double_blocks),
        "depth_single_blocks": len(flux.single_blocks),
        "hidden_size": flux.hidden_size,
    }
    mapped = comfy.utils.flux_to_diffusers(sizes)
    parts = {}
    for name in corrector_paths(sizes["depth"], sizes["depth_single_blocks"]):
        target = mapped[f"{name}.weight"]
        path, (_, start, length) = (target, (0, 0, None)) if isinstance(target, str) else target
        path = path.removesuffix(".weight")
        parts[name] = OutputPart(path, start, length or flux.get_submodule(path).out_features)
    return parts


def native_shapes(flux: Flux) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of every linear that carries LoRA, by its path in diffusers' FLUX."""
    return {
        name: (part.length, flux.get_submodule(part.linear).in_features)
        for name, part in parts_of(flux).items()
    }


def _check_mode(lora: CorrectorLora) -> None:
    if not lora.mode.is_published:
        raise InputError(
            f"This corrector was trained with LoRA on {lora.mode.tokens} tokens and "
            f"{lora.mode.attention} attention; ComfyUI's own FLUX runs the published kind only. "
            "Load FLUX from a diffusers folder, or another corrector."
        )


def _scaled(layer: LoraLayer) -> Tensor:
    scale = layer.alpha / layer.rank
    # In half precision most products would be rounded, as the core's are not.
    return layer.up if scale == 1 else layer.up.float() * scale


def _linear(weight: Tensor) -> nn.Module:
    outputs, inputs = weight.shape
    linear = Linear(inputs, outputs, bias=False, dtype=weight.dtype, device=weight.device)
    linear.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    return linear


def _key(path: str) -> str:
    return path.replace(".", "/")  # a module's name may hold no dot
