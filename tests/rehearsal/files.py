"""Writes random files by lists of names, shapes and types: a diffusers folder and what goes beside.

Tensor by tensor, so that writing takes no memory to speak of.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from checkpoints import BYTES, Keys, as_type, header, keys
from checkpoints.make import CLIP_L, FLUX, FLUX_VAE, T5_XXL
from core.tiny_flux import clip_tokenizer, loud_lora, t5_tokenizer, tiny_pipeline
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from transformers import CLIPTextConfig, T5Config

Writer = Callable[[Path, Keys], Path]
TORCH = {"BF16": torch.bfloat16, "F32": torch.float32, "F8_E4M3": torch.float8_e4m3fn}
KIND = {dtype: kind for kind, dtype in TORCH.items()}
POOL = 1 << 23  # random values, used again and again
DEVIATION = 0.02
CLASSES = {
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


@dataclass(frozen=True)
class Architecture:
    """Configurations and tensors of a FLUX with its corrector."""

    configurations: Mapping[str, Any]  # with a `save_config` or `save_pretrained`
    parts: Mapping[str, Keys]  # of the folder, by name of the part
    transformer: Keys
    corrector: Keys


def true_size() -> Architecture:
    """FLUX.1-dev's; only the tokenizers are small ones, whose tokens are among the true ones."""
    clip = CLIPTextConfig(
        vocab_size=49408, num_attention_heads=12, projection_dim=768, eos_token_id=1, **CLIP_L
    )
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**FLUX)
        vae = AutoencoderKL(**FLUX_VAE, scaling_factor=0.3611, shift_factor=0.1159)
    configurations = {
        "transformer": transformer,
        "vae": vae,
        "text_encoder": clip,
        "text_encoder_2": T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **T5_XXL),
    }
    parts = {
        "vae": keys("flux1_vae_diffusers"),
        "text_encoder": keys("clip_l"),
        "text_encoder_2": keys("t5_xxl"),
    }
    return Architecture(configurations, parts, keys("flux1_dev"), keys("flux1_corrector"))


def tiny_size() -> Architecture:
    """A FLUX of a few hundred thousand weights, in diffusers' names."""
    pipeline = tiny_pipeline()
    parts = ("vae", "text_encoder", "text_encoder_2")
    lora = loud_lora(pipeline.transformer)
    corrector = {
        f"transformer.{path}.lora_{letter}.weight": ("BF16", tuple(factor.shape))
        for path, layer in lora.items()
        for letter, factor in (("A", layer.down), ("B", layer.up))
    }
    return Architecture(
        {
            "transformer": pipeline.transformer,
            "vae": pipeline.vae,
            "text_encoder": pipeline.text_encoder.config,
            "text_encoder_2": pipeline.text_encoder_2.config,
        },
        {name: _keys_of(getattr(pipeline, name)) for name in parts},
        _keys_of(pipeline.transformer),
        corrector,
    )


def _keys_of(module: torch.nn.Module) -> Keys:
    tied = "encoder.embed_tokens.weight"  # T5 stores it once
    state = {name: tensor for name, tensor in module.state_dict().items() if name != tied}
    return {name: ("BF16", tuple(tensor.shape)) for name, tensor in state.items()}


SIZES = {"true": true_size, "tiny": tiny_size}


def needed_bytes(architecture: Architecture, kind: str) -> int:
    """What the files take on the disk, the transformer in `kind`."""
    lists = [*architecture.parts.values(), architecture.corrector]
    lists.append(as_type(architecture.transformer, kind))
    return sum(header(tensors)[1] for tensors in lists)


def write_folder(folder: Path, architecture: Architecture, write: Writer | None = None) -> Path:
    """A diffusers folder whose transformer has a configuration and no weights."""
    for name, configuration in architecture.configurations.items():
        save = getattr(configuration, "save_config", None) or configuration.save_pretrained
        save(folder / name)
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    t5_tokenizer().save_pretrained(folder / "tokenizer_2")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.36.0", **CLASSES}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for name, tensors in architecture.parts.items():
        stem = "diffusion_pytorch_model" if name == "vae" else "model"
        (write or write_random)(folder / name / f"{stem}.safetensors", tensors)
    return folder


def write_random(file: Path, tensors: Keys) -> Path:
    """A safetensors file of random values: about 0, the scales of norms about 1."""
    if file.is_file() and file.stat().st_size == header(tensors)[1]:
        return file  # of an earlier rehearsal
    sys.stderr.write(f"writing {file.name}, {header(tensors)[1] / 1e9:.1f} GB\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    beginning, _ = header(tensors)
    with file.open("wb") as stream:
        stream.write(beginning)
        for name, (kind, shape) in tensors.items():
            of_norm = len(shape) == 1 and not name.endswith("bias")
            pool = _random_bytes(kind, float(of_norm))
            left = BYTES[kind] * torch.Size(shape).numel()
            while left:
                left -= stream.write(pool[: min(left, len(pool))])
    return file


@cache
def _random_bytes(kind: str, mean: float) -> bytes:
    dice = torch.Generator().manual_seed(0)
    values = mean + DEVIATION * torch.randn(POOL, generator=dice)
    return bytes(values.to(TORCH[kind]).view(torch.uint8).numpy().data)
