"""Training of a reflection writer, from its setup to the saved model.

Files in `out`: the writer in `model`, the last checkpoints, and figures in measured.json.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from trl.trainer.sft_config import SFTConfig

from reflectionflow_core.archive.files import replace_file
from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.folder import load_model, load_processor
from reflectionflow_core.vlm.local import LocalSettings, load_vlm
from reflectionflow_core.writers.reflection_generator import ReflectionGeneratorWriter
from train.cards import writer_card
from train.processes import shares_weights
from train.qwen.data import Usable
from train.qwen.guarded import arguments_of, measured, train_on
from train.qwen.loras import lora_of
from train.qwen.run import base_of, qwen_run, sides_of
from train.qwen.whole import whole
from train.writer.chats import Chat, SeveralChats, chats_in, kinds_of
from train.writer.measure import WriterGain
from train.writer.model import prepare, save_writer
from train.writer.settings import WriterSettings
from train.writer.trainer import ChatCollator, WriterTrainer, numbers


def setup(settings: WriterSettings, like: str = "") -> WriterTrainer:
    """Loads and checks everything; trains nothing."""
    learnt, held, skipped = sides_of(settings, chats_in)
    if shares_weights() and settings.tuning == "lora":
        raise InputError(
            "The base model of a LoRA cannot be sharded. Start with torchrun, or give tuning=full."
        )
    sides = {"learnt": learnt, "held_out": held}
    arguments = arguments_of(settings)
    # In a batch without pictures, the vision encoder gets no gradients.
    arguments["ddp_find_unused_parameters"] = isinstance(learnt.source, SeveralChats)
    base, device = base_of(settings, like), torch.device(settings.torch_device)
    processor = load_processor(base)
    model = load_model(AutoModelForImageTextToText, base, settings.weights, device)
    trainer = WriterTrainer(
        model=prepare(model, settings),
        # Checkpointing is turned on in the model itself.
        args=SFTConfig(**arguments, max_length=None, gradient_checkpointing=False),
        data_collator=ChatCollator(processor, sides, settings),
        train_dataset=numbers(sides, "learnt"),
        eval_dataset=numbers(sides, "held_out"),
        processing_class=processor,
        peft_config=lora_of(settings) if settings.tuning == "lora" else None,
    )
    trainer.guard(settings, skipped)
    trainer.learn(processor, settings, sides)
    return trainer


def train(settings: WriterSettings, like: str = "") -> Path:
    """Runs the training; returns the folder of the trained writer."""
    with qwen_run(settings):
        trainer = setup(settings, like)
        train_on(trainer)
        folder, base = settings.out / "model", base_of(settings, like)
        is_first = trainer.is_world_process_zero()
        weights = trainer.gathered()
        if is_first:
            with whole(folder) as part:
                model = trainer.accelerator.unwrap_model(trainer.model)
                save_writer(model, part, settings, weights)
                trainer.processor.save_pretrained(part)
        skipped, held = trainer.skipped, trainer.sides["held_out"]
        kinds = kinds_of(trainer.sides["learnt"].source)
        del trainer  # frees memory for the painter and the judge
        gc.collect()
        if is_first:
            gained = measure_gain(settings, folder, held) if settings.gain.pictures else None
            card = writer_card(settings, base, measured(settings.out), skipped, gained, kinds)
            replace_file(folder / "README.md", card.encode())
        return folder


def measure_gain(settings: WriterSettings, folder: Path, held: Usable[Chat]) -> dict[str, Any]:
    """Measures the gain and writes it to out/gain.json."""
    asked = LocalSettings(batch_size=settings.batch, max_pixels=settings.max_pixels)
    vlm = load_vlm(folder, dtype=settings.weights, device=settings.torch_device, settings=asked)
    gained = WriterGain(held, settings.gain, settings.torch_device)(ReflectionGeneratorWriter(vlm))
    replace_file(settings.out / "gain.json", f"{json.dumps(gained, indent=2)}\n".encode())
    return gained


def run(settings: WriterSettings) -> str:
    return f"The writer is in {train(settings)}.\n"
