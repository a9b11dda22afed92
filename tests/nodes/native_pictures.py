"""Whole pictures: the FLUX socket on ComfyUI's MODEL, CLIP and VAE against the core's FLUX."""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from native_setup import (  # isort: skip
    COMFYUI,
    Cases,
    Found,
    comfy_model,
    corrected,
)
import comfy.latent_formats
import comfy.sd
import numpy as np
import torch
from comfy.text_encoders.flux import FluxTokenizer
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from pack.nodes.comfy.miniature import comfy_miniature
from pack.nodes.comfy.painter import AS_FLUX, ComfyFlux, encode, sigmas_of
from pack.reflectionflow_core.flux.condition import ConditionSettings
from pack.reflectionflow_core.flux.painter import FluxCorrector, FluxGenerator
from pack.reflectionflow_core.flux.sampling import make_schedule
from pack.reflectionflow_core.flux.settings import SamplingSettings
from pack.reflectionflow_core.flux.text import Text
from pack.reflectionflow_core.miniature.model import CONDITION, FOLDER, SAMPLING, load_miniature
from pack.reflectionflow_core.protocols import Previewing, Restarting
from pack.reflectionflow_core.record import Region, Request, Restart
from PIL import Image
from tiny_flux import loud_lora, tiny_transformer
from transformers import AutoTokenizer

PROMPTS = ["a photo of a red circle and a blue square", "a photo of two green triangles"]
PLACES = ((0.0, 0.0, 0.4, 0.5), (0.6, 0.6, 1.0, 1.0))
SAID = ["remove the red circle", "add a green triangle"]
LORA = str(FOLDER / "corrector" / "pytorch_lora_weights.safetensors")


def the_miniature() -> Found:
    """Drafts and corrections in a batch; in steps of 255."""
    generator, corrector = load_miniature()
    with torch.inference_mode():
        model, clip, vae = comfy_miniature(FOLDER)
        ours = ComfyFlux(model, clip, vae, SAMPLING, CONDITION).with_corrector(LORA)
        return compared(ours, generator, corrector)


def random_weights() -> Found:
    """A random FLUX and ComfyUI's own VAE network with random weights, not square."""
    flux = load_miniature()[0].flux
    flux.transformer = tiny_transformer(text=128, pooled=64)
    flux.vae = tiny_vae()
    flux.scheduler.register_to_config(base_shift=0.5, max_shift=1.15)
    sampling = SamplingSettings(64, 96, 4, 3.5, 40)
    condition = ConditionSettings(48, "fit")
    lora = loud_lora(flux.transformer)
    with torch.inference_mode():
        _, clip, _ = comfy_miniature(FOLDER)
        model = comfy_model(flux.transformer)
        space = model.model.latent_format
        assert isinstance(space, comfy.latent_formats.Flux)
        factors = {"scaling_factor": space.scale_factor, "shift_factor": space.shift_factor}
        flux.vae.register_to_config(**factors)
        ours = ComfyFlux(model, clip, comfy_vae(flux.vae), sampling, condition)
        return compared(
            replace(ours, model=corrected(ours.model, lora)),
            FluxGenerator(flux, sampling),
            FluxCorrector(flux, lora, sampling, condition),
        )


def compared(ours: ComfyFlux, generator: FluxGenerator, corrector: FluxCorrector) -> Found:
    asked = list(map(Request, [1, 2], PROMPTS))
    drafts, mine = generator.paint(asked), ours.generator.paint(asked)
    assert ours.corrector
    corrections = list(map(Request.correcting, drafts, PROMPTS, SAID, [3, 4]))
    theirs, pictures = corrector.paint(corrections), ours.corrector.paint(corrections)
    restarts = [
        Request(Restart(seed, 0.8), request.prompt, request.parent)
        for seed, request in enumerate(corrections, start=5)
    ]
    placed = [replace(each, region=Region(PLACES)) for each in corrections]
    mixed = [placed[0], corrections[1]]  # one in its place beside a whole one
    taken = generator.paint(restarts) + corrector.paint(placed) + corrector.paint(mixed)
    taken += [preview.image for preview in corrector.preview(corrections)]
    assert isinstance(ours.generator, Restarting)
    assert isinstance(ours.corrector, Previewing)
    own = ours.generator.paint(restarts) + ours.corrector.paint(placed)
    own += ours.corrector.paint(mixed)
    own += [preview.image for preview in ours.corrector.preview(corrections)]
    assert ours.generator.steps_from(0.8) == generator.steps_from(0.8)
    pairs = zip(chain(mine, pictures, own), chain(drafts, theirs, taken), strict=True)
    found = [far(a, b) for a, b in pairs]
    return max(found), min(far(a, b) for a, b in zip(drafts, theirs, strict=True))


def far(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def tiny_vae() -> AutoencoderKL:
    torch.manual_seed(4)
    sizes: dict[str, Any] = {
        "block_out_channels": (32, 32, 64, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae = AutoencoderKL(
        **sizes,
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return vae.eval().requires_grad_(False)


def comfy_vae(vae: AutoencoderKL) -> Any:
    """ComfyUI's VAE with the weights of diffusers'; two linears that FLUX's has not do nothing."""
    dd = {"ch": 32, "ch_mult": [1, 1, 2, 2], "num_res_blocks": 2, "attn_resolutions": []}
    sides = {"resolution": 64, "in_channels": 3, "out_ch": 3, "z_channels": 16, "double_z": True}
    state = dict(vae.state_dict())
    for name, width in (("quant_conv", 32), ("post_quant_conv", 16)):
        state |= {f"{name}.weight": torch.eye(width)[..., None, None]}
        state |= {f"{name}.bias": torch.zeros(width)}
    params = {"ddconfig": {**dd, **sides}, "embed_dim": 16}
    made = comfy.sd.VAE(sd=state, config={"params": params}, dtype=torch.float32)
    made.latent_channels = 16
    return made


def schedules() -> Found:
    """The noise levels of FluxPipeline at several sizes and steps."""
    flux = load_miniature()[0].flux
    flux.scheduler.register_to_config(base_shift=0.5, max_shift=1.15)
    model = comfy_model(tiny_transformer())
    worst = 0.0
    for width, height, steps in ((1024, 1024, 30), (512, 768, 12), (64, 64, 5), (1344, 768, 28)):
        settings = SamplingSettings(width, height, steps)
        theirs = make_schedule(flux, steps, (width // 16) * (height // 16)).sigmas
        worst = max(
            worst, float((sigmas_of(model, settings, AS_FLUX, "euler") - theirs).abs().max())
        )
    return worst, 1.0


class Recorder:
    """A CLIP that answers with the tokens that it was given."""

    def __init__(self) -> None:
        self.tokenizer = FluxTokenizer()

    def tokenize(self, text: str, **given: Any) -> Any:
        return self.tokenizer.tokenize_with_weights(text, **given)

    def encode_from_tokens(self, tokens: Any, **_: Any) -> Any:
        return tokens


def tokens() -> Found:
    """FLUX.1's own tokenizers: how many tokens differ from FluxPipeline's, of how many."""
    folder = Path(COMFYUI) / "comfy" / "text_encoders"
    t5 = AutoTokenizer.from_pretrained(folder / "t5_tokenizer")
    clip = AutoTokenizer.from_pretrained(folder.parent / "sd1_tokenizer")
    off = count = 0
    short = "a (red) circle, left: of a [Reflexion] (square:1.3) embedding:none"
    for words in (short, short * 60):
        asked = Text(words, f"{words} [Reflexion] move the circle (left)")
        ours = encode(Recorder(), asked)
        for mine, reader, text, length in (
            (ours["t5xxl"][0], t5, asked.t5, 512),
            (ours["l"][0], clip, asked.clip, 77),
        ):
            theirs = reader(text, padding="max_length", max_length=length, truncation=True)
            off += sum(a != b for (a, _), b in zip(mine, theirs["input_ids"], strict=True))
            off += sum(weight != 1.0 for _, weight in mine)
            count += length
    return float(off), float(count)


PICTURES: Cases = {
    "pictures of the miniature, of 255": the_miniature,
    "pictures of random weights, of 255": random_weights,
    "schedules": schedules,
    "tokens": tokens,
}
