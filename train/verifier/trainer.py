"""A training step of a reward verifier, with both pictures of each pair in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EvalPrediction

from reflectionflow_core.verifiers.reward_forward import encode_rows
from train.qwen.data import Unread
from train.qwen.guarded import Guarded
from train.triplets import SUBSETS
from train.verifier.measure import figures
from train.verifier.model import RewardModel, load_trained, save_reward
from train.verifier.pairs import PreferencePair
from train.verifier.preference import loss
from train.verifier.settings import VerifierSettings

MAX_PROMPT = 4000  # longest prompt in characters; longer ones are cut to limit memory


class PairCollator:
    """Model inputs for pairs: first all first pictures, then all second ones.

    `labels` (pairs, 2) are the outcome and the subset's number.
    """

    def __init__(self, processor: Any, settings: VerifierSettings) -> None:
        self.processor, self.settings = processor, settings

    def __call__(self, samples: Sequence[tuple[PreferencePair, list[Unread]]]) -> dict[str, Any]:
        pairs = [pair for pair, _ in samples]
        prompts = [pair.prompt[:MAX_PROMPT] for pair in pairs]
        images = [*(pair.first for pair in pairs), *(pair.second for pair in pairs)]
        limit = self.settings.max_pixels
        rows = encode_rows(self.processor, self.settings.template, prompts * 2, images, limit)
        labels = [[pair.label, SUBSETS.index(pair.subset)] for pair in pairs]
        return {
            **rows,
            "labels": torch.tensor(labels),
            "keys": [pair.key for pair in pairs],
            "unread": [each for _, unread in samples for each in unread],
        }


class VerifierTrainer(Guarded):
    """Trains a RewardModel; every checkpoint can be loaded as a verifier."""

    def learn(self, processor: Any, settings: VerifierSettings) -> None:
        """Must be called once before training."""
        self.processor, self.settings = processor, settings
        self.compute_metrics = self.measure

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        return self._judged(model, inputs)[0]

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = {name: v for name, v in inputs.items() if name not in ("keys", "unread")}
        rows = self._prepare_inputs(rows)
        with torch.no_grad():
            return *self._judged(model, rows), rows["labels"]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Adds accuracy and calibration on the held-out pairs to measured.json."""
        measured = super().evaluate(*args, **kwargs)
        self.note(self.figures)
        return measured

    def measure(self, found: EvalPrediction) -> dict[str, float]:
        """Returns the main figures to transformers; all are kept in `figures`."""
        rewards: Any = found.predictions
        labels: Any = found.label_ids
        self.figures = figures(rewards, labels[:, 0], labels[:, 1], self.settings.ties)
        return {
            "accuracy": self.figures["accuracy"]["mean"],
            "calibration_error": self.figures["calibration_error"],
        }

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_reward(self.reward, self.processor, self.settings, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(model or self.reward, Path(resume_from_checkpoint))

    @property
    def reward(self) -> RewardModel:
        return self.accelerator.unwrap_model(self.model)

    def _judged(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The loss, and the rewards (pairs, 2)."""
        rows = {name: value for name, value in inputs.items() if name != "labels"}
        first, second = model(rows).chunk(2)
        outcome = inputs["labels"][:, 0]
        return loss(first - second, outcome, self.settings.ties), torch.stack([first, second], 1)
