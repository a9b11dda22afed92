"""Memory and time of a reward verifier's training."""

from __future__ import annotations

from functools import partial

import torch
from transformers import AutoModel

from train.qwen.estimate import QwenLoad, estimate_of, samples_of, stacks_of
from train.qwen.loras import lora_weights
from train.qwen.sizes import architecture
from train.verifier.model import RewardModel
from train.verifier.pairs import pairs_in
from train.verifier.settings import VerifierSettings


def estimate(settings: VerifierSettings) -> str:
    read = partial(pairs_in, seed=settings.seed, ties=settings.ties, fetch=False)
    found = samples_of(settings, read)
    return estimate_of(settings, load_of, found)


def load_of(settings: VerifierSettings) -> QwenLoad:
    config = architecture(settings.base)
    with torch.device("meta"):
        model = RewardModel(AutoModel.from_config(config), 0, settings)
    own = model.rm_head.weight.numel() + model.token.numel()
    stacks = stacks_of(model.backbone, config, settings, pictures=2)
    return QwenLoad(stacks, own, own, added=own + lora_weights(model))
