"""`python -m train.writer --config FILE [--plan | --dry-run] [key=value ...]`.

Fine-tunes a vision-language model to write reflections (paper §3.2, §4.1) and leaves it in
`out/model`, with its figures in `out/measured.json`. A run that was cut goes on at its last
checkpoint.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import inject_adapter_in_model
from PIL import Image
from transformers import AutoModelForImageTextToText
from trl.trainer.sft_config import SFTConfig

from reflectionflow_core.archive.files import replace_file
from reflectionflow_core.record import Candidate, Request, Verdict
from reflectionflow_core.vlm.folder import load_model, load_processor
from reflectionflow_core.vlm.local import LocalSettings, load_vlm
from reflectionflow_core.writers.reflection_generator import ReflectionGeneratorWriter
from train.qwen.data import Usable
from train.qwen.guarded import arguments_of, go_on, measured
from train.qwen.loras import lora_of
from train.qwen.plan import parts_of, plan_of, samples_of
from train.qwen.run import base_of, begun, is_here, sides_of, tell
from train.qwen.settings import rehearsal
from train.qwen.sizes import architecture
from train.qwen.whole import whole
from train.settings import parse_request, perform
from train.writer.card import card
from train.writer.chats import Chat, chats_in
from train.writer.measure import gain
from train.writer.model import prepare, save_writer
from train.writer.settings import WriterSettings
from train.writer.trainer import Collator, WriterTrainer, numbers


def setup(settings: WriterSettings, like: str = "") -> WriterTrainer:
    """Everything loaded and checked; nothing trained yet."""
    learnt, held, skipped = sides_of(settings, chats_in)
    sides = {"learnt": learnt, "held_out": held}
    base, place = base_of(settings, like), torch.device(settings.device)
    processor = load_processor(base)
    model = load_model(AutoModelForImageTextToText, base, settings.weights, place)
    trainer = WriterTrainer(
        model=prepare(model, settings),
        # Checkpointing is asked of the model itself.
        args=SFTConfig(**arguments_of(settings), max_length=None, gradient_checkpointing=False),
        data_collator=Collator(processor, sides, settings),
        train_dataset=numbers(sides, "learnt"),
        eval_dataset=numbers(sides, "held_out"),
        processing_class=processor,
        peft_config=lora_of(settings) if settings.tuning == "lora" else None,
    )
    trainer.guard(settings.out, settings.keep, skipped)
    trainer.learn(processor, settings, sides)
    return trainer


def train(settings: WriterSettings, like: str = "") -> Path:
    """The whole run; returns the folder of the trained writer."""
    with begun(settings):
        trainer = setup(settings, like)
        go_on(trainer)
        folder, base = settings.out / "model", base_of(settings, like)
        is_first = trainer.is_world_process_zero()
        if is_first:
            with whole(folder) as part:
                save_writer(trainer.accelerator.unwrap_model(trainer.model), part, settings)
                trainer.processor.save_pretrained(part)
        skipped, held = trainer.skipped, trainer.sides["held_out"]
        del trainer  # its memory is needed by those who paint and judge
        gc.collect()
        if is_first:
            gained = measure_gain(settings, folder, held) if settings.gain.pictures else None
            words = card(settings, base, measured(settings.out), skipped, gained)
            replace_file(folder / "README.md", words.encode())
        return folder


def measure_gain(settings: WriterSettings, folder: Path, held: Usable[Chat]) -> dict[str, Any]:
    """Also into out/gain.json."""
    asked = LocalSettings(batch_size=settings.batch, max_pixels=settings.max_pixels)
    vlm = load_vlm(folder, dtype=settings.weights, device=settings.device, settings=asked)
    gained = gain(ReflectionGeneratorWriter(vlm), held, settings.gain, settings.device)
    replace_file(settings.out / "gain.json", f"{json.dumps(gained, indent=2)}\n".encode())
    return gained


def plan(settings: WriterSettings) -> str:
    config = architecture(settings.base)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
        prepare(model, settings)
        if lora := lora_of(settings) if settings.tuning == "lora" else None:
            inject_adapter_in_model(lora, model)
    parts = parts_of(model.model, config, settings, pictures=1)
    head = 0 if config.tie_word_embeddings else model.lm_head.weight.numel()
    learnt = head if settings.tuning == "full" else 0
    return plan_of(settings, parts, (head, learnt), samples_of(settings, chats_in))


def rehearse(settings: WriterSettings) -> str:
    """One step on a tiny model of the same structure, saved, and loaded as a writer."""
    with tempfile.TemporaryDirectory() as out:
        small = rehearsal(settings, Path(out), is_here(settings), answers=2, max_answer=16)
        folder = train(small, like=settings.base)
        vlm = load_vlm(folder, dtype=small.weights, device=small.device)
        writer = ReflectionGeneratorWriter(vlm, max_words=10)
        flawed = Candidate(Image.new("RGB", (64, 64), "red"), "a blue square", 0, Verdict(0.0))
        words = writer.reflect("a blue square", [Request(0, parent=flawed)])[0]
    data = "the data" if small.data == settings.data else "made-up data"
    return f"One step on a tiny model and {data}: trained, saved, loaded; it writes {words!r}.\n"


def work(settings: WriterSettings) -> str:
    return f"The writer is in {train(settings)}.\n"


def main(arguments: list[str]) -> None:
    request = parse_request(WriterSettings, arguments, "train.writer", __doc__ or "")
    tell(perform(request, plan, rehearse, work))


if __name__ == "__main__":
    main(sys.argv[1:])
