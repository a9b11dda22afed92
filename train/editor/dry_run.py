"""A small training: generated triplets, a random FLUX.2 [klein], one step, the LoRA reloaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from transformers import Qwen3Config, Qwen3ForCausalLM

from reflectionflow_core.flux.lora import FILE_NAME
from reflectionflow_core.record import InputError
from train.corrector.dry_run import IN_SMALL, OF_A_RUN, SIDE, write_triplets
from train.editor.klein import prepared
from train.editor.settings import EditorSettings
from train.editor.training import train
from train.journal import DRY_RUN
from train.processes import join
from train.qwen.tiny import miniature_words, tokenizer_of

WIDTH, LAYERS = 16, 28  # layers of the text encoder: the 9th, 18th and 27th are used
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)


def dry_run(settings: EditorSettings) -> str:
    """A report as text; raises what a training would raise."""
    if join(settings.torch_device).num_processes > 1:
        raise InputError("A dry run uses one process. Start it without a launcher.")
    with tempfile.TemporaryDirectory() as folder:
        small = _small(settings, Path(folder))
        lora = train(small, small_klein(settings.seed))
        fresh: Any = small_klein(settings.seed)
        fresh.load_lora_weights(str(small.out), weight_name=FILE_NAME)
        loaded = {n: p for n, p in fresh.transformer.named_parameters() if "lora_" in n}
        trained = {n: p for n, p in lora.transformer.named_parameters() if "lora_" in n}
        names = {name.replace(".default_0.", ".default."): p for name, p in loaded.items()}
        if not all(
            torch.allclose(names[name].float(), p, atol=1e-6) for name, p in trained.items()
        ):
            raise InputError("The saved LoRA differs from the trained one.")
    return (
        f"Dry run passed: one step on a small random model, {len(lora.modules)} modules with a "
        "LoRA, saved and loaded again by diffusers.\n"
    )


def small_klein(seed: int = 0) -> Any:
    """A small FLUX.2 [klein] pipeline with random weights."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(miniature_words())
    tokenizer.chat_template = CHAT
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    encoder: Any = Qwen3ForCausalLM(config)
    parts: Any = (FlowMatchEulerDiscreteScheduler(), vae, encoder, tokenizer, transformer)
    return prepared(Flux2KleinPipeline(*parts))


def _small(settings: EditorSettings, folder: Path) -> EditorSettings:
    changes = {
        "data": str(write_triplets(folder / "shards", 24)),
        "out": folder / DRY_RUN,
        **OF_A_RUN,
        "device": "cpu",
        "dtype": "fp32",
        "target_size": SIDE,
        "condition_size": SIDE,
        "text_length": 64,
        "steps": 1,
        "save_every": 1,
        "batch": min(settings.batch, 2),
        "rank": min(settings.rank, 4),
        "validation": settings.validation.model_copy(
            update={"samples": 2, "every": 1, "pictures": 1, "steps": 2, "mended": IN_SMALL}
        ),
    }
    return settings.model_copy(update=changes)
