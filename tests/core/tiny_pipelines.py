"""Random text-to-image and editing pipelines of diffusers, some ten thousand weights each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
import transformers as hf
from core.tiny_flux import clip_tokenizer, small_clip, small_vae, t5_tokenizer, tiny_pipeline

from reflectionflow_core.vlm.folder import without_videos
from train.qwen.tiny import Sizes, config_of, tokenizer_of

df: Any = import_module("diffusers")  # whose classes are made when they are asked for
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
HIDDEN = 32
AXES: dict[str, Any] = {"attention_head_dim": 16, "num_attention_heads": 2}


def make(name: str) -> Any:
    """The tiny pipeline of a name in TINY, with loud weights: the same ones every time."""
    torch.manual_seed(0)
    pipeline = TINY[name]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    for key in ("transformer", "unet"):
        for parameter in getattr(pipeline, key, torch.nn.Module()).parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return pipeline


@cache
def words() -> Any:
    tokenizer = tokenizer_of(["a red circle and blue square user assistant system"])
    tokenizer.chat_template = CHAT
    tokenizer.padding_side = "right"
    return tokenizer


def texts(layers: int) -> dict[str, Any]:
    return {
        "vocab_size": len(words()),
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }


def flow(**changes: Any) -> Any:
    return df.FlowMatchEulerDiscreteScheduler(**changes)


def z_image() -> Any:
    transformer = df.ZImageTransformer2DModel(
        in_channels=16,
        dim=HIDDEN,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=HIDDEN,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    return df.ZImagePipeline(
        flow(shift=3.0),
        small_vae(),
        hf.Qwen3Model(hf.Qwen3Config(**texts(3))),
        words(),
        transformer,
    )


def klein(distilled: bool = True) -> Any:
    return df.Flux2KleinPipeline(
        flow(use_dynamic_shifting=True),
        _flux2_vae(),
        hf.Qwen3ForCausalLM(hf.Qwen3Config(**texts(27))),  # reads layers 9, 18 and 27
        words(),
        _flux2(3 * HIDDEN, guidance=False),
        is_distilled=distilled,
    )


def _flux2_vae() -> Any:
    return df.AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), latent_channels=8, norm_num_groups=2, layers_per_block=1
    )


def _flux2(text: int, guidance: bool) -> Any:
    return df.Flux2Transformer2DModel(
        in_channels=32,
        num_layers=1,
        num_single_layers=1,
        joint_attention_dim=text,
        axes_dims_rope=(4, 4, 4, 4),
        timestep_guidance_channels=16,
        guidance_embeds=guidance,
        **AXES,
    )


def flux2() -> Any:
    text = hf.MistralConfig(**texts(30))  # layers 10, 20 and 30 are read
    eyes = hf.PixtralVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
    )
    config = hf.Mistral3Config(text_config=text, vision_config=eyes, image_token_index=4)
    return df.Flux2Pipeline(
        flow(use_dynamic_shifting=True),
        _flux2_vae(),
        hf.Mistral3ForConditionalGeneration(config),
        words(),
        _flux2(3 * HIDDEN, guidance=True),
    )


def _qwen_parts() -> dict[str, Any]:
    sizes = Sizes(hidden=HIDDEN, heads=2, key_heads=1, eye_hidden=16, eye_heads=2, patch=14)
    return {
        "scheduler": flow(use_dynamic_shifting=True),
        "vae": df.AutoencoderKLQwenImage(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 1, 2],
            num_res_blocks=1,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        "text_encoder": hf.Qwen2_5_VLForConditionalGeneration(config_of(words(), sizes)),
        "tokenizer": words(),
        "transformer": df.QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            joint_attention_dim=HIDDEN,
            axes_dims_rope=(4, 6, 6),
            **AXES,
        ),
    }


def qwen_image() -> Any:
    return df.QwenImagePipeline(**_qwen_parts())


def sd3() -> Any:
    return df.StableDiffusion3Pipeline(
        transformer=df.SD3Transformer2DModel(
            sample_size=8,
            num_layers=2,
            joint_attention_dim=40,
            caption_projection_dim=32,
            pooled_projection_dim=40,
            pos_embed_max_size=32,
            **AXES,
        ),
        scheduler=flow(shift=3.0),
        vae=small_vae(),
        text_encoder=_projecting_clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=_projecting_clip(),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=_t5(),
        tokenizer_3=t5_tokenizer(),
    )


def _t5() -> Any:
    words = len(t5_tokenizer())
    config = hf.T5Config(vocab_size=words, d_model=40, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return hf.T5EncoderModel(config)


def _projecting_clip() -> Any:
    config = small_clip(clip_tokenizer()).config
    config.num_hidden_layers, config.projection_dim = 2, 20
    return hf.CLIPTextModelWithProjection(config)


def _unet(**changes: Any) -> Any:
    return df.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        attention_head_dim=4,
        **changes,
    )


def _old_vae() -> Any:
    return df.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        latent_channels=4,
    )


def sdxl() -> Any:
    return df.StableDiffusionXLPipeline(
        vae=_old_vae(),
        text_encoder=small_clip(clip_tokenizer()),
        text_encoder_2=_projecting_clip(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=_unet(
            cross_attention_dim=40,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=20 + 6 * 8,
            use_linear_projection=True,
            transformer_layers_per_block=1,
        ),
        scheduler=df.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def sd15() -> Any:
    return df.StableDiffusionPipeline(
        vae=_old_vae(),
        text_encoder=small_clip(clip_tokenizer()),
        tokenizer=clip_tokenizer(),
        unet=_unet(cross_attention_dim=20),
        scheduler=df.PNDMScheduler(skip_prk_steps=True, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def kontext() -> Any:
    return df.FluxKontextPipeline(**tiny_pipeline().components)


def qwen_edit(cls: Any = None) -> Any:
    parts = _qwen_parts()
    images = hf.Qwen2VLImageProcessor(patch_size=14, merge_size=2, temporal_patch_size=2)
    processor = without_videos(hf.Qwen2VLProcessor)(images, parts["tokenizer"])
    return (cls or df.QwenImageEditPipeline)(**parts, processor=processor)


def qwen_edit_plus() -> Any:
    return qwen_edit(df.QwenImageEditPlusPipeline)


TINY: dict[str, Callable[[], Any]] = {
    "z_image": z_image,
    "klein": klein,
    "flux2": flux2,
    "qwen_image": qwen_image,
    "sd3": sd3,
    "sdxl": sdxl,
    "sd15": sd15,
    "kontext": kontext,
    "qwen_edit": qwen_edit,
    "qwen_edit_plus": qwen_edit_plus,
}
