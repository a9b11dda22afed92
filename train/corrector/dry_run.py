"""A small training: generated triplets, few narrow layers, one step, the LoRA reloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from PIL import Image
from torch import nn
from webdataset.writer import TarWriter

from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.lora import FILE_NAME, load_corrector_lora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.miniature.model import FOLDER
from reflectionflow_core.miniature.world import render
from reflectionflow_core.record import InputError
from train.corrector.flux import structure
from train.corrector.settings import CorrectorSettings, MendedSettings, Views
from train.corrector.training import Overrides, train
from train.journal import DRY_RUN
from train.latents.encoding import encode
from train.latents.settings import LatentsSettings
from train.miniature.edits import pair_of
from train.miniature.scenes import any_prompt, compose, flawed
from train.processes import join
from train.reports import ReportSettings
from train.triplets import SUBSETS, Triplet, files_of

SIDE = 64  # pixels
IN_SMALL = MendedSettings(pictures=1)  # needs no model
# Without what needs the run's own samples, and without reports: a dry run is no run.
OF_A_RUN: dict[str, Any] = {"siblings": 1, "leave_out": [], "report": ReportSettings()}
SMALL = {
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 128,  # widths of the miniature's text encoders
    "pooled_projection_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}


def dry_run(settings: CorrectorSettings) -> str:
    """A report as text; raises what a training would raise."""
    if join(settings.torch_device).num_processes > 1:
        raise InputError("A dry run uses one process. Start it without a launcher.")
    with tempfile.TemporaryDirectory() as folder:
        flux = small_flux(settings)
        small = _small(settings, Path(folder))
        if isinstance(settings.latents, Path):
            encode_made_up(small, flux, Path(folder) / "latents")
            small = small.model_copy(update={"latents": Path(folder) / "latents"})
        trained = train(small, Overrides(flux=flux))
        loaded = load_corrector_lora(small.out / FILE_NAME, flux.transformer)
        pairs = zip(trained.parameters(), loaded.parameters(), strict=True)
        if not all(torch.equal(mine.cpu(), its) for mine, its in pairs):
            raise RuntimeError("The saved LoRA differs from the trained one.")
        count = sum(parameter.numel() for parameter in loaded.parameters())
        return f"Dry run: one step, validated, saved and loaded again, {count:,} weights.\n"


def small_flux(views: Views) -> Flux:
    """A FLUX of the same structure with random weights and the miniature's encoders."""
    device = join(views.torch_device).device
    flux = load_flux(FOLDER, dtype=views.dtype, device=device, plan="resident")
    torch.manual_seed(views.seed)
    transformer = FluxTransformer2DModel(**{**structure(views.model), **SMALL})
    nn.Module.to(transformer, flux.vae.dtype)  # diffusers' `to` has no type annotations
    flux.transformer = transformer.eval().requires_grad_(False)
    return flux


def write_triplets(folder: Path, count: int, seed: int = 0) -> Path:
    """Writes a shard of flawed scenes with reflections: all subsets, several aspect ratios."""
    folder.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(folder / "made-up.tar")) as shard:
        for triplet in made_up(count, np.random.default_rng(seed)):
            shard.write({"__key__": triplet.key, **files_of(triplet, "png")})
    return folder


def made_up(count: int, rng: np.random.Generator) -> Iterator[Triplet]:
    made = 0
    while made < count:
        prompt, spec = any_prompt(rng)
        pair = pair_of(prompt, spec, flawed(compose(spec, rng), rng), rng)
        if pair is None:
            continue
        size = [(SIDE, SIDE), (SIDE * 3 // 2, SIDE), (SIDE, SIDE * 2)][made % 3]
        good, bad = (Image.fromarray(render(scene)) for scene in (pair.corrected, pair.scene))
        yield Triplet(
            f"made-up-{made:05d}",
            good.resize(size),
            bad,
            pair.prompt,
            pair.reflection,
            SUBSETS[made % len(SUBSETS)],
        )
        made += 1


def encode_made_up(settings: Views, flux: Flux, out: Path) -> None:
    data = write_triplets(out.parent / "shards", 24)
    views: dict[str, Any] = {name: getattr(settings, name) for name in Views.model_fields}
    made_up = {"data": str(data), "out": out, "shuffled": True, "alone": True}
    encode(LatentsSettings(**{**views, **made_up}), flux)


def small_sizes(views: Views) -> dict[str, Any]:
    share = views.condition_size / views.target_size
    return {
        "target_size": SIDE,
        "condition_size": max(16, round(SIDE * share / 16) * 16),
        "text_length": 24,
    }


def _small(settings: CorrectorSettings, folder: Path) -> CorrectorSettings:
    data = write_triplets(folder / "shards", 24)
    validation = {"samples": 2, "every": 1, "pictures": 1, "steps": 2, "mended": IN_SMALL}
    changes = {
        **small_sizes(settings),
        "data": str(data),
        "latents": None,
        "out": folder / DRY_RUN,
        **OF_A_RUN,
        "steps": 1,
        "save_every": 1,
        "batch": min(settings.batch, 2),
        "lora": settings.lora.model_copy(update={"start": None}),  # it would be too large
        "validation": settings.validation.model_copy(update=validation),
    }
    return settings.model_copy(update=changes)
