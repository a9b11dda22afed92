"""Questions about one picture share its keys and values, and get the answers of every question
read as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny_families import CLOSES, OPENS, PICTURE, TOYS, inputs, toy
from core.tiny_vlm import CONTEXT, picture, save_llava, save_vlm
from PIL import Image

from reflectionflow_core.vlm.interface import Failure, PictureKeeping, Question
from reflectionflow_core.vlm.local import LocalSettings, LocalVlm, load_vlm
from reflectionflow_core.vlm.shared import FAMILIES, continued_logits, read_beginning

RED, BLUE, TWO = picture("red", (84, 56)), picture("blue"), picture("green", (140, 70))
TEXTS = ("Is it red", "Is it a circle yes no", "no", "a red circle yes")
ABOUT_RED = tuple(Question(text, (RED,), "a system") for text in TEXTS)
# Runs about a picture, about two pictures, and questions that stand alone.
MIXED = (
    *ABOUT_RED,
    Question("Is it", (BLUE,)),
    Question("yes no yes"),
    Question("Is it", (RED, TWO)),
    Question("no a", (RED, TWO)),
    Question("no a", (RED,)),
)
CHOICES = ("yes", "no", "red circle", "10")
RESTS = ((11, 12, 13), tuple(range(14, 26)), (9,))


# A random model hardly thinks of yes or no, and its probabilities are what is tested.
WEIGHED = LocalSettings(least_mass=0)


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl", "llava"])
def vlm(request, tmp_path_factory) -> LocalVlm:
    folder: Path = tmp_path_factory.mktemp(request.param)
    save = save_llava if request.param == "llava" else save_vlm
    save(folder, *([] if request.param == "llava" else [request.param]))
    return load_vlm(folder, dtype="fp32", device="cpu", settings=WEIGHED)


def again(vlm: LocalVlm, shares: bool = True, **settings: Any) -> LocalVlm:
    changed = replace(vlm.settings, **settings)
    fresh = LocalVlm(vlm.model, vlm.processor, vlm.placement, changed)
    fresh.shares = shares
    return fresh


@contextmanager
def pictures_read(vlm: LocalVlm) -> Iterator[list[int]]:
    """The number of rows of every forward pass that sees pictures."""
    seen: list[int] = []

    def watch(model: Any, args: Any, inputs: dict[str, Any]) -> None:
        del model, args
        if inputs.get("pixel_values") is not None:
            seen.append(len(inputs["input_ids"]))

    handle = vlm.model.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(TOYS))
def test_every_family_continues_a_picture_as_if_it_read_the_whole_question(family: str) -> None:
    model, picture, length = toy(family)
    head = (5, OPENS, *[PICTURE] * length, CLOSES, 8)
    batch = inputs(family, picture, head + RESTS[0])
    begun = read_beginning(model, batch, (), "", len(head))
    for rests in (RESTS, RESTS[::-1]):  # the cache stays as it is
        logits = continued_logits(model, begun, rests, 0, torch.device("cpu"))
        for rest, found in zip(rests, logits, strict=True):
            whole = model(**inputs(family, picture, head + rest), use_cache=False)
            expected = whole.logits[0, -1].softmax(-1)
            assert found.softmax(-1) == pytest.approx(expected, abs=1e-6)
    moved = continued_logits(model, begun, [(12, 11, 13)], 0, torch.device("cpu"))[0]
    first = model(**batch, use_cache=False).logits[0, -1]
    assert (moved.softmax(-1) - first.softmax(-1)).abs().max() > 1e-4


def test_the_families_are_those_that_are_tested() -> None:
    assert set(TOYS) == FAMILIES


@pytest.mark.parametrize("size", [1, 3, 16])
def test_shared_pictures_change_no_probability(vlm: LocalVlm, size: int) -> None:
    sharing, apart = again(vlm, batch_size=size), again(vlm, shares=False)
    expected = apart.choose(MIXED, CHOICES)
    for found, whole in zip(sharing.choose(MIXED, CHOICES), expected, strict=True):
        assert found == pytest.approx(whole, abs=1e-4)
    exact = zip(sharing.likelihoods(MIXED, CHOICES), apart.likelihoods(MIXED, CHOICES), strict=True)
    for found, whole in exact:
        assert found == pytest.approx(whole, abs=1e-5)
    assert len(set(expected)) > len(MIXED) // 2
    assert sharing.usage == apart.usage


def test_a_picture_goes_through_the_model_once_for_all_its_questions(vlm) -> None:
    sharing, apart = again(vlm, batch_size=3), again(vlm, batch_size=3, shares=False)
    with pictures_read(vlm) as seen:
        sharing.choose(ABOUT_RED, ("yes", "no"))
    assert seen == [1]
    with pictures_read(vlm) as seen:
        apart.choose(ABOUT_RED, ("yes", "no"))
    assert seen == [3, 1]


def test_questions_of_a_later_call_share_the_picture_where_a_caller_asks_for_it(vlm) -> None:
    sharing = again(vlm)
    assert isinstance(sharing, PictureKeeping)
    expected = again(vlm, shares=False).choose(ABOUT_RED, ("yes", "no"))
    with pictures_read(vlm) as seen, sharing.keeping_pictures():
        found = sharing.choose(ABOUT_RED[:2], ("yes", "no"))
        found += sharing.choose(ABOUT_RED[2:3], ("yes", "no"))
        sharing.chat([Question("a", (BLUE,), max_tokens=2)])
        found += sharing.choose(ABOUT_RED[3:], ("yes", "no"))
        assert sharing._begun is not None
    assert seen == [1]
    for mine, whole in zip(found, expected, strict=True):
        assert mine == pytest.approx(whole, abs=1e-5)
    assert sharing._begun is None
    sharing.choose(ABOUT_RED, ("yes", "no"))
    assert sharing._begun is None


def test_another_picture_or_system_text_shares_nothing(vlm: LocalVlm) -> None:
    twins = [
        Question("Is it red", (RED,), "a"),
        Question("Is it red", (RED,), "red"),
        Question("Is it red", (RED.copy(),), "a"),
        Question("Is it red", (BLUE,), "a"),
    ]
    asked = [replace(q, text=t) for q in twins for t in ("Is it red", "no")]
    for found, whole in zip(
        again(vlm).choose(asked, ("yes", "no")),
        again(vlm, shares=False).choose(asked, ("yes", "no")),
        strict=True,
    ):
        assert found == pytest.approx(whole, abs=1e-5)


def test_the_same_question_twice_is_answered_twice(vlm: LocalVlm) -> None:
    first, second = again(vlm).choose([ABOUT_RED[0]] * 2, ("yes", "no"))
    assert first == pytest.approx(second)
    assert first == pytest.approx(again(vlm).choose(ABOUT_RED[:1], ("yes", "no"))[0], abs=1e-5)


def test_a_question_too_long_fails_alone_beside_those_that_share(vlm: LocalVlm) -> None:
    long = replace(ABOUT_RED[0], text="yes " * CONTEXT)
    answers = again(vlm).choose([ABOUT_RED[0], long, ABOUT_RED[2]], ("yes", "no"))
    assert isinstance(answers[1], Failure)
    assert "do not fit into the model's 512" in answers[1].reason
    expected = again(vlm, shares=False).choose(ABOUT_RED[::2], ("yes", "no"))
    for found, whole in zip(answers[::2], expected, strict=True):
        assert found == pytest.approx(whole, abs=1e-5)


def test_a_picture_that_cannot_be_read_fails_in_all_its_questions(tmp_path: Path) -> None:
    vlm = load_vlm(save_vlm(tmp_path), dtype="fp32", device="cpu", settings=WEIGHED)
    thread = Image.new("RGB", (1000, 2))
    answers = vlm.choose([Question("a", (thread,)), Question("no", (thread,))], ("yes", "no"))
    assert all(isinstance(a, Failure) and "aspect ratio" in a.reason for a in answers)


def test_where_memory_runs_out_questions_are_read_whole_one_by_one(vlm, monkeypatch) -> None:
    expected = again(vlm, shares=False).choose(ABOUT_RED, ("yes", "no"))
    forward = vlm.model.forward

    def narrow(*args: Any, **inputs: Any) -> Any:
        if inputs.get("past_key_values") is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **inputs)

    sharing = again(vlm)
    with monkeypatch.context() as patch:
        patch.setattr(vlm.model, "forward", narrow)
        answers = sharing.choose(ABOUT_RED, ("yes", "no"))
    for found, whole in zip(answers, expected, strict=True):
        assert found == pytest.approx(whole, abs=1e-5)


def test_a_family_that_cannot_share_reads_every_question_whole(vlm, monkeypatch) -> None:
    monkeypatch.setattr(vlm.model.config, "model_type", "qwen3_5")
    apart = LocalVlm(
        vlm.model, vlm.processor, vlm.placement, LocalSettings(batch_size=2, least_mass=0)
    )
    assert not apart.shares
    with pictures_read(vlm) as seen:
        apart.choose(ABOUT_RED, ("yes", "no"))
    assert seen == [2, 2]
