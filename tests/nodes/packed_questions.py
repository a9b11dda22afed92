"""Questions about one picture in one pass, on small random models of ComfyUI's own classes.

    python packed_questions.py COMFYUI PACK --json

prints for each family that this ComfyUI knows how far the probabilities of the first token lie from
those of every question asked by itself; {} where it generates no text.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import native_setup  # isort: skip  # noqa: F401
import comfy.sd
import torch
from pack.nodes.comfy.chat import tokens_of
from pack.nodes.comfy.packed import first_logits, packed, writer_of
from pack.nodes.comfy.text import ComfyVlm, logits_of
from pack.reflectionflow_core.allowance import calls_allowed
from pack.reflectionflow_core.vlm.interface import Failure, Question
from pack.reflectionflow_core.vlm.likelihoods import from_top_tokens
from PIL import Image

WORDS: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
QWEN_WORDS = 151_936  # as many as the tokenizer has
IMAGE = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
OTHER = Image.new("RGB", (96, 64), "red")
TEXTS = ("Is it red?", "Is there a blue circle on the left of the square?", "What is it?", "No?")
WINDOW = 64  # tokens


def smaller(config: Any, **sizes: Any) -> Callable[..., Any]:
    def build(**given: Any) -> Any:
        made = config(**given)
        for name, value in {**WORDS, **sizes}.items():
            setattr(made, name, value)
        return made

    return build


def clip_of(
    stage: Any, tokenizer: Any, words: float = 1.0, data: Mapping[str, Any] | None = None
) -> Any:
    """A CLIP with noise for weights; `words` is how clearly it tells one token from another, `data`
    what its tokenizer is made of."""
    target = SimpleNamespace(clip=stage, tokenizer=tokenizer, params={})
    torch.manual_seed(0)
    clip = comfy.sd.CLIP(target, parameters=1, tokenizer_data=dict(data or {}))
    with torch.no_grad():
        for name, weight in clip.cond_stage_model.named_parameters():
            scale = words if "embed_tokens" in name else 0.2
            weight.copy_(torch.randn(weight.shape) * scale)
        for name, value in clip.cond_stage_model.named_buffers():
            if name.endswith("layer_scalar"):  # Gemma 4's, which a file would fill
                value.fill_(1.0)
    return clip


def qwen3() -> Any:
    from comfy.text_encoders import qwen3vl

    words = {"vocab_size": QWEN_WORDS, "rope_dims": [8, 4, 4]}
    config = smaller(qwen3vl.Qwen3VL_4BConfig, **words)
    qwen3vl.QWEN3VL_CONFIGS["small"] = config
    qwen3vl.QWEN3VL_VISION["small"] = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "depth": 2,
        "deepstack_visual_indexes": [0],
        "num_heads": 2,
    }
    qwen3vl.QWEN3VL_VISION_COMMON.pop("num_heads", None)
    return clip_of(qwen3vl.te(model_type="small"), qwen3vl.tokenizer(model_type="small"), 4.0)


def gemma3() -> Any:
    """Without a tokenizer, which ComfyUI reads from the weights."""
    from comfy.text_encoders import llama, lumina2

    eyes = {**llama.GEMMA3_VISION_CONFIG, "hidden_size": 64, "image_size": 56}
    eyes |= {"intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = smaller(
        llama.Gemma3_4B_Vision_Config,
        vision_config=eyes,
        mm_tokens_per_image=4,
        sliding_attention=[WINDOW, False],
    )
    llama.Gemma3_4B_Vision_Config = config
    return clip_of(lumina2.te(model_type="gemma3_4b_vision"), lambda **_: None, 0.3)


def gemma_tokens(rests: list[list[int]]) -> list[Any]:
    pixels = torch.rand(1, 56, 56, 3, generator=torch.Generator().manual_seed(1))
    picture = {"type": "image", "data": pixels}
    rows = [[2, 5, 6, picture, 7, 8, *rest] for rest in rests]
    return [{"gemma3_4b_vision": [[(entry, 1.0) for entry in row]]} for row in rows]


def apart(clip: Any, texts: list[Any]) -> list[torch.Tensor]:
    """The first logits of every text by itself."""
    found = []
    for tokens in texts:
        with logits_of(clip) as seen:
            clip.generate(tokens, max_length=1, do_sample=False)
        found.append(seen[0])
    return found


def compared(clip: Any, texts: list[Any]) -> dict[str, float]:
    """The largest difference of probabilities, and how much the questions themselves differ."""
    pack = packed(texts)
    assert pack is not None
    together = first_logits(clip, writer_of(clip), pack)
    assert together is not None
    alone = [row.softmax(-1) for row in apart(clip, texts)]
    shared = [row.softmax(-1) for row in together]
    pairs = zip(shared, alone, strict=True)
    return {
        "packed": max(float((a - b).abs().max()) for a, b in pairs),
        "questions": min(float((alone[0] - other).abs().max()) for other in alone[1:]),
    }


def asked(clip: Any, *pictures: Image.Image) -> list[Any]:
    return [tokens_of(clip, Question(t, (p,), "A system.")) for p in pictures for t in TEXTS]


def likeliest(vlm: ComfyVlm, question: Question) -> list[tuple[str, float]]:
    """What the model may begin its answer with, behind white space, asked by itself."""
    with logits_of(vlm.clip) as seen:
        ids = vlm._generated(question, 4, do_sample=False)
    begins = next((i for i, token in enumerate(ids) if vlm._said([token])), 0)
    return vlm._likeliest(seen[begins])


def choosing(clip: Any) -> dict[str, Any]:
    """What `choose` says with packs and without, and how often the model is asked."""
    questions = [Question(text, (p,)) for p in (IMAGE, OTHER) for text in TEXTS[:3]]
    vlm = ComfyVlm(clip)
    vlm.least_mass = 0  # a random model spreads its probability over all words
    alone = [likeliest(ComfyVlm(clip), question) for question in questions]
    words = [[word for word, _ in row if word.isalpha()] for row in alone]
    choices = tuple(dict.fromkeys(w for row in words for w in row[:2]))
    choices = tuple(c for c in choices if sum(c.casefold() == d.casefold() for d in choices) == 1)
    passes: list[int] = []
    generate = clip.generate

    def counted(tokens: Any, **how: Any) -> Any:
        passes.append(how["max_length"])
        return generate(tokens, **how)

    clip.generate = counted
    try:
        together = vlm.choose(questions, choices)
    finally:
        del clip.generate
    calls = vlm.usage.calls
    with calls_allowed(4, 4):
        limited = vlm.choose(questions, choices)
    return {
        "limited": [isinstance(answer, Failure) for answer in limited],
        "limited calls": vlm.usage.calls - calls,
        "together": together,
        "alone": [from_top_tokens(row, choices, 0) for row in alone],
        "passes": passes,
        "calls": calls,
        "left over": "forward" in vars(vlm.writer.model),
    }


def of_qwen3vl() -> dict[str, Any]:
    clip = qwen3()
    return {
        "qwen3vl": compared(clip, asked(clip, IMAGE)),
        "choose": choosing(clip),
        "two pictures": packed(asked(clip, IMAGE, OTHER)) is None,
    }


def findings() -> dict[str, Any]:
    found = of_qwen3vl() if find_spec("comfy.text_encoders.qwen3vl") else {}
    texts = [{"": [[(1, 1.0), (2, 1.0)]]}, {"": [[(1, 1.0), (3, 1.0)]]}]
    found["no picture"] = packed(texts) is None
    clip = gemma3()
    few, many = [[9, 10, 11], [12], [13, 14]], [[9 + i] * 20 for i in range(4)]
    found["gemma3"] = compared(clip, gemma_tokens(few))
    pack = packed(gemma_tokens(many))
    assert pack is not None
    found["window"] = first_logits(clip, writer_of(clip), pack) is None
    found["hybrid"] = writer_of(hybrid()) is None
    return found


def hybrid() -> Any:
    """A Qwen3.5, whose layers with a running state read all that stands before them."""
    from comfy.text_encoders import qwen35
    from text_generation import EYES, SMALL

    qwen35.QWEN35_MODELS["small"] = {**SMALL, "vision": EYES}
    return clip_of(qwen35.te(model_type="small"), lambda **_: None)


if __name__ == "__main__":
    able = hasattr(comfy.sd.CLIP, "generate")
    sys.stdout.write(json.dumps(findings() if able else {}, default=str) + "\n")
