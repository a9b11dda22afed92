"""ComfyUI's samplers and VAEs with the noise, progress and cancelling of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from PIL import Image
from torch import Tensor

from ...reflectionflow_core.flux.noise import starting_noise
from ...reflectionflow_core.flux.painter import ProgressSlice
from ...reflectionflow_core.flux.sampling import agreement
from ...reflectionflow_core.protocols import SILENT
from ...reflectionflow_core.record import Seed
from .tensors import to_pictures

# Samplers that treat the pictures of a batch independently: they add no noise, which ComfyUI draws
# for a batch as a whole, and choose no steps by its error.
INDEPENDENT = frozenset(
    {
        *("euler", "euler_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "lms", "dpm_fast"),
        *("dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v", "deis"),
        *("res_multistep", "res_multistep_cfg_pp"),
        *("gradient_estimation", "gradient_estimation_cfg_pp", "ddim", "uni_pc", "uni_pc_bh2"),
    }
)
Conditioning = list[list[Any]]
Previewer = Callable[[Tensor], Image.Image]
PREVIEWER = "reflectionflow_previewer"  # where a model carries its own


def noise_for(model: ModelPatcher, seeds: Sequence[Seed], shape: Sequence[int]) -> Tensor:
    """The noise of each seed, (B, *shape), drawn in the core's precision if the model shares it."""
    computes = model.model.manual_cast_dtype or model.model.get_dtype()
    drawn = torch.float32 if computes == torch.float32 else torch.bfloat16
    return starting_noise(seeds, tuple(shape), drawn).float()


@dataclass(frozen=True)
class SamplerSchedule:
    """A sampler, by name or as a SAMPLER, and its noise levels, the last of which is 0."""

    sampler: Any
    sigmas: Tensor
    cfg: float = 1.0


def is_independent(sampler: Any) -> bool:
    """Whether a sampler, by name or as a SAMPLER, paints a picture in a batch as it does alone."""
    if isinstance(sampler, str):
        return sampler in INDEPENDENT
    if getattr(sampler, "extra_options", None):  # may ask for noise
        return False
    function: Any = getattr(sampler, "sampler_function", None)
    own = getattr(function, "__module__", "") == comfy.samplers.k_diffusion_sampling.__name__
    return own and function.__name__.removeprefix("sample_") in INDEPENDENT


def agreement_of(seen: Sequence[Tensor], pictures: int) -> Tensor:
    """`agreement` of the latest two predictions (B, ...); infinite if a sampler shows fewer."""
    if len(seen) < 2:
        return torch.full((pictures,), torch.inf)
    return agreement(seen[-2], seen[-1])


@dataclass(frozen=True)
class Start:
    """Latents (B, ..., h, w) to add noise to; `mask` (B, h, w): may change, None: everywhere."""

    latents: Tensor
    mask: Tensor | None = None

    def kept(self, sampled: Tensor) -> Tensor:
        """What was sampled, with these latents outside the mask."""
        if self.mask is None:
            return sampled
        ones = (1,) * (sampled.ndim - 3)
        where = self.mask.reshape(len(self.mask), *ones, *self.mask.shape[-2:])
        return torch.where(where.to(sampled.device), sampled, self.latents.to(sampled))


def sampled(
    model: ModelPatcher,
    schedule: SamplerSchedule,
    noise: Tensor,
    conditioning: tuple[Conditioning, Conditioning],
    part: ProgressSlice,
    seed: Seed,
    start: Start | None = None,
    watch: Callable[[Tensor], None] = lambda _: None,
) -> Tensor:
    """Finished latents, shaped as `noise`, for positive and negative conditioning.

    The noise is added to `start` at the first level; outside its mask `start` is blended in at
    every step and kept in the result. Samplers that add more noise draw it from `seed`. `watch`
    gets each step's prediction of the clean latents.
    """
    look = None if part.progress is SILENT else previewer_of(model)

    def report(step: int, clean: Tensor, _latents: Tensor, total: int) -> None:
        part.progress.check()
        watch(clean)
        part.report(min(step + 1, total), look(clean) if look else None)

    part.progress.check()
    positive, negative = conditioning
    sampler = schedule.sampler
    if isinstance(sampler, str):
        sampler = comfy.samplers.sampler_object(sampler)
    start = start or Start(torch.zeros_like(noise))
    latents = comfy.sample.sample_custom(
        model,
        noise,
        schedule.cfg,
        sampler,
        schedule.sigmas,
        positive,
        negative,
        start.latents,
        noise_mask=None if start.mask is None else start.mask.float(),
        callback=report,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed if isinstance(seed, int) else seed.seed,
    )
    # A sampler comes back to what is kept, but for rounding.
    return start.kept(latents)


def decoded(vae: Any, latents: Tensor) -> list[Image.Image]:
    """Decoded one by one to save memory; raises RuntimeError for values that are not finite."""
    if not bool(torch.isfinite(latents).all()):
        raise RuntimeError(
            "The model painted values that are not numbers, which make a black picture. Check its "
            "weights and LoRAs, or load it in bf16."
        )
    painted = [vae.decode(row[None]) for row in latents]
    return to_pictures([pixels.reshape(-1, *pixels.shape[-3:]) for pixels in painted])


def previewer_of(model: ModelPatcher) -> Previewer | None:
    """Makes previews of a batch of unfinished latents; None if ComfyUI makes none.

    A model whose latents are not those of FLUX's VAE brings its own.
    """
    if own := getattr(model.model, PREVIEWER, None):
        return own
    space = model.get_model_object("latent_format")
    comfys = latent_preview.get_previewer(model.load_device, space)
    return None if comfys is None else partial(_side_by_side, comfys)


def _side_by_side(previewer: Any, clean: Tensor) -> Image.Image:
    pictures = [previewer.decode_latent_to_preview(clean[i : i + 1]) for i in range(len(clean))]
    row = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height))
    for index, picture in enumerate(pictures):
        row.paste(picture, (index * picture.width, 0))
    return row
