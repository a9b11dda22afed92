"""The published sizes of Qwen2.5-VL, so that an estimate needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Qwen2_5_VLConfig

from reflectionflow_core.record import InputError
from train.qwen.settings import TINY
from train.qwen.tiny import Sizes, config_of, miniature_words, tokenizer_of

_EYES = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
# The parts of each published config.json that determine the number of weights.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen2.5-VL-3B": {
        "text_config": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        "vision_config": {**_EYES, "out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen2.5-VL-7B": {
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
        "vision_config": {**_EYES, "out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}


def published(base: str) -> dict[str, Any] | None:
    """The published configuration for a hub ID or a folder with that name."""
    return next((config for name, config in PUBLISHED.items() if name in base), None)


def architecture(base: str) -> Qwen2_5_VLConfig:
    """The architecture of a base model, from its folder or as published."""
    if base == TINY:
        return config_of(tokenizer_of(miniature_words()), Sizes())
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        return Qwen2_5_VLConfig.from_pretrained(folder)
    config = published(base)
    if config is None:
        raise InputError(
            f"The size of {base} is unknown. Give its folder, or one of: "
            f"{', '.join(f'Qwen/{name}-Instruct' for name in PUBLISHED)}."
        )
    return Qwen2_5_VLConfig(**config)


def sizes_like(base: str) -> Sizes:
    """A tiny model with the same parts as `base`: patches, tied embeddings or not.

    Without a base, it is made for pictures of 64 x 64 pixels.
    """
    config = published(base)
    return Sizes(patch=14, tied=config["tie_word_embeddings"]) if config else Sizes()
