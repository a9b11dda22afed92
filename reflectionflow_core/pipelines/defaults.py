"""The default settings of a pipeline: its own, with few steps for distilled models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..flux.settings import SamplingSettings
from .kinds import FLUX, Kind, part_of

SIDE = 1024  # pixels, where neither the call nor the configuration says more
# Distilled models by the name of their folder, of their repository on the hub, or of the model that
# they were made from.
FEW_STEPS_NAME = re.compile(r"turbo|lightning|schnell|\blcm\b|hyper-?sd|distilled", re.IGNORECASE)
FEW_STEPS = {"ZImagePipeline": 8, "Krea2Pipeline": 8, "QwenImagePipeline": 8}  # the others 4
TURBO_SHIFT = 3.0  # of Z-Image-Turbo's scheduler; Z-Image's is 6
GUIDANCE = {"FluxKontextPipeline": 2.5}  # as its makers show it, where the call says otherwise
BLANK = " "  # the negative prompt without which Qwen-Image takes no guidance


@dataclass(frozen=True, slots=True)
class Defaults:
    """`knob` is the argument of the call that takes the guidance, None where it has no effect."""

    sampling: SamplingSettings
    knob: str | None
    negative: str | None
    few_steps: bool


def defaults_of(kind: Kind) -> Defaults:
    if kind.name == FLUX:
        few = schnell(kind.source)
        return Defaults(flux_sampling(kind.source), None if few else "guidance_scale", None, few)
    few = is_few_steps(kind)
    knob = _knob(kind)
    steps, guidance = kind.arguments["num_inference_steps"], GUIDANCE.get(kind.name)
    if few:
        steps = min(steps, FEW_STEPS.get(kind.name, 4))
        guidance = 1.0 if knob in (None, "true_cfg_scale") else 0.0
    elif guidance is None:
        guidance = kind.arguments[knob] if knob else 0.0
    width, height = size_of(kind)
    sampling = SamplingSettings(width, height, steps, guidance)
    return Defaults(sampling, knob, BLANK if knob == "true_cfg_scale" else None, few)


def schnell(source: str) -> bool:
    """Whether a FLUX.1 takes no guidance, as the distilled one."""
    config = part_of(source, "transformer", "config.json")
    return config.get("guidance_embeds") is False


def flux_sampling(source: str) -> SamplingSettings:
    """The default settings of a FLUX.1."""
    return SamplingSettings(steps=4) if schnell(source) else SamplingSettings()


def is_few_steps(kind: Kind) -> bool:
    if "is_distilled" in kind.index:
        return bool(kind.index["is_distilled"])
    shift = part_of(kind.source, "scheduler", "scheduler_config.json").get("shift")
    if kind.name == "ZImagePipeline" and shift is not None:
        return shift <= TURBO_SHIFT
    names = (_own_name(kind.source), str(kind.index.get("_name_or_path", "")))
    return any(FEW_STEPS_NAME.search(name) for name in names)


def _own_name(source: str) -> str:
    """A folder's own name, or that of the repository that the hub's cache keeps there."""
    folders = Path(source).parts
    kept = [name for name in folders if name.startswith("models--")]
    return kept[-1] if kept else "".join(folders[-1:])


def _knob(kind: Kind) -> str | None:
    if kind.name == "Flux2KleinPipeline" and kind.index.get("is_distilled"):
        return None
    for name in ("guidance_scale", "true_cfg_scale"):
        if kind.arguments.get(name) is not None:
            return name
    return None


def size_of(kind: Kind) -> tuple[int, int]:
    """Width and height in pixels."""
    width, height = (kind.arguments.get(name) for name in ("width", "height"))
    if width and height:
        return width, height
    for part in ("unet", "transformer"):
        side = part_of(kind.source, part, "config.json").get("sample_size")
        blocks = part_of(kind.source, "vae", "config.json").get("block_out_channels")
        if isinstance(side, int) and blocks:
            side *= 2 ** (len(blocks) - 1)
            return side, side
    return SIDE, SIDE
