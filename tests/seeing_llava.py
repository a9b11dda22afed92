"""A LLaVA of random eyes that knows the colours of plain pictures, with a tokenizer of its own.

Its words are fitted, not trained: the last layer is the least-squares map from what the random
model thinks at every place of the dialogues that it shall know to the token that comes next there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AddedToken,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from reflectionflow_core.vlm.probe import COLOURS, ONE, SEVERAL, plain_picture
from reflectionflow_core.vlm.server_probe import TEXT_ONLY
from train.qwen.tiny import tokenizer_of

WORDS = "red blue green yellow yes no user assistant system"
HIDDEN, CONTEXT, CERTAINTY = 192, 4096, 12.0  # numbers, tokens, a logit
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}"
    "<image>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Dialogue:
    """A question about pictures, and the answer that shall be known."""

    text: str
    pictures: tuple[Image.Image, ...]
    answer: str
    system: str = ""

    def messages(self) -> list[dict[str, Any]]:
        parts = [{"type": "image"} for _ in self.pictures]
        asked = {"role": "user", "content": [*parts, {"type": "text", "text": self.text}]}
        return [*([{"role": "system", "content": self.system}] if self.system else []), asked]


def plain_colours(texts: Sequence[str] = (), system: str = "") -> list[Dialogue]:
    """What the check of a judge asks; and closed questions, whose answer is yes if red."""
    of_one = [Dialogue(ONE, (plain_picture(colour),), colour) for colour in COLOURS]
    closed = [
        Dialogue(text, (plain_picture(colour),), answer, system)
        for text in texts
        for colour, answer in (("red", "yes"), ("blue", "no"))
    ]
    names = list(COLOURS)
    several = [
        Dialogue(SEVERAL, tuple(map(plain_picture, names[:n])), ", ".join(names[:n]))
        for n in (2, 4)
    ]
    return [*of_one, *several, Dialogue(TEXT_ONLY.text, (), "yes"), *closed]


def save_seeing_llava(folder: Path, dialogues: Sequence[Dialogue]) -> Path:
    """The model and its processor in `folder`, as the hub lays them out."""
    torch.manual_seed(0)
    processor = _processor()
    model = LlavaForConditionalGeneration(_config(processor.tokenizer)).eval()
    _make_loud(model)
    _fit(model, processor, dialogues)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_text_llama(folder: Path) -> Path:
    """A model that reads texts alone; whoever sends it pictures talks to the blind."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    model = LlamaForCausalLM(LlamaConfig(**_words(tokenizer)))
    _make_loud(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _fit(model: Any, processor: Any, dialogues: Sequence[Dialogue]) -> None:
    thoughts, targets = [], []
    for dialogue in dialogues:
        text = processor.apply_chat_template(dialogue.messages(), add_generation_prompt=True)
        answer = processor.tokenizer(dialogue.answer, add_special_tokens=False).input_ids
        said = [*answer, processor.tokenizer.eos_token_id]
        pictures = list(dialogue.pictures) or None
        batch = processor(images=pictures, text=text + dialogue.answer, return_tensors="pt")
        with torch.no_grad():
            last = model.model(**batch).last_hidden_state[0]
        thoughts.append(last[-len(said) :].double())
        targets += said
    wanted = torch.nn.functional.one_hot(torch.tensor(targets), len(processor.tokenizer)).double()
    fitted = torch.linalg.lstsq(torch.cat(thoughts), wanted * CERTAINTY, driver="gelsd")
    with torch.no_grad():
        model.lm_head.weight.copy_(fitted.solution.T)


def _make_loud(model: Any) -> None:
    """Stock initialisation hardly tells one token from another."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    text = model.config.get_text_config()
    model.generation_config.eos_token_id = text.eos_token_id
    model.generation_config.pad_token_id = text.pad_token_id
    model.eval()


def _tokenizer() -> Any:
    tokenizer: Any = tokenizer_of([*WORDS.split(), WORDS])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _processor() -> Any:
    tokenizer = _tokenizer()
    tokenizer.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    side = {"height": 32, "width": 32}
    return LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def _config(tokenizer: Any) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    words = LlamaConfig(**_words(tokenizer))
    return LlavaConfig(vision_config=vision, text_config=words, image_token_index=image_token)


def _words(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
