"""Small random models of today with ComfyUI's own text encoders, which say what they are told to.

Encoders whose sizes ComfyUI fixes are made small before they are built. A CLIP encodes and sees as
its family does; what it writes is fixed, since noise writes noise, or a yes or no by chance.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.sd
import torch
from painter_models import CoarseVae, small
from safetensors.torch import save_file

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
EYES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "depth": 2,
    "deepstack_visual_indexes": [0],
    "num_heads": 2,
}


def te(name: str) -> Any:
    return import_module(f"comfy.text_encoders.{name}")


def smaller(config: Any, **sizes: Any) -> Callable[..., Any]:
    def build(**given: Any) -> Any:
        made = config(**given)
        for name, value in {**SIZES, **sizes}.items():
            setattr(made, name, value)
        return made

    return build


def clip_of(stage: Any, tokenizer: Any, says: str) -> Any:
    clip = comfy.sd.CLIP(SimpleNamespace(clip=stage, tokenizer=tokenizer, params={}), parameters=1)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in clip.cond_stage_model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.2)
    if not says:
        return writing_noise(clip)
    clip.generate = lambda _tokens, **_: [list(says.encode())]
    clip.decode = lambda ids, **_: bytes(int(each) % 256 for each in ids).decode("utf-8", "ignore")
    return clip


def writing_noise(clip: Any) -> Any:
    """It generates by itself, one token, yes or no, as its logits have it: rather no, in any
    picture, so that there is something to correct."""
    (writer,) = (m for m in clip.cond_stage_model.modules() if hasattr(m, "logits"))
    vocabulary = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer.get_vocab()
    words = [vocabulary[word] for word in ("yes", "no")]
    kind, write = type(writer), clip.generate

    def logits(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        made = kind.logits(self, *args, **kwargs)
        made[..., words] += 30 + made.max() - made[..., words].min()
        yes, no = (made[..., word] for word in words)
        made[..., words[0]] = no - (yes - no).abs()
        return made

    # On the class, since the pack gives a writer its own `logits` for the time of a question.
    writer.__class__ = type(kind.__name__, (kind,), {"logits": logits})
    clip.generate = lambda tokens, **how: write(tokens, **{**how, "max_length": 1})
    return clip


def qwen3vl(module: str, says: str) -> Any:
    """Qwen3-VL 4B as Krea 2 reads with it, or as ComfyUI loads it by itself."""
    eyes, family = te("qwen3vl"), te(module)
    eyes.QWEN3VL_CONFIGS["qwen3vl_4b"] = smaller(eyes.Qwen3VL_4BConfig, rope_dims=[8, 4, 4])
    eyes.QWEN3VL_VISION["qwen3vl_4b"] = EYES
    eyes.QWEN3VL_VISION_COMMON.pop("num_heads", None)
    if module == "krea2":
        family.KREA2_TAP_LAYERS = [1, 3]
        return clip_of(family.te(), family.Krea2Tokenizer, says)
    sizes = {"model_type": "qwen3vl_4b"}
    return clip_of(family.te(**sizes), family.tokenizer(**sizes), says)


def qwen3(module: str, says: str) -> Any:
    """Qwen3 4B as klein or Z-Image reads with it; klein reads 27 layers deep."""
    llama, family = te("llama"), te(module)
    llama.Qwen3_4BConfig = smaller(llama.Qwen3_4BConfig, num_hidden_layers=28)
    if module == "flux":
        return clip_of(family.klein_te(), family.KleinTokenizer, says)
    return clip_of(family.te(), family.ZImageTokenizer, says)


def qwen25(says: str) -> Any:
    llama, family = te("llama"), te("qwen_image")
    llama.Qwen25_7BVLI_Config = smaller(llama.Qwen25_7BVLI_Config, rope_dims=[4, 6, 6])
    eyes = llama.qwen_vl.Qwen2VLVisionTransformer

    def small_eyes(**given: Any) -> Any:
        sizes = {"hidden_size": 64, "intermediate_size": 64, "num_layers": 2, "num_heads": 2}
        return eyes(**{**given, **sizes})

    llama.qwen_vl.Qwen2VLVisionTransformer = small_eyes
    clip = clip_of(family.te(), family.QwenImageTokenizer, says)
    llama.qwen_vl.Qwen2VLVisionTransformer = eyes
    file = Path(tempfile.mkdtemp()) / "qwen25.safetensors"
    save_file({"lm_head.weight": torch.randn(152_064, 64).bfloat16()}, str(file))
    clip.patcher.cached_patcher_init = (None, ([str(file)], None))
    return clip


# By the file that a template names: the family of its model, or what makes its text encoder.
MODELS = {
    "krea2_turbo_fp8_scaled": ("Krea 2", {"txtlayers": 2, "txtdim": 64}),
    "flux-2-klein-4b": ("FLUX.2 klein", {"context_in_dim": 3 * 64}),
    "qwen_image_2512_fp8_e4m3fn": ("Qwen-Image", {"joint_attention_dim": 64}),
    "qwen_image_edit_2509_fp8_e4m3fn": ("Qwen-Image", {"joint_attention_dim": 64}),
    "z_image_turbo_bf16": ("Z-Image", {"cap_feat_dim": 64}),
}
CLIPS: dict[tuple[str, str], Callable[[str], Any]] = {
    ("qwen3vl_4b_fp8_scaled", "krea2"): lambda says: qwen3vl("krea2", says),
    ("qwen3vl_4b_fp8_scaled", "flux2"): lambda says: qwen3("flux", says),
    ("qwen3vl_4b_fp8_scaled", "stable_diffusion"): lambda says: qwen3vl("qwen3vl", says),
    ("qwen_3_4b", "lumina2"): lambda says: qwen3("z_image", says),
    ("qwen_2.5_vl_7b_fp8_scaled", "qwen_image"): qwen25,
}


def model_and_vae(file: str) -> tuple[Any, Any]:
    kind, sizes = MODELS[file.removesuffix(".safetensors")]
    model = small(kind, **sizes)
    return model, CoarseVae(model)


def clip_for(file: str, kind: str, says: str) -> Any:
    return CLIPS[file.removesuffix(".safetensors"), kind](says)
