"""Random vision-language models of some ten thousand weights, saved as the hub lays them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AddedToken,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from train.qwen.tiny import CHAT, save_processor, tokenizer_of, tokens_of

WORDS = "yes Yes no No a red circle user assistant system Is it"
CONTEXT = 512  # tokens


def save_vlm(folder: Path, kind: str = "qwen2_5_vl", favours: str = "") -> Path:
    """A model, "qwen2_5_vl" or "qwen3_vl", with its tokenizer and the settings of its eyes.

    One that `favours` "yes" or "no" means one of them whatever it is asked, that one rather; others
    spread what they mean over all their words.
    """
    torch.manual_seed(0)  # what it says shall not depend on the day
    tokenizer = tiny_tokenizer()
    model = _qwen3(tokenizer) if kind == "qwen3_vl" else _qwen2_5(tokenizer)
    if favours:
        _favour(model, tokenizer, favours)
    model.save_pretrained(folder)
    is_third = kind == "qwen3_vl"
    save_processor(
        folder, tokenizer, 16 if is_third else 14, "Qwen3VL" if is_third else "Qwen2_5_VL"
    )
    return folder


def save_llava(folder: Path) -> Path:
    """A model whose processor needs no help of ours; its eyes cut every picture to 32 x 32."""
    tokenizer: Any = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    words = LlamaConfig(**_words(tokenizer))
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=words, image_token_index=image_token)
    _loud(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
    ).save_pretrained(folder)
    return folder


def picture(colour: str = "red", size: tuple[int, int] = (56, 56)) -> Image.Image:
    """A gradient of one colour; width and height in pixels."""
    plain = Image.new("RGB", size, colour)
    return Image.blend(plain, Image.linear_gradient("L").resize(size).convert("RGB"), 0.5)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer_of([*WORDS.split(), WORDS])


def _words(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _loud(model: Any) -> Any:
    """Stock initialisation hardly tells one token from another."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    model.generation_config.eos_token_id = model.config.get_text_config().eos_token_id
    model.generation_config.pad_token_id = model.config.get_text_config().pad_token_id
    return model.eval()


def _favour(model: Any, tokenizer: Any, favourite: str) -> None:
    """Turns the last layer to what the model thinks at the end of any question."""
    ids = tokenizer(
        "red<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        thought = model.model(input_ids=ids).last_hidden_state[0, -1]
        model.lm_head.weight.zero_()
        for word in ("yes", "no"):
            logit = 14.0 if word == favourite else 12.0
            row = tokenizer.convert_tokens_to_ids(word)
            model.lm_head.weight[row] = thought * logit / thought.square().sum()


def _qwen2_5(tokenizer: Any) -> Any:
    text = _words(tokenizer)
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens_of(tokenizer))
    return _loud(Qwen2_5_VLForConditionalGeneration(config))


def _qwen3(tokenizer: Any) -> Any:
    text = {**_words(tokenizer), "head_dim": 16}
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 16,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **tokens_of(tokenizer))
    return _loud(Qwen3VLForConditionalGeneration(config))
