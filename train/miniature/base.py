"""The miniature's base: a very small FLUX transformer, trained by flow matching.

A first attempt taught two things: most samples must lie at high noise, where the text decides, and
CLIP must often be empty, so that T5 is read. New here, and not tried without, is a second task:
naming what stands in each token's cell, so that the middle of the network plans the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from reflectionflow_core.flux.latents import pack, token_ids
from reflectionflow_core.miniature.evolver import spelled_out
from reflectionflow_core.miniature.judge import faults
from reflectionflow_core.miniature.prompts import Spec
from reflectionflow_core.miniature.world import COLOURS, SHAPES, SIZE, Scene, coverage
from reflectionflow_core.writers.template import TemplateWriter
from train.corrector.loss import logit_normal
from train.fit import Draw
from train.miniature.scenes import any_wording, common_scene, flawed, training_layout
from train.miniature.text import Encoders, TrainingText
from train.miniature.vae import as_input, to_tensor
from train.miniature.vae import encode as vae_encode

CONFIG = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 2,
    "num_single_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 128,
    "pooled_projection_dim": 64,
    "guidance_embeds": True,
    "axes_dims_rope": (8, 12, 12),
}
TIME_SHIFT = 3.0  # exp(mu) of the sampler: more steps at high noise
GUIDANCE = (1.0, 5.0)  # the range that the guidance embedding learns
_NO_CLIP, _NO_TEXT = 0.3, 0.1
_NAMING = 0.1  # weight of the second task
NAMED_BEFORE = 2  # the single block whose inputs are named
_TOKEN = 16  # pixels a side
CELLS = SIZE // _TOKEN
NAMES = 1 + len(SHAPES) * len(COLOURS)  # of what stands in a cell, or nothing


sample_times = logit_normal(shift=4.0, shifted=0.75)


def sample_guidance(count: int, generator: torch.Generator) -> Tensor:
    low, high = GUIDANCE
    return low + (high - low) * torch.rand(count, generator=generator)


@dataclass(frozen=True)
class Bank:
    """Scenes with their packed latents (n, 16, 64) and what stands in each token's cell (n, 16)."""

    scenes: list[Scene]
    specs: list[Spec]
    latents: Tensor
    cells: Tensor


def bank(vae: AutoencoderKL, count: int, rng: np.random.Generator, kept: Path) -> Bank:
    """Random scenes; their latents, minutes of work, are kept in a file for a run that resumes."""
    drawn = [common_scene(rng) for _ in range(count)]
    specs, scenes = [spec for spec, _ in drawn], [scene for _, scene in drawn]
    if not kept.exists():
        torch.save(encode(vae, scenes), kept.with_suffix(".part"))
        kept.with_suffix(".part").replace(kept)
    latents = torch.load(kept, weights_only=True)
    return Bank(scenes, specs, latents, torch.stack([cells(scene) for scene in scenes]))


def encode(vae: AutoencoderKL, scenes: list[Scene]) -> Tensor:
    """The scenes' latents as FLUX packs them: (n, 16, 64)."""
    return encode_pictures(vae, to_tensor(scenes))


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents (n, 16, 64) of pictures (n, 3, 64, 64) uint8, on the CPU."""
    inputs = (as_input(batch.to(vae.device)) for batch in pictures.split(64))
    batches = (vae_encode(vae, batch).mode() for batch in inputs)
    return torch.cat([pack(normalised(vae, latents)).cpu() for latents in batches])


def normalised(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    return (latents - vae.config["shift_factor"]) * vae.config["scaling_factor"]


def cells(scene: Scene) -> Tensor:
    """For each token the thing that covers most of its cell, by shape and colour; 0 is none."""
    areas = np.full((len(scene) + 1, CELLS, CELLS), 0.08 * _TOKEN**2)
    for i, thing in enumerate(scene, start=1):
        mask = coverage(thing.shape, thing.x, thing.y, thing.radius)
        areas[i] = mask.reshape(CELLS, _TOKEN, CELLS, _TOKEN).sum((1, 3))
    names = np.array(
        [0, *(1 + len(COLOURS) * SHAPES.index(t.shape) + _COLOUR[t.colour] for t in scene)]
    )
    return torch.from_numpy(names[areas.argmax(0)].ravel())


_COLOUR = {name: i for i, name in enumerate(COLOURS)}


class Base(nn.Module):
    """The transformer with its frozen text encoders; `naming` is used in training only."""

    def __init__(self, encoders: Encoders) -> None:
        super().__init__()
        self.encoders = encoders
        self.transformer = FluxTransformer2DModel(**CONFIG)
        self.naming = nn.Linear(128, NAMES)

    def forward(
        self, noisy: Tensor, times: Tensor, guidance: Tensor, text: tuple[Tensor, Tensor]
    ) -> Tensor:
        """The velocity (n, 16, 64) at `times` (n,)."""
        states, pooled = text
        return self.transformer(
            hidden_states=noisy,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            timestep=times,
            guidance=guidance,
            img_ids=image_ids().to(noisy),
            txt_ids=torch.zeros(states.shape[1], 3).to(noisy),
            return_dict=False,
        )[0]

    def with_names(
        self, noisy: Tensor, times: Tensor, guidance: Tensor, text: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The velocity, and logits (n, 16, 29) of what stands in each token's cell."""
        middle: list[Tensor] = []
        block = self.transformer.single_transformer_blocks[NAMED_BEFORE - 1]
        hook = block.register_forward_hook(lambda _block, _args, output: middle.append(output[1]))
        velocity = self(noisy, times, guidance, text)
        hook.remove()
        return velocity, self.naming(middle[0])


def image_ids() -> Tensor:
    return token_ids(CELLS, CELLS)


class BaseLoss:
    """Flow matching (velocity = noise - latents) plus the naming of cells, on a random batch."""

    def __init__(self, base: Base, bank: Bank, batch: int) -> None:
        self.base, self.bank, self.batch = base, bank, batch

    def __call__(self, draw: Draw) -> Tensor:
        rng, generator = draw.generators()
        rows = rng.integers(len(self.bank.scenes), size=self.batch)
        texts = [training_text(self.bank.specs[i], self.bank.scenes[i], rng) for i in rows]
        device = self.base.transformer.device
        noisy, target, times = mix(self.bank.latents[rows].to(device), generator)
        guidance = sample_guidance(self.batch, generator).to(device)
        with torch.no_grad():
            states = self.base.encoders(*drop(texts, rng))
        velocity, named = self.base.with_names(noisy, times, guidance, states)
        names = self.bank.cells[rows].to(device)
        naming = functional.cross_entropy(named.flatten(0, 1), names.flatten())
        return functional.mse_loss(velocity, target) + _NAMING * naming


def mix(latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, the velocity they move with, and their times."""
    # Drawn on the CPU, so that a seed is the same training everywhere.
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = sample_times(len(latents), generator).to(latents)
    t = times[:, None, None]
    return (1 - t) * latents + t * noise, noise - latents, times


def drop(texts: list[TrainingText], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """T5's and CLIP's texts: CLIP often empty, now and then both."""
    dice = rng.random(len(texts))
    t5 = [text.t5 if die >= _NO_TEXT else "" for text, die in zip(texts, dice, strict=True)]
    clip = [
        text.prompt if die >= _NO_TEXT + _NO_CLIP else ""
        for text, die in zip(texts, dice, strict=True)
    ]
    return t5, clip


def training_text(spec: Spec, scene: Scene, rng: np.random.Generator) -> TrainingText:
    """A prompt, spelled out or not, a full layout, or a prompt with a reflection that the scene
    already obeys."""
    kind = rng.random()
    if kind < 0.15 and (told := training_layout(scene, spec)):
        return TrainingText(told, "", _NOTHING)
    if kind < 0.3:
        return TrainingText(spelled_out(spec), "", _NOTHING)
    prompt = any_wording(spec, rng)
    if kind > 0.9:
        unmet = [fault.unmet for fault in faults(flawed(scene, rng), spec)]
        return TrainingText(prompt, TemplateWriter().write(unmet), _NOTHING)
    return TrainingText(prompt, "", _NOTHING)


_NOTHING = np.empty(0, np.int64)
