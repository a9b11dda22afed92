"""How a question is put to a CLIP that writes: as a chat, with pictures if it sees.

A CLIP's tokenizer wraps a text in the prompt that its diffusion model was trained on, such as
"Describe the image by detailing ...". That does not suit a question, so the chat of Qwen is written
out here; Gemma's tokenizers have no other form and keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import dropwhile
from typing import Any

import torch
from PIL import Image

from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.vlm.interface import Question
from ...reflectionflow_core.vlm.prompts import full_text
from .tensors import to_batch

GAP = 16  # pixels between pictures that are shown side by side
CONTROL = re.compile(r"<(?!/?data>)(?=[|/\w])")  # how control tokens begin; <data> is ours
TURN = "<|im_start|>"  # begins a turn of Qwen's chat
EYES = "<|vision_start|><|image_pad|><|vision_end|>"
PADDING = 0  # Gemma's token that stands for nothing; no text of its or Qwen's begins with 0
NO_THOUGHT = "<think>\n\n</think>\n\n"  # an answer that begins so has no thought
QWEN25 = "Qwen25_7BVLI"  # ComfyUI's class of Qwen2.5-VL, which knows no such mark
SEEING = "such as Qwen3-VL, Qwen3.5, Gemma 3 with vision or Gemma 4"


def writers(clip: Any) -> list[Any]:
    """The parts of a CLIP that generate tokens in ComfyUI's usual way: one, or none."""
    stage = getattr(clip, "cond_stage_model", None)
    return [m for m in stage.modules() if hasattr(m, "sample_token")] if stage else []


def check_writes(clip: Any) -> None:
    """Raises InputError for a CLIP that writes no text."""
    if not all(callable(getattr(clip, verb, None)) for verb in ("generate", "decode")):
        raise InputError(
            "This ComfyUI cannot generate text with a CLIP. Update it to one that has the node "
            "Generate Text, or use Vision-Language Model: local or endpoint."
        )
    if getattr(clip, "cond_stage_model", None) is not None and not _has_generator(clip):
        raise InputError(
            "This CLIP encodes texts and cannot write. Load a vision-language model as text "
            f"encoder, {SEEING}."
        )


def _has_generator(clip: Any) -> bool:
    """Whether a part of the CLIP writes; ComfyUI's wrappers only pass a question on to it."""
    from comfy.sd1_clip import SD1ClipModel, SDClipModel

    parts = [m for m in clip.cond_stage_model.modules() if hasattr(m, "generate")]
    return any(not isinstance(part, (SD1ClipModel, SDClipModel)) for part in parts)


def check_sees(clip: Any) -> None:
    """Raises InputError for a CLIP that has no part which reads pictures."""
    found = writers(clip)
    if found and not any(hasattr(writer, "preprocess_embed") for writer in found):
        raise InputError(
            "This CLIP reads texts and sees no pictures. Load a vision-language model as text "
            f"encoder, {SEEING}."
        )


def tokens_of(clip: Any, question: Question) -> Any:
    """The tokens of a question with pictures; InputError if the CLIP cannot see pictures."""
    text = CONTROL.sub("< ", full_text(question))
    system = CONTROL.sub("< ", question.system)
    how = {"skip_template": False, "min_length": 1, "thinking": False}
    if speaks_qwen(clip):
        if question.images:
            how["images"] = [to_batch([picture]) for picture in question.images]
        thinks = all(type(writer).__name__ != QWEN25 for writer in writers(clip))
        text = qwen_chat(system, EYES * len(question.images) + text) + NO_THOUGHT * thinks
        how["llama_template"] = "{}"  # the text is the whole chat
    else:
        if len(question.images) > 1:
            count = len(question.images)
            text = f"The {count} pictures stand side by side, the first on the left.\n\n{text}"
        if question.images:
            sheet = side_by_side(question.images)
            how["image"] = to_batch([squared(sheet) if cuts_pictures(clip) else sheet])
        text = f"{system}\n\n{text}" if system else text
    if question.images:
        check_sees(clip)
    tokens = without_padding(clip.tokenize(text, **how))
    if question.images and not holds_a_picture(tokens):
        raise InputError(
            "The tokenizer of this CLIP takes no pictures. Load a vision-language model as text "
            f"encoder, {SEEING}."
        )
    return tokens


def speaks_qwen(clip: Any) -> bool:
    tokenizer = getattr(clip, "tokenizer", None)
    return TURN in str(getattr(tokenizer, "llama_template", ""))


def qwen_chat(system: str, text: str) -> str:
    """A chat of Qwen up to where the answer begins."""
    turns = [("system", system)] if system else []
    turns.append(("user", text))
    said = "".join(f"{TURN}{who}\n{words}<|im_end|>\n" for who, words in turns)
    return f"{said}{TURN}assistant\n"


def without_padding(tokens: Any) -> Any:
    """The tokens without their padding in front, which the model would read as text."""
    if isinstance(tokens, dict):
        return {name: without_padding(rows) for name, rows in tokens.items()}
    if not isinstance(tokens, list):  # of another pack's CLIP
        return tokens
    return [list(dropwhile(lambda entry: entry[0] == PADDING, row)) for row in tokens]


def holds_a_picture(tokens: Any) -> bool:
    """Whether the tokens include an image."""
    batches = tokens.values() if isinstance(tokens, dict) else [tokens]
    return any(is_picture(entry) for rows in batches for row in rows for entry in row)


def is_picture(entry: Any) -> bool:
    """Whether an entry is a table, which stands for a picture's embeddings."""
    return isinstance(entry[0], dict)


def same(one: Any, other: Any) -> bool:
    """True for equal tokens, and for pictures with equal pixels."""
    if is_picture(one) and is_picture(other):
        return torch.equal(one[0]["data"], other[0]["data"])
    return not is_picture(one) and not is_picture(other) and one[0] == other[0]


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """The pictures from left to right in one."""
    if len(images) == 1:
        return images[0]
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    sheet = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    return sheet


def cuts_pictures(clip: Any) -> bool:
    """Whether the CLIP sees only the central square of a picture, as Gemma 3 does."""
    return any(hasattr(writer, "image_size") for writer in writers(clip))


def squared(image: Image.Image) -> Image.Image:
    """The whole picture in the middle of a white square."""
    side = max(image.size)
    if image.width == image.height:
        return image
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
