"""Training of an editing model: its own parts in the corrector's loop.

Files in `out` are the corrector's; the LoRA is in diffusers format.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from reflectionflow_core.flux.lora import FILE_NAME
from reflectionflow_core.flux.painter import to_picture
from train.base_models import check_place, digests_of
from train.corrector.loss import mixed
from train.corrector.samples import BatchSource, TrainingBatch
from train.corrector.training import CorrectorTraining, assembled, finish, triplets_in
from train.corrector.validation import Checks, held_out
from train.editor.klein import EditorLora, EditorShards, load, velocity
from train.editor.settings import MAY_CHANGE, EditorSettings
from train.processes import join
from train.run_folder import MODELS, run_folder


class EditorChecks(Checks):
    """The corrector's validation; pictures are corrected by equal Euler steps."""

    def __init__(
        self, pipeline: Any, source: BatchSource, indices: list[int], settings: Any
    ) -> None:
        super().__init__(pipeline, source, indices, settings)
        self.pipeline = pipeline

    def _corrected(self, batch: TrainingBatch, noise: Tensor) -> Tensor:
        steps = self.settings.steps
        latents = noise.to(batch.target)
        for number in range(steps, 0, -1):
            inputs, _ = mixed(batch, noise, torch.full((len(batch.keys),), number / steps))
            slope = velocity(self.pipeline.transformer, replace(inputs, latents=latents))
            latents = latents - slope / steps
        return latents

    def _picture(self, tokens: Tensor, grid: tuple[int, int]) -> Picture:
        vae = self.pipeline.vae
        latents = tokens.transpose(1, 2).unflatten(2, grid).to(vae.dtype)
        scale = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
        latents = latents * scale.view(1, -1, 1, 1) + vae.bn.running_mean.view(1, -1, 1, 1)
        pixels = vae.decode(self.pipeline._unpatchify_latents(latents), return_dict=False)[0]
        return to_picture(pixels[0])

    def _put_away(self) -> None:
        """Keeps the VAE: every batch needs it."""


def train(settings: EditorSettings, pipeline: Any = None) -> EditorLora:
    """Trains the LoRA, saves it in `settings.out` and returns it; a stopped run is resumed."""
    if pipeline is None:
        check_place(settings.model)
    batches = settings.accumulate * join(settings.torch_device).num_processes
    record = {**settings.model_dump(mode="json"), "batches_a_step": batches}
    record[MODELS] = digests_of(settings.model)
    with run_folder(settings.out, record, MAY_CHANGE):
        training = setup(settings, pipeline)
        finish(training)
        return cast(EditorLora, training.lora)


def setup(settings: EditorSettings, pipeline: Any = None) -> CorrectorTraining:
    pipeline = pipeline or load(settings.model, settings.dtype, settings.torch_device)
    transformer = pipeline.transformer
    lora = EditorLora(transformer, settings.rank, settings.seed)
    if settings.checkpointing:
        transformer.enable_gradient_checkpointing()
        transformer.train()  # there is no dropout; diffusers uses checkpointing only in train mode
    source = EditorShards(pipeline, triplets_in(settings), settings)
    tested = held_out(settings.validation.samples, source.prompts, settings.seed)
    checks = EditorChecks(pipeline, source, tested, settings.validation)
    predict = partial(velocity, transformer)
    return assembled(settings, source, tested, checks, lora, predict, transformer)


def run(settings: EditorSettings) -> str:
    train(settings)
    return f"The editor's LoRA is in {settings.out / FILE_NAME}.\n"
