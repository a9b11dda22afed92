"""What a diffusers folder can do in a search, as text; loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from safetensors import safe_open

from ..flux.folders import weight_files
from .defaults import defaults_of
from .kinds import FLUX, Kind, check_parts, has_weights, kind_of, parts_of, repainting

GB = 10**9
BYTES = 2  # of a weight in bf16


def described(source: str) -> dict[str, str]:
    """Facts about a folder or hub id by name; raises InputError for what cannot be used."""
    kind = kind_of(source)
    check_parts(kind)
    sizes = weights_of(kind)
    facts = {"pipeline": kind.name, "paints": _paints(kind), "corrects": _corrects(kind)}
    if sizes:
        parts = ", ".join(f"{name} {size / GB:.1f}" for name, size in sizes.items())
        facts["weights"] = f"{sum(sizes.values()) / GB:.1f} GB in bf16: {parts}"
        facts["offload"] = _offload(sizes)
    return facts


def weights_of(kind: Kind) -> dict[str, int]:
    """Bytes of each part in bf16; nothing for a hub id, whose files are elsewhere."""
    if kind.folder is None:
        return {}
    sizes: dict[str, int] = {}
    for name, _, cls in parts_of(kind):
        if has_weights(cls):
            files = [*weight_files(kind.folder / name)]
            sizes[name] = BYTES * sum(map(_count, map(str, files)))
    return sizes


def _count(file: str) -> int:
    with safe_open(file, framework="pt") as weights:
        return sum(prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118


def _paints(kind: Kind) -> str:
    if not kind.paints:
        return "nothing from words alone: give it with --edit-model"
    asked = defaults_of(kind)
    sampling = asked.sampling
    guided = f", guidance {sampling.guidance:g}" if asked.knob else ""
    note = " (distilled to few steps)" if asked.few_steps else ""
    return f"{sampling.width} x {sampling.height} in {sampling.steps} steps{guided}{note}"


def _corrects(kind: Kind) -> str:
    if kind.name == FLUX:
        return "with the corrector's LoRA: --lora FILE"
    if kind.edits:
        several = " of several pictures" if kind.takes_several else ""
        return f"by editing{several}"
    if repainting(kind):
        return "by image to image, if it is --edit-model as well; better give an editing model"
    return "nothing: give an editing model with --edit-model FOLDER"


def _offload(sizes: Mapping[str, int]) -> str:
    import torch

    from ..flux.placement import choose_plan

    if not torch.cuda.is_available():
        return "no CUDA device: it would paint on the CPU"
    free = torch.cuda.mem_get_info()[0]
    return f"{choose_plan(free, sizes)}, by {free / GB:.0f} GB of free GPU memory"
