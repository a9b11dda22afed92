"""All stages of the miniature in their order, each with a checkpoint under `out`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)

from reflectionflow_core.miniature.model import load_miniature
from reflectionflow_core.miniature.prompts import FAMILIES
from train.cards import miniature_card
from train.fit import Schedule, fit
from train.miniature import base, distil, measure, text, vae
from train.miniature.corrector import train_corrector
from train.miniature.settings import MiniatureSettings
from train.processes import join, wait_for_all
from train.qwen.whole import whole
from train.run_folder import run_folder
from train.settings import torch_device

MAY_CHANGE = ("out", "device", "measured")


def run(settings: MiniatureSettings) -> str:
    settings = settings.model_copy(update={"device": torch_device(settings.device)})
    join(settings.device)
    folder = settings.out / "weights"
    # A stage that is there is not made again, so it must be of the same settings.
    with run_folder(settings.out, settings.model_dump(mode="json"), MAY_CHANGE):
        model = train_base(settings)
        if join().is_main_process:
            save_pipeline(model, train_vae(settings), folder)
        wait_for_all()  # the others read what the first one writes
        train_corrector(settings, folder)
        if join().is_main_process:
            report(settings, folder)
    return f"The miniature is in {folder}.\n"


def train_vae(settings: MiniatureSettings) -> AutoencoderKL:
    folder, process = settings.out / "vae", join()
    if not folder.exists():
        torch.manual_seed(settings.seed)
        model = vae.on_device(vae.new_vae(), settings.device)
        pictures = vae.bank(12_000, np.random.default_rng([settings.seed, 1]))
        loss = vae.CroppedLoss(model, pictures, settings.vae_batch)
        schedule = Schedule(settings.vae_steps, settings.vae_rate, ema=0.995)
        average = fit("vae", model, loss, schedule, settings.out, settings.seed)
        average.register_to_config(**vae.calibrate(average, pictures[:2000]))
        with process.main_process_first():
            if not folder.exists():
                with whole(folder) as part:
                    average.save_pretrained(part)
    return vae.on_device(AutoencoderKL.from_pretrained(folder), settings.device)


def train_text(settings: MiniatureSettings) -> text.Encoders:
    torch.manual_seed(settings.seed)
    reader = text.Reader(text.Encoders()).to(settings.device)
    loss = text.ReaderLoss(reader, settings.text_batch)
    schedule = Schedule(settings.text_steps, settings.text_rate, ema=0.99)
    return fit("text", reader, loss, schedule, settings.out, settings.seed).encoders


def train_base(settings: MiniatureSettings) -> base.Base:
    """The base, then its guidance distilled into it."""
    rank, world = join().process_index, join().num_processes
    scenes = np.random.default_rng([settings.seed, 2, rank])
    # Named by all that the scenes depend on: latents of other scenes would fit without an error.
    named = f"latents-{settings.seed}-{settings.pictures}-{rank}-of-{world}.pt"
    bank = base.bank(train_vae(settings), settings.pictures // world, scenes, settings.out / named)
    torch.manual_seed(settings.seed)
    # The encoders already read every text right; frozen, they leave the time to the transformer.
    model = base.Base(train_text(settings).requires_grad_(False)).to(settings.device)
    loss = base.BaseLoss(model, bank, settings.base_batch // world)
    schedule = Schedule(settings.base_steps, settings.base_rate)
    teacher = fit("base", model, loss, schedule, settings.out, settings.seed)
    student = teacher
    student.transformer.requires_grad_(True)
    loss = distil.DistilLoss(student, bank, settings.base_batch // world)
    schedule = Schedule(settings.distil_steps, settings.distil_rate, decay=0.6)
    return fit("distil", student, loss, schedule, settings.out, settings.seed)


def save_pipeline(model: base.Base, coder: AutoencoderKL, folder: Path) -> None:
    """A stock FluxPipeline in bfloat16, of the same bytes from a resumed run.

    A tokenizer's file tells how it was last used, so new ones are saved.
    """
    shift = float(np.log(base.TIME_SHIFT))
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=shift, max_shift=shift
        ),
        vae=coder,
        text_encoder=model.encoders.clip,
        tokenizer=text.clip_tokenizer(),
        text_encoder_2=model.encoders.t5,
        tokenizer_2=text.t5_tokenizer(),
        transformer=model.transformer,
    )
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    _forget_origin(folder / "vae" / "config.json")


def _forget_origin(config: Path) -> None:
    """Removes where diffusers loaded a part from: a path of the machine that trained it."""
    values = json.loads(config.read_text("utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def report(settings: MiniatureSettings, folder: Path) -> None:
    """Measures on held-out prompts; into `out/measured.json` and the weights' model card."""
    generator, repairer = load_miniature(folder=folder, device=settings.device)
    asked = measure.held_out(settings.measured // len(FAMILIES))
    pictures = measure.paint(generator, asked)
    figures = {
        "vae": measure.vae_accuracy(train_vae(settings)),
        "base": measure.by_family(asked, measure.are_right(asked, pictures)),
        "one_correction": measure.correction_rates(generator, repairer, asked, pictures),
    }
    (settings.out / "measured.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    (folder / "README.md").write_text(miniature_card(settings, figures), "utf-8")
