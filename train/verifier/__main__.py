"""`python -m train.verifier --config FILE [--plan | --dry-run] [key=value ...]`.

Trains a reward verifier on pairs of pictures (paper §3.2, §4.1) and leaves it in `out/model`, with
its figures in `out/measured.json`. A run that was cut goes on at its last checkpoint.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModel, TrainingArguments

from reflectionflow_core.verifiers.reward import checked_template, load_base, load_reward
from reflectionflow_core.verifiers.reward_forward import TOKEN
from train.qwen.guarded import arguments_of, go_on, measured
from train.qwen.plan import parts_of, plan_of, samples_of
from train.qwen.run import base_of, begun, is_here, sides_of, tell
from train.qwen.settings import rehearsal
from train.qwen.sizes import architecture
from train.qwen.whole import whole
from train.settings import parse_request, perform
from train.verifier.card import card
from train.verifier.model import RewardModel, save_reward
from train.verifier.pairs import pairs_in
from train.verifier.settings import VerifierSettings
from train.verifier.trainer import Collator, VerifierTrainer


def setup(settings: VerifierSettings, like: str = "") -> VerifierTrainer:
    """Everything loaded and checked; nothing trained yet."""
    checked_template(settings.template, "The template")
    learnt, held, skipped = sides_of(
        settings, lambda place: pairs_in(place, settings.seed, settings.ties)
    )
    model, processor = load(settings, like)
    trainer = VerifierTrainer(
        model=model,
        args=TrainingArguments(**arguments_of(settings)),
        data_collator=Collator(processor, settings),
        train_dataset=learnt,
        eval_dataset=held,
    )
    trainer.guard(settings.out, settings.keep, skipped)
    trainer.learn(processor, settings)
    return trainer


def load(settings: VerifierSettings, like: str) -> tuple[RewardModel, Any]:
    base, place = base_of(settings, like), torch.device(settings.device)
    torch.manual_seed(settings.seed)  # of the head and the LoRA
    backbone, processor, _ = load_base(base, settings.weights, place)
    if settings.checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    token = processor.tokenizer.convert_tokens_to_ids(TOKEN)
    return RewardModel(backbone, token, settings), processor


def train(settings: VerifierSettings, like: str = "") -> Path:
    """The whole run; returns the folder of the trained verifier."""
    with begun(settings):
        trainer = setup(settings, like)
        go_on(trainer)
        folder, base = settings.out / "model", base_of(settings, like)
        if trainer.is_world_process_zero():
            with whole(folder) as part:
                save_reward(trainer.reward, trainer.processor, settings, part)
                words = card(settings, base, measured(settings.out), trainer.skipped)
                (part / "README.md").write_text(words, encoding="utf-8")
        return folder


def plan(settings: VerifierSettings) -> str:
    config = architecture(settings.base)
    with torch.device("meta"):
        model = RewardModel(AutoModel.from_config(config), 0, settings)
    parts = parts_of(model.backbone, config, settings, pictures=2)
    own = model.rm_head.weight.numel() + model.token.numel()
    found = samples_of(settings, lambda place: pairs_in(place, settings.seed, settings.ties))
    return plan_of(settings, parts, (own, own), found)


def rehearse(settings: VerifierSettings) -> str:
    """One step on a tiny model of the same structure, saved, and loaded as a verifier."""
    with tempfile.TemporaryDirectory() as out:
        small = rehearsal(settings, Path(out), is_here(settings))
        folder = train(small, like=settings.base)
        base, device = small.out / "base", small.device
        verifier = load_reward(folder, base, dtype=small.weights, device=device)
        score = verifier.scores("a red circle", [Image.new("RGB", (64, 64), "red")])[0]
    data = "the data" if small.data == settings.data else "made-up data"
    told = "trained, saved and loaded; it gives a picture"
    return f"One step on a tiny model and {data}: {told} {score:.3f}.\n"


def work(settings: VerifierSettings) -> str:
    return f"The verifier is in {train(settings)}.\n"


def main(arguments: list[str]) -> None:
    request = parse_request(VerifierSettings, arguments, "train.verifier", __doc__ or "")
    tell(perform(request, plan, rehearse, work))


if __name__ == "__main__":
    main(sys.argv[1:])
