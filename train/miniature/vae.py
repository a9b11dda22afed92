"""The miniature's VAE: FLUX's geometry (8x smaller, 16 channels) with narrow layers."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional

from reflectionflow_core.miniature.world import GROUND, Scene, render
from train.fit import Draw
from train.miniature.scenes import any_prompt, compose, flawed

CONFIG = {
    "block_out_channels": (16, 32, 48, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "latent_channels": 16,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "sample_size": 64,
}
_KL = 2e-4
_FOREGROUND = 4.0  # how much more a pixel of a thing counts than one of the ground
_LATENT_NOISE = 0.1  # in units of the latents' deviation: the transformer's latents are not exact


def new_vae() -> AutoencoderKL:
    # A constant stretch of memory layout is worth a third of the time on a CPU.
    return AutoencoderKL(**CONFIG)


def on_device(vae: AutoencoderKL, device: str) -> AutoencoderKL:
    nn.Module.to(vae, device)  # diffusers' own `to` hides its types
    return vae


def bank(size: int, rng: np.random.Generator) -> Tensor:
    """Pictures of right and of flawed scenes: (size, 3, 64, 64) uint8."""
    return to_tensor([_any_scene(rng) for _ in range(size)])


def to_tensor(scenes: list[Scene]) -> Tensor:
    """The scenes' pictures: (n, 3, 64, 64) uint8."""
    return torch.from_numpy(np.stack([render(scene) for scene in scenes])).permute(0, 3, 1, 2)


def as_input(pictures: Tensor) -> Tensor:
    """uint8 pictures as the VAE wants them: float, -1 to 1."""
    return pictures.float().div(127.5).sub(1.0)


def encode(vae: AutoencoderKL, inputs: Tensor) -> DiagonalGaussianDistribution:
    """Where inputs (n, 3, 64, 64) lie among the raw latents (n, 16, 8, 8)."""
    return vae.encode(inputs, return_dict=False)[0]


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pixels (n, 3, 64, 64), about -1 to 1, of raw latents."""
    return vae.decode(latents, return_dict=False)[0]  # type: ignore[arg-type]


def loss(vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Weighted MSE and L1 of the reconstruction and the KL divergence per latent value."""
    # This memory layout is worth a third of the time on a CPU.
    inputs = as_input(pictures.to(vae.device)).contiguous(memory_format=torch.channels_last)
    posterior = encode(vae, inputs)
    latents = posterior.sample(generator)
    spread = latents.detach().std()
    noise = torch.randn(latents.shape, generator=generator).to(latents) * (_LATENT_NOISE * spread)
    difference = decode(vae, latents + noise) - inputs
    weight = _weight(inputs)
    error = weight * (difference.square() + 0.3 * difference.abs())
    return error.mean() + _KL * posterior.kl().mean() / latents[0].numel()


def _weight(inputs: Tensor) -> Tensor:
    ground = as_input(torch.tensor(GROUND)).view(1, 3, 1, 1).to(inputs)
    thing = ((inputs - ground).abs().amax(1, keepdim=True) > 0.05).float()
    near = functional.max_pool2d(thing, 3, 1, 1)
    return 1.0 + (_FOREGROUND - 1.0) * near


@torch.no_grad()
def calibrate(vae: AutoencoderKL, pictures: Tensor) -> dict[str, float]:
    """The shift and scale that give latents mean 0 and deviation 1, as in FLUX's config."""
    batches = (as_input(p.to(vae.device)) for p in pictures.split(64))
    latents = torch.cat([encode(vae, batch).mode() for batch in batches])
    return {
        "shift_factor": round(float(latents.mean()), 5),
        "scaling_factor": round(1.0 / float(latents.std()), 5),
    }


def _any_scene(rng: np.random.Generator) -> Scene:
    scene = compose(any_prompt(rng)[1], rng)
    return flawed(scene, rng) if rng.random() < 0.5 else scene


class CroppedLoss:
    """The loss of a random batch; two in three batches are crops, legal because the VAE has no
    attention, and four times as many pictures for the time.
    """

    def __init__(self, vae: AutoencoderKL, pictures: Tensor, batch: int) -> None:
        self.vae, self.pictures, self.batch = vae, pictures, batch

    def __call__(self, draw: Draw) -> Tensor:
        rng, generator = draw.generators()
        size = 64 if rng.random() < 1 / 3 else 32
        count = self.batch * (64 // size) ** 2
        chosen = self.pictures[rng.integers(len(self.pictures), size=count)]
        top, left = rng.integers(0, 65 - size, 2)
        return loss(self.vae, chosen[:, :, top : top + size, left : left + size], generator)
