"""Pictures by ComfyUI's own nodes, wired as a family's official template is, and our painters."""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from native_setup import Patcher  # isort: skip
import comfy.sample
import numpy as np
import torch
from comfy_extras import (
    nodes_custom_sampler,
    nodes_flux,
    nodes_lumina2,
    nodes_model_advanced,
    nodes_sd3,
)
from pack.nodes.comfy.families import family_of
from pack.nodes.comfy.painter_model import ModelPainter, model_painter
from pack.nodes.comfy.painter_settings import TemplateOverrides
from pack.nodes.comfy.tensors import to_pictures
from pack.reflectionflow_core.record import Request
from painter_models import Clip, Vae, small
from PIL import Image

import nodes

torch.set_grad_enabled(False)  # as ComfyUI runs its nodes
PROMPT, NEGATIVE, SEED, SIZE = "a red circle", "a blue square", 7, (96, 64)


@dataclass(frozen=True)
class Template:
    """What a family's official template sets, and the file of its model."""

    kind: str
    steps: int
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    empty: Any = nodes_sd3.EmptySD3LatentImage
    shift: tuple[str, float] | None = None
    guidance: float | None = None
    zeroed: bool = False
    file: str = "model.safetensors"


LATENT, FLUX2 = (
    nodes.EmptyLatentImage,
    {"scheduler": "flux2", "empty": nodes_flux.EmptyFlux2LatentImage},
)
TEMPLATES = {
    "FLUX.1-dev": Template("FLUX.1-dev", 20, zeroed=True),
    "FLUX.1-schnell": Template("FLUX.1-schnell", 4, zeroed=True),
    "FLUX.2-dev": Template("FLUX.2-dev", 20, guidance=4.0, **FLUX2),
    "FLUX.2 klein": Template("FLUX.2 klein", 4, zeroed=True, file="flux-2-klein-4b.sft", **FLUX2),
    "FLUX.2 klein base": Template("FLUX.2 klein", 20, 5.0, file="klein-base-4b.sft", **FLUX2),
    "Qwen-Image": Template("Qwen-Image", 20, 4.0, shift=("AuraFlow", 3.1)),
    "Qwen-Image Lightning": Template(
        "Qwen-Image", 4, shift=("AuraFlow", 3.1), file="Qwen-Image-2512-Lightning-4steps-V1.0"
    ),
    "Lumina-Image 2": Template("Lumina-Image 2", 30, 4.0, "res_multistep", shift=("AuraFlow", 4.0)),
    "Z-Image": Template("Z-Image", 25, 4.0, "res_multistep", shift=("AuraFlow", 3.0)),
    "Z-Image-Turbo": Template(
        "Z-Image",
        *(8, 1.0, "res_multistep"),
        shift=("AuraFlow", 3.0),
        zeroed=True,
        file="z_image_turbo_bf16.safetensors",
    ),
    "Krea 2": Template("Krea 2", 8, empty=LATENT, zeroed=True),
    "Stable Diffusion 3": Template("Stable Diffusion 3", 20, 4.0, scheduler="sgm_uniform"),
    "Stable Diffusion XL": Template(
        "Stable Diffusion XL", 25, 7.0, "dpmpp_2m", "karras", empty=LATENT
    ),
    "Stable Diffusion 1.5": Template(
        "Stable Diffusion 1.5", 20, 7.0, "dpmpp_2m", "karras", empty=LATENT
    ),
    "Chroma": Template("Chroma", 26, 3.5, scheduler="beta", shift=("AuraFlow", 1.0)),
    "Anima": Template("Anima", 30, 4.0, empty=LATENT),
    "ERNIE-Image": Template("ERNIE-Image", 20, 4.0, empty=FLUX2["empty"]),
    "ERNIE-Image-Turbo": Template(
        "ERNIE-Image", 8, zeroed=True, file="ernie-image-turbo.safetensors", empty=FLUX2["empty"]
    ),
}


class Stacked:
    """A NOISE whose pictures have seeds of their own."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds, self.seed = seeds, seeds[0]

    def generate_noise(self, latent: dict) -> torch.Tensor:
        one = latent["samples"][:1]
        return torch.cat([comfy.sample.prepare_noise(one, seed) for seed in self.seeds])


def run(node: Any, *given: Any, **named: Any) -> Any:
    """The first output of one of ComfyUI's nodes, of the old form or of the new."""
    if hasattr(node, "define_schema"):
        return node.execute(*given, **named)[0]
    return getattr(node(), node.FUNCTION)(*given, **named)[0]


def clip_of(kind: str, maker: type[Clip] = Clip) -> Clip:
    return maker(pooled=1280 if kind == "Stable Diffusion XL" else 20, t5=kind == "Anima")


def painter(kind: str, model: Patcher | None = None, file: str = "", **asked: Any) -> ModelPainter:
    model = model or small(kind)
    models = (model, clip_of(kind), Vae(model))
    return model_painter(models, SIZE, TemplateOverrides(**asked), family_of(model, file))


def drafts(*seeds: int) -> list[Request]:
    return [Request(seed, PROMPT) for seed in seeds]


def conditionings(how: Template, clip: Clip, negative: str = "") -> tuple[Any, Any]:
    def read(text: str) -> Any:
        if how.kind == "Lumina-Image 2":
            words = {"system_prompt": "superior", "user_prompt": text}
            return run(nodes_lumina2.CLIPTextEncodeLumina2, clip=clip, **words)
        return run(nodes.CLIPTextEncode, clip, text)

    positive = read(PROMPT)
    zeroed = how.zeroed and not negative
    against = run(nodes.ConditioningZeroOut, positive) if zeroed else read(negative)
    if how.guidance is not None:
        positive = run(nodes_flux.FluxGuidance, positive, how.guidance)
    return positive, against


def shifted(model: Patcher, shift: tuple[str, float] | None) -> Patcher:
    if shift is None:
        return model
    return run(getattr(nodes_model_advanced, f"ModelSampling{shift[0]}"), model, shift[1])


def reference(
    how: Template, model: Patcher, seeds: Sequence[int] = (SEED,), negative: str = ""
) -> list[Image.Image]:
    """What the official template makes of a model and a prompt."""
    vae, asked = Vae(model), conditionings(how, clip_of(how.kind), negative)
    model = shifted(model, how.shift)
    latent = run(how.empty, *SIZE, len(seeds))
    if how.scheduler == "flux2" or len(seeds) > 1:
        made = run(
            nodes_custom_sampler.SamplerCustomAdvanced,
            *sampler_parts(how, model, asked, seeds),
            latent,
        )
    else:
        names = (how.sampler, how.scheduler)
        made = run(nodes.KSampler, model, seeds[0], how.steps, how.cfg, *names, *asked, latent)
    return to_pictures([run(nodes.VAEDecode, vae, made)])


def sampler_parts(
    how: Template, model: Patcher, asked: tuple[Any, Any], seeds: Sequence[int]
) -> Any:
    guider = run(nodes_custom_sampler.CFGGuider, model, *asked, how.cfg)
    sampler = run(nodes_custom_sampler.KSamplerSelect, how.sampler)
    if how.scheduler == "flux2":
        sigmas = run(nodes_flux.Flux2Scheduler, how.steps, *SIZE)
    else:
        sigmas = run(nodes_custom_sampler.BasicScheduler, model, how.scheduler, how.steps, 1.0)
    return Stacked(seeds), guider, sampler, sigmas


def far(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def farthest(ours: Sequence[Image.Image], theirs: Sequence[Image.Image]) -> float:
    return max(far(a, b) for a, b in zip(ours, theirs, strict=True))
