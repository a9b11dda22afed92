"""Questions about one picture share one pass of ComfyUI's text generation, where it has any."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import found_by

LEAST = 100  # how much more the questions differ than the two ways to ask one


def found(name: str) -> Any:
    """What packed_questions.py finds, in ComfyUI's own Python and without a server."""
    found = found_by("packed_questions.py", "--json")
    if name not in found:
        pytest.skip("this ComfyUI generates no text" + (" with Qwen3-VL" if found else ""))
    return found[name]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3vl", "gemma3"])
def test_one_pass_gives_the_probabilities_of_every_question_by_itself(family: str) -> None:
    apart = found(family)
    assert apart["packed"] < 1e-5
    assert apart["questions"] > LEAST * apart["packed"]


def test_choosing_asks_once_a_picture_and_counts_every_question() -> None:
    chosen = found("choose")
    for together, alone in zip(chosen["together"], chosen["alone"], strict=True):
        assert together == pytest.approx(alone, abs=1e-5)
    assert chosen["passes"] == [1, 1]  # for three questions each, and nothing is written
    assert chosen["calls"] == 6
    assert not chosen["left over"]
    assert chosen["limited"] == [False] * 3 + [True] * 3  # with a budget of four calls
    assert chosen["limited calls"] <= 4


@pytest.mark.parametrize("what", ["two pictures", "no picture", "window", "hybrid"])
def test_what_cannot_be_packed_is_asked_as_before(what: str) -> None:
    assert found(what)
