"""ComfyUI's own text generation, on a small random Qwen3.5, as our vision-language model.

    python text_generation.py COMFYUI PACK --json

prints what was found as JSON: {} where this ComfyUI has no such generation.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace
from typing import Any

from native_setup import mm  # isort: skip
import comfy.sd
import torch
from pack.nodes.comfy.chat import tokens_of
from pack.nodes.comfy.text import ComfyVlm, logits_of
from pack.reflectionflow_core.record import InputError
from pack.reflectionflow_core.vlm.interface import Question
from PIL import Image
from small_tokenizers import whole_qwen35

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "mrope_section": [2, 1, 1],
}
EYES = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "depth": 1}
RED, BLUE = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))


def small_qwen() -> Any:
    """A CLIP of ComfyUI's own classes, with noise for weights."""
    from comfy.text_encoders import qwen35

    whole_qwen35(qwen35)
    qwen35.QWEN35_MODELS["small"] = {**SMALL, "vision": EYES}
    target = SimpleNamespace(
        clip=qwen35.te(model_type="small"),
        tokenizer=qwen35.tokenizer(model_type="small"),
        params={},
    )
    torch.manual_seed(0)
    clip = comfy.sd.CLIP(target, parameters=1)
    with torch.no_grad():
        for weight in clip.cond_stage_model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.2)
    return clip


def make_yes_and_no_likely(clip: Any, question: Question) -> None:
    """Noise says neither; both now lie near the word that it begins its answer with."""
    first = ComfyVlm(clip)._generated(question, 1, do_sample=False)[0]
    encode = clip.tokenizer.small.tokenizer
    words = clip.cond_stage_model.small.transformer.model.embed_tokens.weight
    with torch.no_grad():
        for word, scale in ((" yes", 2.0), (" no", 1.8)):
            (token,) = encode(word)["input_ids"]
            words[token] = scale * words[first]


def findings() -> dict[str, Any]:
    clip = small_qwen()
    vlm = ComfyVlm(clip)
    vlm.least_mass = 0  # a random model spreads its probability over all words
    asked = [Question("What is it?", (picture,), max_tokens=6) for picture in (RED, BLUE)]
    texts, again = vlm.chat(asked), vlm.chat(asked[::-1])[::-1]
    before = vlm.usage.calls
    make_yes_and_no_likely(clip, asked[0])
    odds = vlm.choose(asked, ("yes", "no"))
    with logits_of(clip) as seen:
        clip.generate(tokens_of(clip, asked[0]), max_length=1, do_sample=False)
    with_pair = vlm.chat([Question("Which?", (RED, BLUE), max_tokens=4)])
    for name in ("sample_token",):
        assert not any(name in vars(m) for m in clip.cond_stage_model.modules())
    return {
        "texts": texts,
        "the same alone, in another order": texts == again,
        "odds": odds,
        "sums": [math.fsum(row) for row in odds],
        "finite logits": bool(torch.isfinite(seen[0]).all()),
        "calls": [before, vlm.usage.calls],
        "pair": with_pair,
        "loaded": any(m.model is clip.patcher for m in mm.current_loaded_models),
        "samples": len(vlm._samples(asked[0], ("yes", "no"), 4)),
        "blind": blind(clip),
    }


def blind(clip: Any) -> str:
    """What is said of a tokenizer that takes no pictures."""
    tokenize = clip.tokenize
    clip.tokenize = lambda text, **_: tokenize(text)
    try:
        ComfyVlm(clip).chat([Question("What is it?", (RED,))])
    except InputError as error:
        return str(error)
    finally:
        del clip.tokenize
    return ""


if __name__ == "__main__":
    able = hasattr(comfy.sd.CLIP, "generate")
    sys.stdout.write(json.dumps(findings() if able else {}) + "\n")
