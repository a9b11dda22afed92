"""Small random models of every family, with stand-ins for text encoder and VAE.

What the stand-ins give has the family's shapes: states and pooled text of its widths, latents of
its channels, with frames where it has any.
"""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import comfy.model_management as mm
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher as Patcher
from torch.nn.functional import interpolate

FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 20,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6],
    "txt_ids_dims": [],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
FLUX2 = FLUX | {
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "vec_in_dim": None,
    "axes_dim": [4, 4, 4, 4],
    "txt_ids_dims": [3],
    "theta": 2000,
    "patch_size": 1,
    "qkv_bias": False,
    "mlp_ratio": 3.0,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
QWEN = {
    "image_model": "qwen_image",
    "num_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 32,
    "cap_feat_dim": 24,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "qk_norm": True,
    "n_heads": 2,
    "n_kv_heads": 2,
    "axes_dims": [4, 6, 6],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
}
Z_IMAGE = LUMINA | {
    "dim": 256,  # its modulation takes 256 numbers at least
    "n_heads": 16,
    "n_kv_heads": 16,
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
KREA2 = {
    "image_model": "krea2",
    "features": 32,
    "channels": 16,
    "patch": 2,
    "layers": 1,
    "heads": 2,
    "kvheads": 1,
    "txtlayers": 3,
    "txtdim": 8,
    "txtheads": 2,
    "txtkvheads": 2,
    "tdim": 16,
}
SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 1,
    "input_size": None,
    "adm_in_channels": 20,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 24, "out_features": 64},
    },
    "num_patches": 36864,
    "pos_embed_max_size": 192,
    "pos_embed_scaling_factor": None,
}
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 24,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "num_head_channels": 16,
    "num_heads": -1,
    "legacy": False,
    "use_temporal_attention": False,
}
SDXL = UNET | {"num_classes": "sequential", "adm_in_channels": 2816}
SD15 = UNET | {"use_linear_in_transformer": False, "adm_in_channels": None}
CHROMA = {key: value for key, value in FLUX.items() if key != "guidance_embed"} | {
    "image_model": "chroma",
    "vec_in_dim": None,
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 32,
    "hidden_dim": 32,
    "n_layers": 1,
}
ANIMA = {
    "image_model": "anima",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 32,
    "num_blocks": 1,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True,
    "use_adaln_lora": True,
    "adaln_lora_dim": 8,
}
ERNIE = {
    "image_model": "ernie",
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_layers": 1,
    "ffn_hidden_size": 64,
    "text_in_dim": 24,
    "rope_axes_dim": (4, 6, 6),
}
if hasattr(comfy.supported_models, "Anima"):  # its adapter has one size, of 130 million numbers
    from comfy.ldm.anima import model as anima

    widths = {"source_dim": 24, "target_dim": 24, "model_dim": 16}
    anima.LLMAdapter = partial(anima.LLMAdapter, **widths, num_layers=1, num_heads=2)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "FLUX.1-dev": ("Flux", FLUX),
    "FLUX.1-schnell": ("FluxSchnell", FLUX | {"guidance_embed": False}),
    "FLUX.2-dev": ("Flux2", FLUX2),
    "FLUX.2 klein": ("Flux2", FLUX2 | {"guidance_embed": False}),
    "Qwen-Image": ("QwenImage", QWEN),
    "Lumina-Image 2": ("Lumina2", LUMINA),
    "Z-Image": ("ZImage", Z_IMAGE),
    "Krea 2": ("Krea2", KREA2),
    "Stable Diffusion 3": ("SD3", SD3),
    "Stable Diffusion XL": ("SDXL", SDXL),
    "Stable Diffusion 1.5": ("SD15", SD15),
    "Chroma": ("Chroma", CHROMA),
    "Anima": ("Anima", ANIMA),
    "ERNIE-Image": ("ErnieImage", ERNIE),
}


def known(kind: str) -> bool:
    """Whether this ComfyUI has the family."""
    return hasattr(comfy.supported_models, KINDS[kind][0])


def small(kind: str, **changes: Any) -> Patcher:
    name, words = KINDS[kind]
    config = getattr(comfy.supported_models, name)({**words, **changes})
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, device="cpu")
    torch.manual_seed(6)
    with torch.no_grad():
        named = dict(base.diffusion_model.named_buffers())
        # SD3's positions are a buffer that only a file fills: until then it is any memory, or NaN.
        positions = [named["pos_embed"]] if "pos_embed" in named else []
        for weight in (*base.diffusion_model.parameters(), *positions):
            weight.copy_(torch.randn_like(weight) * 0.2)
    return Patcher(base, mm.get_torch_device(), mm.unet_offload_device())


class Weights(torch.nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        dice = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(8, generator=dice), requires_grad=False)


def patcher(seed: int = 0) -> Patcher:
    return Patcher(Weights(seed), mm.get_torch_device(), mm.unet_offload_device())


class Vae:
    """Latents that differ from picture to picture, in the shape that the model wants."""

    def __init__(self, model: Patcher, seed: int = 0) -> None:
        space = model.get_model_object("latent_format")
        self.latent_channels = space.latent_channels
        self.latent_dim = space.latent_dimensions
        self.side = 16 if self.latent_channels == 128 else 8
        self.patcher = patcher(seed)

    def spacial_compression_decode(self) -> int:
        return self.side

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = interpolate(pixels.movedim(-1, 1), scale_factor=1 / self.side, mode="area")
        latent = small.repeat(1, -(-self.latent_channels // 3), 1, 1)[:, : self.latent_channels]
        latent = latent * 2 - 1
        return latent[:, :, None] if self.latent_dim == 3 else latent

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        flat = latent.reshape(len(latent), self.latent_channels, *latent.shape[-2:])
        pixels = interpolate(flat[:, :3].sigmoid(), scale_factor=self.side).movedim(1, -1)
        return pixels[:, None] if self.latent_dim == 3 else pixels


class CoarseVae(Vae):
    """Some nodes enlarge a picture to a million pixels; its latent is no larger than of these."""

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        large = pixels.shape[1] > 512
        return super().encode(pixels[:, ::16, ::16] if large else pixels)


class Clip:
    """States whose length and numbers depend on the text; for Anima, T5's tokens with them."""

    def __init__(
        self, width: int = 24, pooled: int | None = 20, seed: int = 0, t5: bool = False
    ) -> None:
        self.width, self.pooled, self.patcher, self.t5 = width, pooled, patcher(seed), t5
        self.reads = 0

    def tokenize(self, text: str, **given: Any) -> Any:
        return text, sorted(given)

    def encode_from_tokens_scheduled(self, tokens: Any) -> Any:
        self.reads += 1
        digest = hashlib.sha256(repr(tokens).encode()).digest()
        dice = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        states = torch.randn(1, 4 + len(tokens[0]) % 5, self.width, generator=dice)
        values = {}
        if self.pooled is not None:
            values["pooled_output"] = torch.randn(1, self.pooled, generator=dice)
        if self.t5:
            ids = torch.randint(0, 32_128, (states.shape[1],), generator=dice, dtype=torch.int)
            values |= {"t5xxl_ids": ids, "t5xxl_weights": torch.ones(states.shape[1])}
        return [[states, values]]
