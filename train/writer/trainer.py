"""A training step of a writer: the question as it will be asked, and the loss of the answer's
tokens.

trl's own collator is not used: it formats prompts differently than at inference, and cuts long ones
in the middle of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForImageTextToText
from trl.trainer.sft_trainer import SFTTrainer

from reflectionflow_core.vlm.local import LocalVlm
from reflectionflow_core.vlm.prompts import control_tokens, encode, without_control_tokens
from reflectionflow_core.writers.reflection_generator import ReflectionGeneratorWriter
from train.journal import records
from train.processes import agreed
from train.qwen.data import Usable
from train.qwen.guarded import LOG, Guarded
from train.writer.chats import Chat
from train.writer.measure import WriterGain, speaking, written
from train.writer.settings import WriterSettings

TOKENS = "num_tokens"  # trl's count of tokens that were trained on
IGNORED = -100  # label of tokens that are not learnt


Sides = dict[str, Usable[Chat]]  # keys: "learnt" and "held_out"


def numbers(sides: Sides, side: str) -> Dataset:
    """Sample numbers as a data set for trl; the collator reads the samples."""
    count = len(sides[side])
    return Dataset.from_dict({"side": [side] * count, "images": list(range(count))})


class ChatCollator:
    """Batches of chats: the question is padded on the left, the answer on the right."""

    def __init__(self, processor: Any, sides: Sides, settings: WriterSettings) -> None:
        self.processor, self.sides, self.settings = processor, sides, settings

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        samples = [self.sides[row["side"]][row["images"]] for row in rows]
        questions = [chat.question for chat, _ in samples]
        asked = encode(self.processor, questions, self.settings.max_pixels, side="left")
        said, mask = self._answers([chat.answer for chat, _ in samples])
        nothing = torch.full_like(asked["input_ids"], IGNORED)
        longer = {
            "input_ids": said,
            "attention_mask": mask,
            "mm_token_type_ids": torch.zeros_like(said),  # text
        }
        return {
            **asked,
            **{name: torch.cat([asked[name], more], 1) for name, more in longer.items()},
            "labels": torch.cat([nothing, said.masked_fill(mask == 0, IGNORED)], 1),
            "keys": [chat.key for chat, _ in samples],
            "unread": [each for _, unread in samples for each in unread],
        }

    def _answers(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and mask (rows, tokens); an answer ends with the end token unless it was cut."""
        tokenizer, most = self.processor.tokenizer, self.settings.max_answer
        tokens = control_tokens(self.processor)
        plain = [without_control_tokens(text, tokens) for text in texts]
        found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in plain]
        cut = [torch.tensor([*ids, tokenizer.eos_token_id][:most]) for ids in found]
        pad = torch.nn.utils.rnn.pad_sequence
        mask = pad([torch.ones_like(ids) for ids in cut], batch_first=True)
        return pad(cut, batch_first=True, padding_value=tokenizer.pad_token_id), mask


class WriterTrainer(Guarded, SFTTrainer):
    """trl's trainer, measured on held-out chats."""

    def learn(self, processor: Any, settings: WriterSettings, sides: Sides) -> None:
        """Must be called once before training."""
        self.processor, self.settings, self.sides = processor, settings, sides
        known = [found[TOKENS] for found in records(self.folder / LOG) if TOKENS in found]
        self._total_train_tokens = max(known, default=0)  # trl begins at 0 again

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measures the loss on held-out chats and generates answers; adds both to measured.json."""
        found = super().evaluate(*args, **kwargs)
        figures = {
            "loss": found["eval_loss"],
            "token_accuracy": found["eval_mean_token_accuracy"],
            **self._written_out(),
            **self._gained(),
        }
        self.note(figures)
        return found

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """transformers saves weights under older names, which its Trainer would silently skip."""
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded or isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = AutoModelForImageTextToText.from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, local_files_only=True
        )
        learner: Any = model or self.model
        learner.load_state_dict(saved.state_dict())

    def gathered(self) -> dict[str, Tensor] | None:
        """The sharded weights, gathered on the first process; None without sharding.

        Every process must call it.
        """
        found: Any = self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None
        return found

    def _written_out(self) -> dict[str, Any]:
        if not self.settings.answers:
            return {}
        with self._speaking() as vlm:
            return {side: written(vlm, chats, self.settings) for side, chats in self.sides.items()}

    def _gained(self) -> dict[str, Any]:
        if not self.settings.gain.during:
            return {}
        with self._speaking() as vlm:
            return {"gain": self.gain(ReflectionGeneratorWriter(vlm))}

    @cached_property
    def gain(self) -> WriterGain:
        """Painter and judge, kept for the next measurement."""
        few = self.settings.gain.model_copy(update={"pictures": self.settings.gain.during})
        return WriterGain(self.sides["held_out"], few, self.settings.torch_device, agreed)

    def _speaking(self) -> AbstractContextManager[LocalVlm]:
        model = self.accelerator.unwrap_model(self.model)
        return speaking(model, self.processor, self.settings)
