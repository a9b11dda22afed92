"""ComfyUI's text encoders as judges, small and random, each of ComfyUI's own classes.

    python judging_clips.py COMFYUI PACK --json

prints for each family that this ComfyUI knows whether it encodes as before after it judged, how
many models judging loads, what a question looks like to it, and how far its words' probabilities
lie from those at the places where ComfyUI encodes.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from native_setup import mm  # isort: skip
import comfy.sd
import comfyui_version
import torch
from comfy.sd1_clip import SDClipModel
from pack.nodes.comfy import text
from pack.nodes.comfy.chat import NO_THOUGHT, tokens_of, writers
from pack.nodes.comfy.qwen import complete
from pack.nodes.comfy.text import ComfyVlm, logits_of
from pack.nodes.shared.acting import actor_handle
from pack.nodes.shared.sockets import VlmHandle
from pack.reflectionflow_core.record import InputError
from pack.reflectionflow_core.registry import VERIFIERS
from pack.reflectionflow_core.vlm.interface import Question
from packed_questions import QWEN_WORDS, WINDOW, clip_of, smaller
from PIL import Image
from safetensors.torch import save_file
from small_tokenizers import gemma3_pieces, gemma4_json, piece_count, whole_qwen35
from text_generation import EYES, SMALL

text.CHOICE_TOKENS = text.THINKING_TOKENS = 8  # a random model says nothing worth waiting for
PROMPT = "a red circle left of a blue square"
SYSTEM = "You judge pictures."
WIDE = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
RED = Image.new("RGB", (96, 64), "red")
QWEN3VL_EYES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "depth": 2,
    "deepstack_visual_indexes": [0],
    "num_heads": 2,
}


def te(name: str) -> Any:
    return import_module(f"comfy.text_encoders.{name}")


def small_qwen3vl(lm_head: bool) -> None:
    """Makes both sizes of Qwen3-VL small; models that encode from some layers get those."""
    qwen3vl = te("qwen3vl")
    words = {"vocab_size": QWEN_WORDS, "rope_dims": [8, 4, 4], "lm_head": lm_head}
    for size in ("qwen3vl_4b", "qwen3vl_8b"):
        config = te("llama").Qwen3VL_4BConfig
        qwen3vl.QWEN3VL_CONFIGS[size] = smaller(config, **words)
        qwen3vl.QWEN3VL_VISION[size] = QWEN3VL_EYES
    qwen3vl.QWEN3VL_VISION_COMMON.pop("num_heads", None)


def qwen3vl_family(module: str, model: str, tokenizer: str, lm_head: bool) -> Any:
    small_qwen3vl(lm_head)
    family = te(module)
    for taps in ("KREA2_TAP_LAYERS", "IDEOGRAM4_TAP_LAYERS"):
        if hasattr(family, taps):
            setattr(family, taps, [1, 3])
    return clip_of(getattr(family, model)(), getattr(family, tokenizer), 4.0)


def qwen3vl(size: str, lm_head: bool) -> Any:
    small_qwen3vl(lm_head)
    family = te("qwen3vl")
    return clip_of(family.te(model_type=size), family.tokenizer(model_type=size), 4.0)


def qwen35() -> Any:
    family = te("qwen35")
    whole_qwen35(family)
    family.QWEN35_MODELS["small"] = {**SMALL, "vision": EYES}
    return clip_of(family.te(model_type="small"), family.tokenizer(model_type="small"))


def qwen25(head: bool = True) -> Any:
    """Qwen-Image's encoder, with the output layer in the file that it was loaded from."""
    llama, family = te("llama"), te("qwen_image")
    llama.Qwen25_7BVLI_Config = smaller(
        llama.Qwen25_7BVLI_Config, vocab_size=QWEN_WORDS, rope_dims=[4, 6, 6]
    )
    eyes = llama.qwen_vl.Qwen2VLVisionTransformer

    def small_eyes(**given: Any) -> Any:
        sizes = {"hidden_size": 64, "intermediate_size": 64, "num_layers": 2, "num_heads": 2}
        return eyes(**{**given, **sizes})

    llama.qwen_vl.Qwen2VLVisionTransformer = small_eyes
    clip = clip_of(family.te(), family.QwenImageTokenizer, 4.0)
    llama.qwen_vl.Qwen2VLVisionTransformer = eyes
    file = Path(tempfile.mkdtemp()) / "qwen25.SFT"
    words = {"lm_head.weight": torch.randn(QWEN_WORDS, 64)} if head else {"x": torch.zeros(1)}
    save_file(words, str(file))
    clip.patcher.cached_patcher_init = (None, ([str(file)], None))
    return clip


def gemma3() -> Any:
    llama, family, pieces = te("llama"), te("lumina2"), gemma3_pieces()
    eyes = {**llama.GEMMA3_VISION_CONFIG, "hidden_size": 64, "image_size": 56}
    eyes |= {"intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = smaller(
        llama.Gemma3_4B_Vision_Config,
        vision_config=eyes,
        mm_tokens_per_image=4,
        vocab_size=piece_count(pieces),
        sliding_attention=[16 * WINDOW, False],
    )
    llama.Gemma3_4B_Vision_Config = config
    stage, data = family.te(model_type="gemma3_4b_vision"), {"spiece_model": pieces}
    return clip_of(stage, family.NTokenizer, 0.3, data)


def gemma4() -> Any:
    family = te("gemma4")
    config = smaller_gemma4(family)
    variant = family._make_variant(config)
    words = {"tokenizer_json": gemma4_json()}
    return clip_of(family.gemma4_te(model_class=variant), variant.tokenizer, 0.3, words)


def smaller_gemma4(family: Any) -> Any:
    class Small(family.Gemma4_31B_Config):
        pass

    eyes = {**family.Gemma4_31B_Config.vision_config}
    eyes |= {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    eyes |= {"num_attention_heads": 2, "head_dim": 32}
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_global_key_value_heads": 1,
        "head_dim": 32,
        "global_head_dim": 32,
        "vision_config": eyes,
    }
    for name, value in sizes.items():
        setattr(Small, name, value)
    Small.__init__ = lambda *_, **__: None
    Small.audio_config = None
    return Small


FAMILIES: Mapping[str, Callable[[], Any]] = {
    "qwen3vl 4b": lambda: qwen3vl("qwen3vl_4b", False),
    "qwen3vl 8b": lambda: qwen3vl("qwen3vl_8b", True),
    "krea2": lambda: qwen3vl_family("krea2", "te", "Krea2Tokenizer", False),
    "ideogram4": lambda: qwen3vl_family(
        "ideogram4", "te_qwen3vl", "Ideogram4Qwen3VLTokenizer", True
    ),
    "boogu": lambda: qwen3vl_family("boogu", "te", "BooguTokenizer", True),
    "mage": lambda: qwen3vl_family("mage_flow", "te", "MageFlowTokenizer", False),
    "joyimage": lambda: qwen3vl_family("joyimage", "te", "JoyImageTokenizer", True),
    "qwen2.5vl": qwen25,
    "qwen3.5": qwen35,
    "gemma3": gemma3,
    "gemma4": gemma4,
}


def encoded(clip: Any) -> Any:
    """What a prompt becomes; None where ComfyUI only lets it write, as the Gemmas of 0.24."""
    if type(encoder_of(clip)).process_tokens is not SDClipModel.process_tokens:
        return None
    (rows,) = clip.tokenize(PROMPT).values()  # under another name than Gemma 3 looks for
    made = clip.encode_from_tokens({clip.cond_stage_model.clip_name: rows}, return_dict=True)
    return made["cond"].clone()


def encoder_of(clip: Any) -> Any:
    (writer,) = writers(clip)
    modules = clip.cond_stage_model.modules()
    return next(m for m in modules if getattr(m, "transformer", None) is writer)


def hidden_state(clip: Any, question: Question) -> torch.Tensor:
    """What the model makes of a question at the places where ComfyUI encodes: (1, 1, width)."""
    (row,) = next(iter(tokens_of(clip, question).values()))
    encoder, ids = encoder_of(clip), [[entry[0] for entry in row]]
    embeds, _, _, info = SDClipModel.process_tokens(encoder, ids, "cpu")
    return encoder.transformer(None, embeds=embeds, embeds_info=info)[0][:, -1:]


def head_of(vlm: ComfyVlm) -> torch.Tensor:
    """The weight of the output layer, of which some models have none of their own."""
    (writer,) = writers(vlm.clip)
    if vlm.layer is not None:
        return vlm.layer.model.module.weight
    return getattr(writer.model, "lm_head", writer.model.embed_tokens).weight


def say_yes_or_no(vlm: ComfyVlm, question: Question) -> None:
    """Makes both words the likeliest answers to a question."""
    hidden = hidden_state(vlm.clip, question).flatten()
    tokenizer = vlm.clip.tokenizer
    vocabulary = getattr(tokenizer, tokenizer.clip).tokenizer.get_vocab()
    for word, logit in (("yes", 120.0), ("no", 119.5)):
        head_of(vlm)[vocabulary[word]] = hidden * (logit / hidden.square().sum())


def judged(clip: Any) -> dict[str, Any]:
    """What one CLIP does that encodes, judges and encodes again."""
    vlm = ComfyVlm(clip)
    questions = [Question(f"Is it {w}?", (WIDE,), SYSTEM) for w in ("red", "a small blue square")]
    say_yes_or_no(vlm, questions[0])
    before = encoded(clip)
    mm.unload_all_models()
    odds = vlm.choose(questions, ("yes", "no"))
    loaded = [type(m.model.model).__name__ for m in mm.current_loaded_models]
    said = vlm.chat([Question("What is wrong?", (WIDE, RED), SYSTEM, max_tokens=3)])
    with logits_of(clip) as seen:
        vlm._generated(questions[0], 1, do_sample=False)
    after = encoded(clip)
    with complete(clip, vlm.layer):
        exact = writers(clip)[0].logits(hidden_state(clip, questions[0]))[0, -1].double()
    return {
        "equal": after is None or torch.equal(before, after),
        "odds": odds,
        "said": said,
        "seen": apart(clip, WIDE, RED),
        "loaded": loaded,
        "apart": float((seen[0].softmax(-1) - exact.softmax(-1)).abs().max()),
        "chat": shown(clip, questions[0]),
        "packed": vlm.writer is not None,
    }


def apart(clip: Any, *pictures: Image.Image) -> float:
    """How far two pictures move what the model makes of a question."""
    one, other = (hidden_state(clip, Question("Is it red?", (each,))) for each in pictures)
    return float((one - other).abs().max())


def at_the_margin(clip: Any) -> float:
    """The same for two wide pictures that differ at their left edge alone."""
    red = RED.resize((96, 32))
    other = red.copy()
    other.paste("blue", (0, 0, 16, 32))
    return apart(clip, red, other)


def shown(clip: Any, question: Question) -> str:
    """The text that the CLIP reads, with its picture in brackets."""
    (row,) = next(iter(tokens_of(clip, question).values()))
    tokenizer = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer
    parts, ids = [], []
    for entry, *_ in [*row, ({},)]:
        if isinstance(entry, int):
            ids.append(entry)
            continue
        parts.append(tokenizer.decode(ids, skip_special_tokens=False))
        ids = []
    return "[picture]".join(parts)


def refusals() -> dict[str, str]:
    """What is said of CLIPs that cannot judge."""
    from comfy import sd1_clip

    llama, z_image = te("llama"), te("z_image")
    llama.Qwen3_4BConfig = smaller(llama.Qwen3_4BConfig, vocab_size=QWEN_WORDS)
    texts = clip_of(z_image.te(), z_image.ZImageTokenizer, 4.0)
    encoder = clip_of(sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer)
    tries = {
        "encoder": lambda: ComfyVlm(encoder),
        "texts": lambda: ComfyVlm(texts).chat([Question("What is it?", (RED,))]),
        "judge": lambda: actor_handle(
            VERIFIERS, VlmHandle(ComfyVlm(texts), "CLIP", ""), {"verifier": "yes-no"}
        ),
        "headless": lambda: ComfyVlm(qwen25(head=False)),
    }
    found = {}
    for name, attempt in tries.items():
        try:
            found[name] = str(attempt())
        except InputError as error:
            found[name] = str(error)
    found["writes"] = ComfyVlm(texts).chat([Question("Write.", system=SYSTEM, max_tokens=3)])[0]
    found["text chat"] = shown(texts, Question("Write.", system=SYSTEM))
    return found


def findings() -> dict[str, Any]:
    found: dict[str, Any] = {"thought": NO_THOUGHT, "families": {}}
    for name, build in FAMILIES.items():
        try:
            clip = build()
        except (ImportError, AttributeError) as error:  # a family that this ComfyUI does not know
            found["families"][name] = {"missing": str(error)}
            continue
        found["families"][name] = judged(clip)
        if name == "gemma3":
            found["margin"] = at_the_margin(clip)
    return {**found, "refused": refusals(), "version": comfyui_version.__version__}


if __name__ == "__main__":
    able = hasattr(comfy.sd.CLIP, "generate")
    with torch.inference_mode():
        sys.stdout.write(json.dumps(findings() if able else {}, default=str) + "\n")
