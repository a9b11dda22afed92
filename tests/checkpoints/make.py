"""Makes the lists of this folder from the models' published configurations, on the meta device.

    PYTHONPATH=PATH/TO/COMFYUI python tests/checkpoints/make.py --cpu

needs ComfyUI 0.33 with its own Python, diffusers, transformers and peft; no network and no weights.
Layouts of the authors are those of ComfyUI's classes, whose loaders take them; diffusers' layouts
those of diffusers; vision-language models bear the names under which the hub has them.
"""

# ruff: noqa: T201
# pyright: reportMissingImports=false
from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
TYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float16: "F16"}
Tensors = dict[str, torch.Tensor]

FLUX: dict[str, Any] = {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": True}
FLUX_VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
T5_XXL: dict[str, Any] = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
}
CLIP_L: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
# The authors' FLUX.1-dev and Kontext; their FLUX.2-dev.
FLUX_1: dict[str, Any] = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
    "guidance_embed": True,
}
FLUX_2: dict[str, Any] = FLUX_1 | {
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    "context_in_dim": 15360,
    "hidden_size": 6144,
    "mlp_ratio": 3.0,
    "num_heads": 48,
    "depth": 8,
    "depth_single_blocks": 48,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "qkv_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "txt_ids_dims": [3],
}
Z_IMAGE: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 3840,
    "cap_feat_dim": 2560,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "qk_norm": True,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
QWEN25_VL_3B: dict[str, Any] = {
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "vision_config": {"depth": 32, "hidden_size": 1280, "out_hidden_size": 2048},
    "tie_word_embeddings": True,
}
QWEN3_VL_4B: dict[str, Any] = {
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "vision_config": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "out_hidden_size": 2560,
        "num_heads": 16,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    "tie_word_embeddings": True,
}
# What the published corrector's LoRA lies on, as its training configuration names it.
CORRECTOR_TARGETS = (
    r"x_embedder|transformer_blocks\.\d+\.(norm1\.linear|attn\.to_[qkv]|attn\.to_out\.0|ff\.net\.2)"
    r"|single_transformer_blocks\.\d+\.(norm\.linear|proj_mlp|proj_out|attn\.to_[qkv])"
)


def flux_diffusers() -> Tensors:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    return FluxTransformer2DModel(**FLUX).state_dict()


def corrector() -> Tensors:
    """As FluxPipeline.save_lora_weights writes it: rank 32, no alpha."""
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from peft import LoraConfig, get_peft_model_state_dict

    transformer = FluxTransformer2DModel(**FLUX)
    transformer.add_adapter(LoraConfig(r=32, lora_alpha=32, target_modules=CORRECTOR_TARGETS))
    state = get_peft_model_state_dict(transformer)
    return {f"transformer.{name}": tensor for name, tensor in state.items()}


def vae_diffusers() -> Tensors:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(**FLUX_VAE).state_dict()


def t5_xxl() -> Tensors:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **T5_XXL)
    tied = "encoder.embed_tokens.weight"  # stored once, as shared.weight
    return {n: t for n, t in T5EncoderModel(config).state_dict().items() if n != tied}


def clip_l() -> Tensors:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(vocab_size=49408, num_attention_heads=12, projection_dim=768, **CLIP_L)
    state = CLIPTextModel(config).state_dict()
    # transformers 5 has left out the level of names that all files have.
    return {f"text_model.{n.removeprefix('text_model.')}": t for n, t in state.items()}


def comfyui(module: str, name: str, **config: Any) -> Tensors:
    import comfy.options

    comfy.options.enable_args_parsing()  # reads --cpu
    import comfy.ops

    made = getattr(importlib.import_module(f"comfy.ldm.{module}"), name)
    operations = comfy.ops.disable_weight_init
    return made(**config, dtype=torch.bfloat16, device="meta", operations=operations).state_dict()


def authors_flux(config: dict[str, Any]) -> Tensors:
    state = comfyui("flux.model", "Flux", image_model="flux", **config)
    # Newer ComfyUI renames the norms of heads when it loads them.
    return {re.sub(r"(query|key)_norm\.weight$", r"\1_norm.scale", n): t for n, t in state.items()}


def authors_vae() -> Tensors:
    import comfy.options

    comfy.options.enable_args_parsing()
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    channels = {"z_channels": 16, "in_channels": 3, "out_ch": 3, "ch": 128}
    config = channels | {
        "double_z": True,
        "resolution": 256,
        "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    parts = "comfy.ldm.modules.diffusionmodules.model"
    return AutoencodingEngine(
        regularizer_config={
            "target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer",
        },
        encoder_config={"target": f"{parts}.Encoder", "params": config},
        decoder_config={"target": f"{parts}.Decoder", "params": config},
    ).state_dict()


def qwen25_vl() -> Tensors:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**QWEN25_VL_3B))
    return {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied
    }


def qwen3_vl() -> Tensors:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**QWEN3_VL_4B))
    return {n: t for n, t in model.state_dict().items() if n != "lm_head.weight"}


QWEN_IMAGE = ("qwen_image.model", "QwenImageTransformer2DModel")
LISTS: dict[str, tuple[str, Callable[[], Tensors]]] = {
    "flux1_dev_diffusers": ("BF16", flux_diffusers),
    "flux1_dev": ("BF16", lambda: authors_flux(FLUX_1)),  # Kontext's too
    "flux1_corrector": ("BF16", corrector),
    "flux1_vae_diffusers": ("BF16", vae_diffusers),
    "flux1_vae": ("F32", authors_vae),
    "t5_xxl": ("BF16", t5_xxl),
    "clip_l": ("BF16", clip_l),
    "flux2_dev": ("BF16", lambda: authors_flux(FLUX_2)),
    "qwen_image": ("BF16", lambda: comfyui(*QWEN_IMAGE)),
    "z_image": ("BF16", lambda: comfyui("lumina.model", "NextDiT", **Z_IMAGE)),
    "krea2": ("BF16", lambda: comfyui("krea2.model", "SingleStreamDiT")),
    "qwen25_vl_3b": ("BF16", qwen25_vl),
    "qwen3_vl_4b": ("BF16", qwen3_vl),
}


def package() -> Any:
    """Ours, by its file: ComfyUI has a package of tests too."""
    spec = importlib.util.spec_from_file_location("checkpoints", HERE / "__init__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(chosen: Iterable[str]) -> None:
    lists = package()
    for name in list(chosen) or LISTS:
        kind, make = LISTS[name]
        with torch.device("meta"):
            tensors = make()
        keys = {key: (kind, tuple(tensor.shape)) for key, tensor in tensors.items()}
        patterns = lists.collapsed(keys)
        lines = [f"{json.dumps(pattern)}: {json.dumps(key)}" for pattern, key in patterns.items()]
        (HERE / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        assert lists.keys(name) == keys
        print(f"{name}: {len(keys)} tensors in {len(patterns)} lines")


if __name__ == "__main__":
    main(name for name in sys.argv[1:] if not name.startswith("-"))
