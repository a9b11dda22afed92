"""A random FLUX of a few hundred thousand weights, built from configurations without a network."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.lora import PUBLISHED, CorrectorLora, Mode

WORDS = ("a", "red", "green", "blue", "circle", "square", "left", "right", "of", "the", "make")
LETTERS = "abcdefghijklmnopqrstuvwxyz[]:,"


def tiny_transformer(
    guidance: bool = True, double: int = 2, single: int = 2, text: int = 24, pooled: int = 20
) -> FluxTransformer2DModel:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text,
        pooled_projection_dim=pooled,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    # Stock initialisation leaves biases and norms so small that mistakes in them would not show.
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return transformer.eval().requires_grad_(False)


def loud_lora(
    transformer: FluxTransformer2DModel,
    rank: int = 4,
    alpha: float | None = None,
    mode: Mode = PUBLISHED,
) -> CorrectorLora:
    """A LoRA whose numbers are large enough to be missed when one of them is lost."""
    torch.manual_seed(1)
    lora = CorrectorLora.create(transformer, rank, alpha, mode)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return lora.requires_grad_(False)


def grid_ids(rows: int, columns: int, shift: int = 0) -> torch.Tensor:
    ids = [(0.0, float(y), float(x + shift)) for y in range(rows) for x in range(columns)]
    return torch.tensor(ids)


def random_inputs(
    batch: int = 1,
    image: tuple[int, int] = (4, 4),
    condition: tuple[int, int] | None = (2, 2),
    words: int = 6,
    guidance: float = 3.5,
) -> FluxInputs:
    """Inputs for `tiny_transformer`; sizes are (rows, columns) of tokens."""
    dice = torch.Generator().manual_seed(2)
    picture = (
        torch.randn(batch, condition[0] * condition[1], 64, generator=dice) if condition else None
    )
    return FluxInputs(
        latents=torch.randn(batch, image[0] * image[1], 64, generator=dice),
        text=torch.randn(batch, words, 24, generator=dice),
        pooled=torch.randn(batch, 20, generator=dice),
        timestep=torch.rand(batch, generator=dice),
        guidance=torch.full((batch,), guidance),
        image_ids=grid_ids(*image),
        condition=picture,
        condition_ids=grid_ids(*condition, shift=-condition[1]) if condition else None,
    )


def tiny_pipeline(guidance: bool = True) -> FluxPipeline:
    """Stock FluxPipeline with VAE, CLIP, T5 and tokenizers of the same miniature size."""
    transformer = tiny_transformer(guidance)
    torch.manual_seed(3)
    clip_words, t5_words = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=small_vae().eval(),
        text_encoder=small_clip(clip_words).eval(),
        tokenizer=clip_words,
        text_encoder_2=small_t5(t5_words).eval(),
        tokenizer_2=t5_words,
        transformer=transformer,
    )


def small_vae() -> AutoencoderKL:
    config: dict[str, Any] = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [4, 4, 8, 8],
        "norm_num_groups": 2,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "mid_block_add_attention": False,
        "scaling_factor": 0.36,
        "shift_factor": 0.11,
    }
    return AutoencoderKL(**config)


def small_clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=20,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def small_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def clip_tokenizer() -> CLIPTokenizer:
    """Every letter alone and at a word's end; no merges, so a word is as many tokens as letters."""
    pieces = [
        "<|startoftext|>",
        "<|endoftext|>",
        *LETTERS,
        *(f"{letter}</w>" for letter in LETTERS),
    ]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    special = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    whole = [(f"▁{word}", -2.0) for word in ("", "[Reflexion]", *WORDS)]
    return T5Tokenizer(vocab=[*special, *whole, *((c, -10.0) for c in LETTERS)], extra_ids=0)
