"""Judges with weights of their own, small and random: a CLIP, and a reward model in both halves."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from reflectionflow_core.verifiers.reward import TOKEN

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save_clip(folder: Path) -> Path:
    """A CLIP of 32 x 32 pixels, as transformers saves it."""
    pieces = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{c}</w>" for c in LETTERS)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {**small, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**heads, **ends, "vocab_size": len(pieces)},
        vision_config={**heads, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    eyes = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(eyes))
    return folder


def save_reward(base: Path, folder: Path) -> Path:
    """The published verifier's layout, over the small Qwen2.5-VL in `base`; its LoRA is merged."""
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    state = load_file(base / "model.safetensors")
    width = state["model.embed_tokens.weight"].shape[1]
    words = state["model.embed_tokens.weight"]
    state["model.embed_tokens.weight"] = torch.cat([words, torch.randn(1, width)])  # its token
    held = {f"base_model.model.{name}": tensor for name, tensor in state.items()}
    held["base_model.model.rm_head.weight"] = torch.randn(1, width)
    torch.save(held, folder / "model.pth")
    (folder / "template.txt").write_text(f"Is it {{text_prompt}}? {TOKEN}")
    return folder
