"""Tiny random Qwen2.5-VL models with tokenizers, in the hub's folder layout.

For tests, dry runs and the shapes world; their structure is that of the large models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from reflectionflow_core.miniature.prompts import COUNTS, RELATIONS, TEMPLATES
from reflectionflow_core.miniature.world import COLOURS, SHAPES
from reflectionflow_core.writers.reflection_generator import REQUEST

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Vector lengths and layer counts; `patch` in pixels, `context` in tokens.

    `tied`: input and output embeddings are shared, as in 3B but not in 7B.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    key_heads: int = 2
    eye_hidden: int = 64
    eye_layers: int = 2
    eye_heads: int = 4
    patch: int = 8
    context: int = 4096
    tied: bool = False


def save_tiny(
    folder: Path, texts: Sequence[str], sizes: Sizes | None = None, seed: int = 0
) -> Path:
    """Writes a random model, its tokenizer and its image processor."""
    sizes = sizes or Sizes()
    tokenizer = tokenizer_of(texts, size=1000)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config_of(tokenizer, sizes))
    _rescale(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    save_processor(folder, tokenizer, sizes.patch)
    return folder


def miniature_words() -> list[str]:
    """The vocabulary of the shapes world: prompts, edits and questions."""
    shapes = [*SHAPES, *(f"{shape}s" for shape in SHAPES)]
    grammar = " ".join((*TEMPLATES, *RELATIONS, *COUNTS, *COLOURS, *shapes, REQUEST))
    edits = "add remove recolor turn into move and the an a user assistant system"
    return re.findall(r"\w+", f"{grammar} {edits}")


def _rescale(model: Any) -> None:
    """Scales the weights so that signals keep their size.

    The usual initialisation suits vectors of thousands of numbers; in a tiny model the picture
    would vanish in the noise of the layers.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed_tokens" in name and not model.config.tie_word_embeddings:
                weight.normal_(0, 1)
            elif weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)


def tokenizer_of(texts: Sequence[str], size: int = 400) -> PreTrainedTokenizerFast:
    """A tokenizer with bytes and the words of the `texts`, with and without a leading space."""
    bare = Tokenizer(BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator([*texts, f" {' '.join(texts)}"] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
        chat_template=CHAT,
    )


def config_of(tokenizer: Any, sizes: Sizes) -> Qwen2_5_VLConfig:
    turn = sizes.hidden // sizes.heads // 2  # rotary pairs per head
    width = turn * 3 // 8
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.hidden * 2,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_heads,
        "max_position_embeddings": sizes.context,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [turn - 2 * width, width, width],
        },
    }
    vision = {
        "depth": sizes.eye_layers,
        "hidden_size": sizes.eye_hidden,
        "intermediate_size": sizes.eye_hidden * 2,
        "num_heads": sizes.eye_heads,
        "out_hidden_size": sizes.hidden,
        "patch_size": sizes.patch,
        "window_size": 4 * sizes.patch,
        "fullatt_block_indexes": [sizes.eye_layers - 1],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=sizes.tied,
        **tokens_of(tokenizer),
    )


def tokens_of(tokenizer: Any) -> dict[str, Any]:
    """The special tokens around pictures."""
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


def save_processor(folder: Path, tokenizer: Any, patch: int, kind: str = "Qwen2_5_VL") -> None:
    """Writes a processor's configuration; `kind` is the prefix of its class names."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT}), "utf-8")
    image_processor = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": f"{kind}Processor",
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 4 * patch * patch, "longest_edge": 12845056},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(image_processor), "utf-8")
