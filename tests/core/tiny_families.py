"""Random models of every family that shares pictures, with inputs made by hand: their processors
ask for packages that are not installed everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers as hf
from torch import Tensor

PICTURE, VIDEO, OPENS, CLOSES = 100, 101, 6, 7  # tokens
WINDOW = 8  # tokens that a layer with a sliding window sees, fewer than a question has
Made = tuple[Any, dict[str, Tensor], int]  # a model, a picture, the number of its tokens

PATCHES = {"image_grid_thw": torch.tensor([[1, 4, 6]])}
MARKS: dict[str, Any] = {
    "image_token_id": PICTURE,
    "video_token_id": VIDEO,
    "vision_start_token_id": OPENS,
    "vision_end_token_id": CLOSES,
}
EYES: dict[str, Any] = dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 2)
EYES.update(hidden_size=16, intermediate_size=24)
QWEN_EYES: dict[str, Any] = {"depth": 2, "hidden_size": 16, "num_heads": 2, "out_hidden_size": 32}
QWEN_EYES.update(intermediate_size=24)


def words(turns: bool = False, **more: Any) -> dict[str, Any]:
    """A text model's configuration; `turns` for positions in three dimensions."""
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}}
    return {
        "vocab_size": 200,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **(rope if turns else {}),
        **more,
    }


def patches(side: int) -> dict[str, Tensor]:
    return {"pixel_values": torch.randn(24, 3 * 2 * side * side), **PATCHES}


def qwen2() -> Made:
    eyes = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config = hf.Qwen2VLConfig(text_config=words(True), vision_config=eyes, **MARKS)
    return hf.Qwen2VLForConditionalGeneration(config), patches(14), 6


def qwen2_5() -> Made:
    eyes = {**QWEN_EYES, "window_size": 56, "fullatt_block_indexes": [1]}
    config = hf.Qwen2_5_VLConfig(text_config=words(True), vision_config=eyes, **MARKS)
    return hf.Qwen2_5_VLForConditionalGeneration(config), patches(14), 6


def qwen3() -> Made:
    eyes = {**QWEN_EYES, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    text = words(True, head_dim=16)
    config = hf.Qwen3VLConfig(text_config=text, vision_config=eyes, **MARKS)
    return hf.Qwen3VLForConditionalGeneration(config), patches(16), 6


def qwen3_moe() -> Made:
    eyes = {**QWEN_EYES, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    text = words(True, head_dim=16, **experts)
    config = hf.Qwen3VLMoeConfig(text_config=text, vision_config=eyes, **MARKS)
    return hf.Qwen3VLMoeForConditionalGeneration(config), patches(16), 6


def glm4v() -> Made:
    text = words(True)
    text["rope_parameters"]["partial_rotary_factor"] = 1.0
    marks: dict[str, Any] = {
        "image_token_id": PICTURE,
        "video_token_id": VIDEO,
        "image_start_token_id": OPENS,
        "image_end_token_id": CLOSES,
        "video_start_token_id": 102,
        "video_end_token_id": 103,
    }
    eyes = {**QWEN_EYES, "patch_size": 14, "image_size": 56}
    config = hf.Glm4vConfig(text_config=text, vision_config=eyes, **marks)
    return hf.Glm4vForConditionalGeneration(config), patches(14), 6


def llava() -> Made:
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**EYES, image_size=32, patch_size=16),
        text_config=hf.LlamaConfig(**words()),
        image_token_index=PICTURE,
    )
    picture = {"pixel_values": torch.randn(1, 3, 32, 32)}
    return hf.LlavaForConditionalGeneration(config), picture, 4


def llava_onevision() -> Made:
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**EYES, image_size=28, patch_size=14),
        text_config=hf.Qwen2Config(**words()),
        image_token_index=PICTURE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[28, 28], [28, 56]],
    )
    sizes = {"image_sizes": torch.tensor([[28, 28]])}
    picture = {"pixel_values": torch.randn(1, 2, 3, 28, 28), **sizes}
    return hf.LlavaOnevisionForConditionalGeneration(config), picture, 10


def idefics3() -> Made:
    config = hf.Idefics3Config(
        vision_config={**EYES, "image_size": 32, "patch_size": 8},
        text_config=hf.LlamaConfig(**words()),
        image_token_id=PICTURE,
        scale_factor=2,
    )
    picture = {"pixel_values": torch.randn(1, 1, 3, 32, 32)}
    return hf.Idefics3ForConditionalGeneration(config), picture, 4


def smolvlm() -> Made:
    config = hf.SmolVLMConfig(
        vision_config={**EYES, "image_size": 32, "patch_size": 8},
        text_config=hf.LlamaConfig(**words()),
        image_token_id=PICTURE,
        scale_factor=2,
    )
    picture = {"pixel_values": torch.randn(1, 1, 3, 32, 32)}
    return hf.SmolVLMForConditionalGeneration(config), picture, 4


def internvl() -> Made:
    config = hf.InternVLConfig(
        vision_config={**EYES, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=hf.Qwen2Config(**words()),
        image_token_id=PICTURE,
        image_seq_length=4,
    )
    picture = {"pixel_values": torch.randn(1, 3, 32, 32)}
    return hf.InternVLForConditionalGeneration(config), picture, 4


def gemma3() -> Made:
    text = words(head_dim=16, sliding_window=WINDOW, query_pre_attn_scalar=16)
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**EYES, image_size=32, patch_size=8),
        text_config=hf.Gemma3TextConfig(**text),
        image_token_index=PICTURE,
        mm_tokens_per_image=4,
        boi_token_index=OPENS,
        eoi_token_index=CLOSES,
    )
    picture = {"pixel_values": torch.randn(1, 3, 32, 32)}
    return hf.Gemma3ForConditionalGeneration(config), picture, 4


def mistral3() -> Made:
    config = hf.Mistral3Config(
        vision_config=hf.PixtralVisionConfig(**EYES, image_size=56, patch_size=14),
        text_config=hf.MistralConfig(**words(head_dim=16, sliding_window=WINDOW)),
        image_token_index=PICTURE,
        spatial_merge_size=2,
    )
    sizes = {"image_sizes": torch.tensor([[56, 56]])}
    picture = {"pixel_values": torch.randn(1, 3, 56, 56), **sizes}
    return hf.Mistral3ForConditionalGeneration(config), picture, 4


TOYS: dict[str, Callable[[], Made]] = {
    "gemma3": gemma3,
    "glm4v": glm4v,
    "idefics3": idefics3,
    "internvl": internvl,
    "llava": llava,
    "llava_onevision": llava_onevision,
    "mistral3": mistral3,
    "qwen2_5_vl": qwen2_5,
    "qwen2_vl": qwen2,
    "qwen3_vl": qwen3,
    "qwen3_vl_moe": qwen3_moe,
    "smolvlm": smolvlm,
}


def toy(family: str) -> Made:
    """A model whose words differ clearly, its picture and the number of its tokens."""
    torch.manual_seed(0)
    model, picture, length = TOYS[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval(), picture, length


def inputs(family: str, picture: dict[str, Tensor], tokens: Sequence[int]) -> dict[str, Any]:
    """One question as a processor would give it."""
    ids = torch.tensor([list(tokens)])
    kinds = (ids == PICTURE).long()
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **picture}
    if family == "gemma3":
        batch["token_type_ids"] = kinds
    if family.startswith(("qwen", "glm")):
        batch["mm_token_type_ids"] = kinds
    return batch
