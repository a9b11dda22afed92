"""FLUX's modules in one object, and the encoding and decoding of pictures.

The modules are unmodified ones of diffusers and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from .cache import Cache
from .placement import Placement, Resident

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer


Scheduler = Any  # FlowMatchEulerDiscreteScheduler, whose type annotations are wrong


@dataclass(slots=True, eq=False)
class Flux:
    """A loaded FLUX; generators and correctors use it in turn."""

    transformer: FluxTransformer2DModel
    vae: AutoencoderKL
    clip: CLIPTextModel
    clip_tokenizer: CLIPTokenizer
    t5: T5EncoderModel
    t5_tokenizer: T5Tokenizer
    scheduler: Scheduler  # used for its configuration; every sample copies it
    placement: Placement = field(default_factory=lambda: Resident(torch.device("cpu")))
    # Results of the encoders in host memory; clear them if an encoder's weights change.
    texts: Cache[Tensor] = field(default_factory=Cache)
    pictures: Cache[Tensor] = field(default_factory=Cache)
    colours: Cache[Tensor] = field(default_factory=Cache)

    @classmethod
    def from_pipeline(cls, pipeline: FluxPipeline, placement: Placement | None = None) -> Flux:
        flux = cls(
            transformer=pipeline.transformer,
            vae=pipeline.vae,
            clip=pipeline.text_encoder,
            clip_tokenizer=pipeline.tokenizer,
            t5=pipeline.text_encoder_2,
            t5_tokenizer=pipeline.tokenizer_2,
            scheduler=pipeline.scheduler,
        )
        if placement:
            flux.placement = placement
        for module in flux.modules.values():
            module.eval().requires_grad_(False)
        return flux

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All loaded modules with weights, by name."""
        parts = {"transformer": self.transformer, "t5": self.t5, "clip": self.clip, "vae": self.vae}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def device(self) -> torch.device:
        return self.placement.device

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.dtype

    @property
    def token_pixels(self) -> int:
        """The side of a token in pixels; 16 in every FLUX so far."""
        return 2 ** len(self.vae.config["block_out_channels"])

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents (B, 16, H/8, W/8) of pixels (B, 3, H, W) from -1 to 1.

        The mode of the VAE's distribution, as in ComfyUI; the paper's program samples from it,
        which gives another condition for the same picture each time.
        """
        config = self.vae.config
        with self.placement.on_device(self.vae):
            pixels = pixels.to(self.device, self.vae.dtype)
            (posterior,) = self.vae.encode(pixels, return_dict=False)
            return (posterior.mode() - config["shift_factor"]) * config["scaling_factor"]

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, 8h, 8w), about -1 to 1, of latents (B, 16, h, w)."""
        config = self.vae.config
        with self.placement.on_device(self.vae):
            latents = latents / config["scaling_factor"] + config["shift_factor"]
            latents = latents.to(self.device, self.vae.dtype)
            return self.vae.decode(cast(torch.FloatTensor, latents), return_dict=False)[0]
