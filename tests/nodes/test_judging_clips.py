"""ComfyUI's own text encoders as judges, where this ComfyUI knows them."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import found_by

QWENS = ("qwen3vl 4b", "qwen3vl 8b", "krea2", "ideogram4", "boogu", "mage", "joyimage", "qwen3.5")
FAMILIES = (*QWENS, "qwen2.5vl", "gemma3", "gemma4")
ASKED = (
    "<|im_start|>system\nYou judge pictures.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>[picture]<|vision_end|>Is it red?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def found() -> dict[str, Any]:
    """What judging_clips.py finds, in ComfyUI's own Python and without a server."""
    found = found_by("judging_clips.py", "--json")
    if not found:
        pytest.skip("this ComfyUI generates no text")
    return found


def family(name: str) -> dict[str, Any]:
    known = found()["families"][name]
    if "missing" in known:
        pytest.skip(f"ComfyUI {found()['version']} does not know it: {known['missing']}")
    return known


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_clip_encodes_the_same_bits_after_it_judged_and_is_loaded_once(name: str) -> None:
    known = family(name)
    assert known["equal"]
    own_layer = name == "qwen2.5vl"  # ComfyUI has not loaded it
    assert len(known["loaded"]) == 1 + own_layer


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_chances_come_from_the_logits_and_from_the_picture(name: str) -> None:
    known = family(name)
    if known["packed"]:  # others write their answer, and this small model never ends one
        assert [sum(row) for row in known["odds"]] == pytest.approx([1, 1])
    assert known["seen"] > 1e-3
    assert isinstance(known["said"][0], str)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_words_stand_where_comfyui_encodes_them(name: str) -> None:
    known = family(name)
    assert known["apart"] < 1e-3  # of a probability; JoyImage's 6e-4 is the most


@pytest.mark.slow
@pytest.mark.parametrize("name", (*QWENS, "qwen2.5vl"))
def test_a_question_is_a_chat_whatever_the_encoder_was_trained_on(name: str) -> None:
    thought = "" if name == "qwen2.5vl" else found()["thought"]
    assert family(name)["chat"] == ASKED + thought


@pytest.mark.slow
def test_gemma_3_sees_a_wide_picture_whole() -> None:
    family("gemma3")
    assert found()["margin"] > 1e-3


@pytest.mark.slow
def test_what_cannot_judge_says_so_in_a_sentence() -> None:
    refused = found()["refused"]
    assert refused["encoder"].startswith("This CLIP encodes texts and cannot write. Load")
    assert refused["texts"].startswith("This CLIP reads texts and sees no pictures. Load")
    assert refused["judge"] == refused["texts"]
    assert refused["headless"].startswith("This Qwen2.5-VL has lost its output layer")
    assert isinstance(refused["writes"], str)
    assert refused["text chat"].startswith("<|im_start|>system\nYou judge pictures.<|im_end|>\n")
