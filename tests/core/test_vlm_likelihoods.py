"""Which choice an answer begins with, and how likely each is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow_core.vlm.closed import choice_index
from reflectionflow_core.vlm.likelihoods import from_samples, from_top_tokens

YES_NO = ("Yes", "no")


@pytest.mark.parametrize(
    ("text", "choices", "index"),
    [
        ("yes", YES_NO, 0),
        (" NO", YES_NO, 1),
        ("\u2581Yes", YES_NO, 0),  # as sentencepiece writes a space
        ("\u0120no", YES_NO, 1),  # as byte-pair encodings do
        ('"Yes', YES_NO, 0),
        ("**No**", YES_NO, 1),
        ("No, there is none.", YES_NO, 1),
        ("y", YES_NO, 0),
        ("not", YES_NO, None),
        ("nothing", YES_NO, None),
        ("Well", YES_NO, None),
        ("", YES_NO, None),
        (" ", YES_NO, None),
        ("1", ("1", "10"), 0),
        ("10", ("1", "10"), 1),
        ("1.", ("1", "10"), 0),
        ("re", ("red circle", "red square"), None),
        ("red s", ("red circle", "red square"), 1),
        ("red circle it is", ("red circle", "red square"), 0),
        ("a", ("a", "a cat"), 0),
        ("a cat", ("a", "a cat"), 1),
        ("是的", ("是", "是的"), 1),
        ("STRASSE", ("Straße", "Weg"), 0),
    ],
)
def test_a_text_belongs_to_the_choice_it_begins_with_or_is_the_beginning_of(
    text: str, choices: tuple[str, ...], index: int | None
) -> None:
    assert choice_index(text, choices) == index


def test_what_counts_for_a_choice_is_added_and_the_rest_left_out() -> None:
    tops = [("Yes", -1.0), (" yes", -1.0), ("No", -1.0), ("Perhaps", -0.1)]
    assert from_top_tokens(tops, YES_NO) == pytest.approx((2 / 3, 1 / 3))


def test_no_choice_among_the_tokens_is_none() -> None:
    assert from_top_tokens([("Perhaps", -0.1)], YES_NO) is None
    assert from_top_tokens([("Yes", -9999.0)], YES_NO) is None
    assert from_samples(["Perhaps", ""], YES_NO) is None


def test_samples_never_make_a_choice_impossible() -> None:
    assert from_samples(["yes"] * 8, YES_NO) == (0.9, 0.1)


CHOICES = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5)


@given(CHOICES, st.lists(st.tuples(st.text(), st.floats(-50, 0))))
def test_probabilities_are_probabilities(choices: list[str], tops: list[tuple[str, float]]) -> None:
    tops += [(choices[0], -1.0)]
    for found in (
        from_top_tokens(tops, choices),
        from_samples([text for text, _ in tops], choices),
    ):
        if found is not None:
            assert len(found) == len(choices)
            assert all(0 <= p <= 1 for p in found) and sum(found) == pytest.approx(1)
