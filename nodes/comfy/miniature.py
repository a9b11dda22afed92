"""The built-in miniature as ComfyUI's own MODEL, CLIP and VAE, for graphs without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.model_patcher import ModelPatcher
from comfy.sd1_clip import SDTokenizer
from comfy.text_encoders.flux import FluxClipModel
from torch import Tensor, nn
from transformers import AutoTokenizer

from ...reflectionflow_core.flux.load import load_flux
from ...reflectionflow_core.flux.model import Flux
from ...reflectionflow_core.flux.preview import previewer
from .sampling import PREVIEWER


def comfy_miniature(folder: Path) -> tuple[ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP and VAE with the weights of the pipeline in `folder`."""
    flux = load_flux(folder, dtype="fp32", device="cpu")
    return _model(flux), _clip(flux, folder), _vae(flux)


def comfy_state(transformer: Any) -> dict[str, Tensor]:
    """The weights of diffusers' FLUX by the names and in the shapes of ComfyUI's."""
    pieces: dict[str, dict[int, Tensor]] = {}
    targets = comfy.utils.flux_to_diffusers(comfy_config(transformer))
    for name, value in transformer.state_dict().items():
        target = targets[name]
        key, span, *change = (target, None) if isinstance(target, str) else target
        start = span[1] if span else 0
        pieces.setdefault(key, {})[start] = change[0](value) if change else value
    return {key: torch.cat([of[k] for k in sorted(of)]) for key, of in pieces.items()}


def comfy_config(transformer: Any) -> dict[str, Any]:
    """ComfyUI's configuration of a diffusers FluxTransformer2DModel."""
    given = transformer.config
    return {
        "image_model": "flux",
        "in_channels": given["in_channels"] // 4,
        "out_channels": given["in_channels"] // 4,
        "vec_in_dim": given["pooled_projection_dim"],
        "context_in_dim": given["joint_attention_dim"],
        "hidden_size": given["attention_head_dim"] * given["num_attention_heads"],
        "mlp_ratio": 4.0,
        "num_heads": given["num_attention_heads"],
        "depth": given["num_layers"],
        "depth_single_blocks": given["num_single_layers"],
        "axes_dim": list(given["axes_dims_rope"]),
        "txt_ids_dims": [],
        "theta": 10000,
        "patch_size": 2,
        "qkv_bias": True,
        "guidance_embed": given["guidance_embeds"],
    }


def _model(flux: Flux) -> ModelPatcher:
    known = comfy.supported_models.Flux(comfy_config(flux.transformer))
    known.sampling_settings = {"shift": flux.scheduler.config["max_shift"]}
    known.set_inference_dtype(torch.float32, None)
    base = known.get_model({}, device="cpu")
    base.diffusion_model.load_state_dict(comfy_state(flux.transformer))
    base.latent_format.scale_factor = flux.vae.config["scaling_factor"]
    base.latent_format.shift_factor = flux.vae.config["shift_factor"]
    model = ModelPatcher(base, mm.get_torch_device(), mm.unet_offload_device())
    setattr(base, PREVIEWER, previewer(flux))  # colours fitted to FLUX's latents show it wrong
    # Its schedule differs from FLUX.1-dev's, as if set with ModelSamplingFlux.
    model.add_object_patch("model_sampling", base.model_sampling)
    return model


class _Tokenizer:
    """The miniature's two tokenizers, as CLIP Text Encode asks for them."""

    def __init__(self, folder: Path, flux: Flux) -> None:
        self.clip_l = SDTokenizer(
            str(folder / "tokenizer"),
            max_length=flux.clip_tokenizer.model_max_length,
            embedding_size=flux.clip.config.hidden_size,
            tokenizer_class=AutoTokenizer,
        )
        self.t5xxl = SDTokenizer(
            str(folder / "tokenizer_2"),
            max_length=flux.t5_tokenizer.model_max_length,
            pad_with_end=False,
            embedding_size=flux.t5.config.d_model,
            embedding_key="t5xxl",
            tokenizer_class=AutoTokenizer,
            has_start_token=False,
        )
        for reader in (self.clip_l, self.t5xxl):
            reader.tokenizer.model_max_length = 10**6  # no warning; the text is cut below

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, disable_weights: bool = False, **_: Any
    ) -> dict[str, list]:
        kwargs = {"return_word_ids": return_word_ids, "disable_weights": disable_weights}
        both = (("l", self.clip_l), ("t5xxl", self.t5xxl))
        # Only the first chunk: ComfyUI would encode the others as further texts.
        return {key: t.tokenize_with_weights(text, **kwargs)[:1] for key, t in both}

    def state_dict(self) -> dict[str, Tensor]:
        return {}


class _Target:
    """What ComfyUI's CLIP is made of."""

    def __init__(self, folder: Path, flux: Flux) -> None:
        self.params: dict[str, Any] = {}
        self.clip = FluxClipModel
        self.tokenizer = lambda **_: _Tokenizer(folder, flux)


def _clip(flux: Flux, folder: Path) -> comfy.sd.CLIP:
    options = {
        "dtype": torch.float32,
        "clip_l_model_config": flux.clip.config.to_dict(),
        "t5xxl_model_config": {**flux.t5.config.to_dict(), "dense_act_fn": "gelu_pytorch_tanh"},
    }
    clip = comfy.sd.CLIP(_Target(folder, flux), model_options=options)
    reader = clip.cond_stage_model.clip_l
    ends = flux.clip.config.eos_token_id
    reader.special_tokens = {"start": flux.clip.config.bos_token_id, "end": ends, "pad": ends}
    _load(reader.transformer, flux.clip)
    _load(clip.cond_stage_model.t5xxl.transformer, flux.t5)
    return clip


def _load(into: nn.Module, source: nn.Module) -> None:
    """Its weights by name; ComfyUI's CLIP has FLUX's whole vocabulary, of which some is used."""
    given = source.state_dict()
    # Zeros, since ComfyUI leaves what the memory held in weights that no file gives.
    state = {name: torch.zeros_like(value) for name, value in into.state_dict().items()}
    for name, value in given.items():
        key = name if name in state else f"text_model.{name}"
        if key in state:
            state[key][tuple(map(slice, value.shape))] = value
    into.load_state_dict(state)


class _Autoencoder(nn.Module):
    """diffusers' VAE for ComfyUI's, whose own architecture has no room for one so small."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def encode(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels).latent_dist.mode()

    def decode(self, latents: Tensor, **_: Any) -> Tensor:
        return self.vae.decode(latents).sample


def _vae(flux: Flux) -> comfy.sd.VAE:
    # Its network is built only to be replaced: ComfyUI has no other way to a VAE without a file.
    network = {"ch": 32, "ch_mult": [1], "num_res_blocks": 1, "attn_resolutions": []}
    sides = {"resolution": 64, "in_channels": 3, "out_ch": 3, "z_channels": 16, "double_z": True}
    params = {"ddconfig": {**network, **sides}, "embed_dim": 16}
    state = AutoencoderKL(**params).state_dict()
    vae = comfy.sd.VAE(sd=state, config={"params": params}, dtype=torch.float32)
    vae.first_stage_model = _Autoencoder(flux.vae).eval()
    vae.latent_channels = 16
    vae.patcher = ModelPatcher(vae.first_stage_model, vae.device, mm.vae_offload_device())
    return vae
