"""Training of a reward verifier, from its setup to the saved model.

Files in `out`: the verifier in `model`, the last checkpoints, and figures in measured.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from reflectionflow_core.verifiers.reward import checked_template, load_base
from reflectionflow_core.verifiers.reward_template import TOKEN
from train.cards import verifier_card
from train.qwen.guarded import arguments_of, measured, train_on
from train.qwen.run import base_of, qwen_run, sides_of
from train.qwen.whole import whole
from train.verifier.model import RewardModel, save_reward
from train.verifier.pairs import pairs_in
from train.verifier.settings import VerifierSettings
from train.verifier.trainer import PairCollator, VerifierTrainer


def setup(settings: VerifierSettings, like: str = "") -> VerifierTrainer:
    """Loads and checks everything; trains nothing."""
    checked_template(settings.template, "The template")
    learnt, held, skipped = sides_of(
        settings, lambda where: pairs_in(where, settings.seed, settings.ties)
    )
    model, processor = load(settings, like)
    trainer = VerifierTrainer(
        model=model,
        args=TrainingArguments(**arguments_of(settings)),
        data_collator=PairCollator(processor, settings),
        train_dataset=learnt,
        eval_dataset=held,
    )
    trainer.guard(settings, skipped)
    trainer.learn(processor, settings)
    return trainer


def load(settings: VerifierSettings, like: str) -> tuple[RewardModel, Any]:
    base = base_of(settings, like)
    torch.manual_seed(settings.seed)  # seeds the head and the LoRA
    backbone, processor, _ = load_base(base, settings.weights, torch.device(settings.torch_device))
    if settings.checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    token = processor.tokenizer.convert_tokens_to_ids(TOKEN)
    return RewardModel(backbone, token, settings), processor


def train(settings: VerifierSettings, like: str = "") -> Path:
    """Runs the training; returns the folder of the trained verifier."""
    with qwen_run(settings):
        trainer = setup(settings, like)
        train_on(trainer)
        folder, base = settings.out / "model", base_of(settings, like)
        if trainer.is_world_process_zero():
            with whole(folder) as part:
                save_reward(trainer.reward, trainer.processor, settings, part)
                card = verifier_card(settings, base, measured(settings.out), trainer.skipped)
                (part / "README.md").write_text(card, encoding="utf-8")
        return folder


def run(settings: VerifierSettings) -> str:
    return f"The verifier is in {train(settings)}.\n"
