"""ComfyUI's own text generation as our vision-language model, where this ComfyUI has any."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import found_by


def found() -> dict[str, Any]:
    """What text_generation.py finds, in ComfyUI's own Python and without a server."""
    found = found_by("text_generation.py", "--json")
    if not found:
        pytest.skip("this ComfyUI generates no text")
    return found


def test_answers_are_texts_and_the_same_in_any_order() -> None:
    assert all(found()["texts"])
    assert found()["the same alone, in another order"]
    assert found()["calls"][0] == 4
    assert found()["pair"][0]


def test_probabilities_of_choices_come_from_the_logits_and_depend_on_the_picture() -> None:
    red, blue = found()["odds"]
    assert found()["sums"] == pytest.approx([1, 1])
    assert red != pytest.approx(blue, abs=1e-4)
    assert found()["finite logits"]
    assert found()["samples"] == 8


def test_the_weights_are_comfyuis() -> None:
    assert found()["loaded"]


def test_a_text_encoder_that_sees_nothing_is_refused_in_a_sentence() -> None:
    assert found()["blind"].startswith("The tokenizer of this CLIP takes no pictures. Load")
