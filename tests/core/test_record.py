"""The records: `pytest tests/core/test_record.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from PIL import Image

from reflectionflow_core.record import Candidate, Cost, History, InputError, Verdict
from reflectionflow_core.settings import Budget, SearchSettings


def candidate(score: float = 0.0, parent: Candidate | None = None) -> Candidate:
    return Candidate(Image.new("RGB", (1, 1)), "a cat", 0, Verdict(score), parent=parent)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_cannot_be_ranked_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Verdict(score)
    assert "model's score is" in (Verdict.of_score(score).failure or "")


def test_candidates_are_compared_by_identity() -> None:
    one = candidate()
    assert one in [one]
    assert one != dataclasses.replace(one)


def test_a_candidate_knows_its_line_back_to_the_draft() -> None:
    draft = candidate()
    child = candidate(parent=draft)
    grandchild = candidate(parent=child)
    assert grandchild.lineage == (draft, child, grandchild)


def test_a_long_line_can_be_walked_printed_and_forgotten() -> None:
    last = candidate()
    for _ in range(20_000):
        last = candidate(parent=last)
    assert len(last.lineage) == 20_001
    assert len(repr(last)) < 1000


def test_costs_add_up_and_remember_the_slowest_batch() -> None:
    draft = Cost(1, 30, 1, {"draft": 2.0, "verify": 1.0}, slowest=3.0)
    corrected = Cost(1, 30, 2, {"correct": 4.0, "verify": 1.0}, slowest=2.0)
    total = draft + corrected
    assert (total.images, total.steps, total.vlm_calls) == (2, 60, 3)
    assert total.seconds == {"draft": 2.0, "correct": 4.0, "verify": 2.0}
    assert total.total_seconds == 8.0
    assert total.slowest == 3.0


def test_the_best_of_a_history_is_the_earliest_of_equals_over_all_rounds() -> None:
    first, second, third = candidate(1), candidate(9), candidate(9)
    history = History(((first, second), (third,)))
    assert history.best is second
    assert list(history) == [first, second, third]
    assert len(history) == 3


def test_an_empty_history_has_no_best() -> None:
    with pytest.raises(ValueError, match="no best"):
        _ = History().best


def test_a_history_grows_in_its_last_round_or_a_new_one() -> None:
    one, two, three = candidate(), candidate(), candidate()
    history = History().extended(0, (one,)).extended(0, (two,)).extended(1, (three,))
    assert history.rounds == ((one, two), (three,))
    for elsewhere in (0, 3):
        with pytest.raises(ValueError, match="neither the last round nor the next"):
            history.extended(elsewhere, (one,))


def test_the_same_axes_in_any_order_and_repeated_are_the_same_settings() -> None:
    assert SearchSettings(axes=("reflection", "noise", "noise")) == SearchSettings(
        axes=("noise", "reflection")
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SearchSettings(width=0), "width is 0"),
        (lambda: SearchSettings(depth=-1), "depth is -1"),
        (lambda: SearchSettings(drafts=0), "drafts is 0"),
        (lambda: SearchSettings(seed=2**64), "seed is 18446744073709551616"),
        (lambda: SearchSettings(batch_size=0), "batch size is 0"),
        (lambda: SearchSettings(radius=float("nan")), "radius is nan"),
        (lambda: SearchSettings(parents="oldest"), "latest, best"),
        (lambda: SearchSettings(noise_search="first"), "random, zero_order"),
        (lambda: SearchSettings(axes=("colour",)), "noise, prompt, reflection"),
        (lambda: SearchSettings(axes=()), "must change something"),
        (lambda: SearchSettings(stop="soon"), "never, passed, a score"),
        (lambda: SearchSettings(stop="a score"), "no stop rule named 'a score'"),
        (lambda: SearchSettings(stop=True), "no stop rule named True"),
        (lambda: SearchSettings(stop=float("nan")), "no stop rule named nan"),
        (lambda: SearchSettings(stop=None), "no stop rule named None"),  # type: ignore[arg-type]
        (lambda: SearchSettings(width=2.5), "Give a whole number from 1"),  # type: ignore[arg-type]
        (lambda: SearchSettings(width="3"), "The width is '3'"),  # type: ignore[arg-type]
        (lambda: SearchSettings(depth=True), "The depth is True"),
        (lambda: SearchSettings(width=1000, depth=1000), "1,001,000 pictures are more"),
        (lambda: Budget(images=0), "budget of images is 0"),
        (lambda: Budget(vlm_calls=-1), "budget of VLM calls is -1"),
        (lambda: Budget(steps=0), "budget of steps is 0"),
        (lambda: Budget(seconds=float("nan")), "budget of seconds is nan"),
        (lambda: Budget(images="3"), "budget of images is '3'"),  # type: ignore[arg-type]
        (lambda: Budget(steps=10_000_001), "budget of steps is 10,000,001. Give at most"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(
    build: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_settings_count_their_pictures() -> None:
    assert SearchSettings(width=2, depth=3).scheduled_pictures == 8
    assert SearchSettings(width=2, depth=3, drafts=5).scheduled_pictures == 11
