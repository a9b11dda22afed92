"""Editing models as correctors, small and random, against ComfyUI's own nodes.

The reference samples as KSampler does, from a conditioning as Reference Latent makes it. Text
encoder and VAE are stand-ins: what is compared is what the model is given.
"""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from native_setup import Cases, Found, Patcher, mm  # isort: skip
import comfy.sample
import comfy.supported_models
import node_helpers
import numpy as np
import torch
from pack.nodes.comfy.editors import (
    EditCorrector,
    ImageToImageCorrector,
    ModelSampler,
    attempts_text,
    edit_text,
)
from pack.nodes.comfy.tensors import to_batch, to_pictures
from pack.reflectionflow_core.record import Candidate, Region, Request, Verdict
from pack.reflectionflow_core.regions import alpha_of, cells_of
from PIL import Image
from torch.nn.functional import interpolate

PROMPT, REFLECTION, SEED = "a red circle", "remove the blue square", 7
FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 20,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6],
    "txt_ids_dims": [],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
FLUX2 = FLUX | {
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [4, 4, 4, 4],
    "txt_ids_dims": [3],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "mlp_ratio": 3.0,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
QWEN = {
    "num_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "FLUX.1 Kontext": ("Flux", FLUX),
    "FLUX.2": ("Flux2", FLUX2),
    "Qwen-Image-Edit": ("QwenImage", QWEN),
}


class Vae:
    """Latents that differ from picture to picture, in the shape that the model wants."""

    def __init__(self, model: Patcher) -> None:
        space = model.model.latent_format
        self.channels, self.frames = space.latent_channels, space.latent_dimensions == 3
        self.side = 16 if self.channels == 128 else 8

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = interpolate(pixels.movedim(-1, 1), scale_factor=1 / self.side, mode="area")
        latent = small.repeat(1, -(-self.channels // 3), 1, 1)[:, : self.channels] * 2 - 1
        return latent[:, :, None] if self.frames else latent

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        flat = latent.reshape(len(latent), self.channels, *latent.shape[-2:])[:, :3].sigmoid()
        pixels = interpolate(flat, scale_factor=self.side).movedim(1, -1)
        return pixels[:, None] if self.frames else pixels


class Clip:
    """States whose length and numbers depend on the text, and on the pictures if there are any."""

    def tokenize(self, text: str, images: Any = ()) -> Any:
        return text, [tuple(image.shape) for image in images]

    def encode_from_tokens_scheduled(self, tokens: Any) -> Any:
        digest = hashlib.sha256(repr(tokens).encode()).digest()
        dice = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        length = 4 + len(tokens[0]) % 5 + 2 * len(tokens[1])
        pooled = {"pooled_output": torch.randn(1, 20, generator=dice)}
        return [[torch.randn(1, length, 24, generator=dice), pooled]]


def small(kind: str) -> Patcher:
    name, words = KINDS[kind]
    config = getattr(comfy.supported_models, name)({"image_model": name.lower(), **words})
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, device="cpu")
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in base.diffusion_model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return Patcher(base, mm.get_torch_device(), mm.unet_offload_device())


def noisy_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 96, 3), "uint8"))


def edited(kind: str, cfg: float, attempts: int = 0) -> Found:
    """With `attempts` the model is shown so many earlier pictures, too."""
    model = small(kind)
    vae, clip = Vae(model), Clip()
    picture, *others = (noisy_picture(seed) for seed in range(1, attempts + 2))
    earlier = [Candidate(other, PROMPT, 0, Verdict(0.0, unmet=("x",))) for other in others]
    painter = ModelSampler(model, clip, vae, 3, cfg, 2.5, "euler", "simple")
    request = Request.correcting(picture, PROMPT, REFLECTION, SEED)
    (ours,) = EditCorrector(painter).paint([replace(request, context=tuple(earlier))])
    pixels = [to_batch([shown]) for shown in (picture, *others)]
    latents = list(map(vae.encode, pixels))
    latent = latents[0]

    def read(text: str) -> Any:
        sees = [interpolate(p.movedim(-1, 1), (314, 470)).movedim(1, -1) for p in pixels]
        given = {"images": sees} if kind.startswith("Qwen") else {}
        asked = clip.encode_from_tokens_scheduled(clip.tokenize(text, **given))
        extra = {"guidance": 2.5, "reference_latents": latents}
        return node_helpers.conditioning_set_values(asked, extra)

    asked = read(edit_text(PROMPT, REFLECTION) + attempts_text(earlier)), read("")
    theirs = sampled(model, latent, painter, asked, 1.0)
    (expected,) = to_pictures([vae.decode(theirs).reshape(1, 64, 96, 3)])
    blind = asked[0][0][0], {k: v for k, v in asked[0][0][1].items() if k != "reference_latents"}
    unseen = sampled(model, latent, painter, ([list(blind)], asked[1]), 1.0)
    (without,) = to_pictures([vae.decode(unseen).reshape(1, 64, 96, 3)])
    return far(ours, expected), far(without, expected)


def painted_over() -> Found:
    """Image to image, against a KSampler with the same denoise."""
    model = small("FLUX.1 Kontext")
    vae, clip = Vae(model), Clip()
    picture = noisy_picture(1)
    painter = ModelSampler(model, clip, vae, 3, 1.0, 2.5, "euler", "simple")
    corrector = ImageToImageCorrector(painter, 0.6)
    (ours,) = corrector.paint([Request.correcting(picture, PROMPT, REFLECTION, SEED)])
    latent = vae.encode(to_batch([picture]))
    asked = painter.conditioning(PROMPT), painter.conditioning("")
    theirs = sampled(model, latent, painter, asked, 0.6, latent)
    (expected,) = to_pictures([vae.decode(theirs)])
    return far(ours, expected), far(picture, expected)


def kept(kind: str, image_to_image: bool = False) -> Found:
    """What a correction in two places leaves of the picture, and what it does to the rest."""
    model = small(kind)
    vae, picture = Vae(model), noisy_picture(1)
    painter = ModelSampler(model, Clip(), vae, 3, 1.0, 2.5, "euler", "simple")
    corrector = ImageToImageCorrector(painter, 0.6) if image_to_image else EditCorrector(painter)
    region = Region(((0.0, 0.0, 0.2, 0.4), (0.7, 0.7, 1.0, 1.0)))
    request = replace(Request.correcting(picture, PROMPT, REFLECTION, SEED), region=region)
    (painted,) = corrector.paint([request])
    (encoded,) = to_pictures([vae.decode(vae.encode(to_batch([picture]))).reshape(1, 64, 96, 3)])
    cells = cells_of(alpha_of(region, picture.size), 64 // vae.side, 96 // vae.side)
    sampled = cells.repeat(vae.side, 0).repeat(vae.side, 1)
    change = np.abs(np.asarray(painted, int) - np.asarray(encoded, int)).max(-1)
    assert cells.any() and not cells.all()
    return float(change[~sampled].max()), float(change[sampled].mean())


def sampled(
    model: Patcher,
    latent: Any,
    painter: ModelSampler,
    asked: Any,
    denoise: float,
    start: Any = None,
) -> torch.Tensor:
    noise = comfy.sample.prepare_noise(latent, SEED)
    start = torch.zeros_like(latent) if start is None else start
    how = (painter.steps, painter.cfg, painter.sampler, painter.scheduler)
    return comfy.sample.sample(model, noise, *how, *asked, start, denoise=denoise, seed=SEED)


def far(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


EDITORS: Cases = {
    **{f"an edit by {kind}, of 255": lambda kind=kind: edited(kind, 1.0) for kind in KINDS},
    **{
        f"an edit by {kind} that sees what was tried, of 255": lambda kind=kind: edited(
            kind, 1.0, 2
        )
        for kind in KINDS
    },
    "an edit with CFG, of 255": lambda: edited("Qwen-Image-Edit", 3.0),
    "image to image, of 255": painted_over,
    **{
        f"outside a place that {kind} edits, of 255": lambda kind=kind: kept(kind) for kind in KINDS
    },
    "outside a place of image to image, of 255": lambda: kept("FLUX.1 Kontext", True),
}
