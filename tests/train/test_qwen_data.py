"""Samples that training can rely on: `pytest tests/train/test_qwen_data.py`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectionflow_core.record import InputError
from train.miniature.shards import write_shard
from train.prompt_words import digest, digests
from train.qwen.data import Usable, coin, readable, rows_of, split
from train.qwen.run import qwen_run, sides_of
from train.qwen.settings import QwenSettings
from train.triplets import SampleError, Triplets
from train.verifier.pairs import FIRST, SECOND, TIE, FilePairs, TripletPairs, pairs_in
from train.writer.chats import chats_in


class Some:
    """Samples that are their own prompts; those in `bad` cannot be read."""

    def __init__(self, prompts: list[str], bad: set[int] | None = None) -> None:
        self.texts, self.bad, self.skipped = prompts, bad or set(), Counter[str]()
        self.prompts = digests(prompts)

    def __len__(self) -> int:
        return len(self.texts)

    def key(self, index: int) -> str:
        return f"{index:03d}"

    def read(self, index: int) -> str:
        if index in self.bad:
            raise SampleError("picture unreadable")
        return self.texts[index]


SPELLINGS = ("{} cats", "a photo of {} cats", "The {} Cats!", " {} cats")


@given(
    st.lists(st.tuples(st.sampled_from(SPELLINGS), st.integers(1, 9)), max_size=40),
    st.floats(0.01, 0.99),
)
def test_a_split_takes_every_sample_once_and_no_words_to_both_sides(spelled, share) -> None:
    learnt, held = split(Some([spelling.format(count) for spelling, count in spelled]), share)
    assert sorted(learnt + held) == list(range(len(spelled)))
    assert not {spelled[i][1] for i in learnt} & {spelled[i][1] for i in held}


def test_a_split_holds_out_about_the_share_it_was_asked_for() -> None:
    _, held = split(Some([f"prompt {number}" for number in range(5000)]), 0.1)
    assert 400 < len(held) < 600


@given(st.sets(st.integers(0, 9), max_size=9))
def test_a_sample_that_cannot_be_read_is_replaced_by_the_next_that_can(bad) -> None:
    usable = Usable(Some(list("abcdefghij"), bad), range(10))
    for index in range(10):
        sample, unread = usable[index]
        nearest = next(n % 10 for n in range(index, index + 10) if n % 10 not in bad)
        assert sample == "abcdefghij"[nearest]
        passed = (f"{n % 10:03d}" for n in range(index, index + (nearest - index) % 10))
        assert unread == [("picture unreadable", key) for key in passed]


def test_data_of_which_nothing_can_be_read_are_refused_with_the_reason() -> None:
    usable = Usable(Some(["a"] * 300, set(range(300))), range(300))
    with pytest.raises(
        InputError, match=r"100 samples in a row .*picture unreadable \(100: 000, 001, 002 and 97"
    ):
        usable[0]
    with pytest.raises(InputError, match="no samples to train on"):
        Usable(Some([]), [])
    assert readable(Some(list("abc"), {0}), range(3), 1) == ([1], {"picture unreadable": 1})
    settings = QwenSettings.model_construct(data="x.jsonl", held_out=None, held_out_share=0.5)
    with pytest.raises(
        InputError, match=r"No sample of x.jsonl can be used: .*unreadable \(3: 000, "
    ):
        sides_of(settings, lambda _: Some(["", "", ""], {0, 1, 2}))


def sides(data: list[str], held_out: list[str] | None = None, most: int = 9) -> Any:
    given = {"held_out": held_out and "held", "held_out_share": 0.5, "held_out_most": most}
    settings = QwenSettings.model_construct(data="data", **given)
    return sides_of(settings, lambda where: Some(data if where == "data" else held_out or []))


def test_what_is_measured_on_is_not_trained_on_when_it_is_given_either() -> None:
    learnt, held, skipped = sides(["one cat", "dogs", "The one cat", ""], ["a one cat.", "horses"])
    assert {held[i][0] for i in range(2)} == {"a one cat.", "horses"}
    assert list(learnt.indices) == [1, 3]
    assert skipped == {"prompt is held out": 2}
    with pytest.raises(InputError, match="no samples to train on"):
        sides(["one cat"], ["one cat"])


def test_measured_are_samples_from_all_over_the_data() -> None:
    _, held, _ = sides([f"{number} cats" for number in range(400)], most=20)
    assert len({index // 100 for index in held.indices}) == 4


def test_pairs_of_triplets_come_in_an_order_that_says_nothing(tmp_path: Path) -> None:
    write_shard(tmp_path / "some.tar", 60, ["colors"], seed=0)
    triplets = Triplets([tmp_path / "some.tar"])
    pairs = TripletPairs(triplets, seed=0)
    labels = [pairs.read(index).label for index in range(60)]
    assert 15 < labels.count(FIRST) < 45
    assert labels == [pairs.read(index).label for index in range(60)]
    assert labels != [TripletPairs(triplets, seed=1).read(index).label for index in range(60)]
    for index, label in enumerate(labels):
        pair, triplet = pairs.read(index), triplets[index]
        better = pair.first if label == FIRST else pair.second
        assert better.tobytes() == triplet.good.tobytes()
        assert triplet.prompt == pair.prompt
        assert pairs.prompts[index] == digest(triplet.prompt)


def test_a_run_is_resumed_with_as_many_batches_a_step_as_it_was_started_with(
    tmp_path, monkeypatch
) -> None:
    def start(processes: int, accumulate: int) -> None:
        joined = SimpleNamespace(is_main_process=True, num_processes=processes)
        monkeypatch.setattr("train.qwen.run.join", lambda *_: joined)
        given = {"base": "tiny", "out": tmp_path, "accumulate": accumulate, "device": "cpu"}
        with qwen_run(QwenSettings.model_construct(**given)):
            pass

    start(1, 2)
    start(2, 1)
    with pytest.raises(InputError, match=r"accumulate times processes=2 \(now 4\)"):
        start(2, 2)


@given(st.integers(), st.text(max_size=20))
def test_a_coin_falls_the_same_way_for_the_same_parts(seed, key) -> None:
    assert coin(seed, key) == coin(seed, key)


def test_rows_of_the_data_engine_are_read_with_their_labels(tmp_path: Path) -> None:
    write_shard(tmp_path / "some.tar", 1, ["colors"], seed=0)
    triplet = Triplets([tmp_path / "some.tar"])[0]
    triplet.good.save(tmp_path / "a.png")
    file = tmp_path / "verifier.jsonl"
    row = '{"image1": "a.png", "image2": "a.png", "prompt": "p", "label": %s}\n'
    file.write_text("".join(row % label for label in ('"first"', '"second"', '"tie"', 1, 2)))
    pairs = FilePairs(file)
    labels = [pairs.read(index).label for index in range(5)]
    assert labels == [FIRST, SECOND, TIE, FIRST, SECOND]
    assert pairs.read(0).first.size == (64, 64)
    assert pairs.ties == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Line 1 of .* is not JSON"),
        ('{"label": "first"}\n[]', "Line 2 of .* is not an object"),
        ('{"label": "better"}', "Line 1 of .* has the label 'better'. Write one of: first"),
        ('{"label": true}', "Line 1 of .* has the label True"),
        ('{"label": [1]}', r"Line 1 of .* has the label \[1\]"),
    ],
)
def test_broken_rows_are_refused_by_their_line(text, message, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        pairs_in(str(file), 0, 1.0)
    if "label" not in text or "[]" in text:
        with pytest.raises(InputError, match=message):
            rows_of(file)


@pytest.mark.parametrize(
    ("read", "row"),
    [
        (FilePairs, '{"image1": "images/a.png", "prompt": "p", "label": 1}'),
        (chats_in, '{"messages": [], "images": ["images/a.png"]}'),
    ],
)
def test_pictures_that_were_not_unpacked_are_said_at_once(read, row, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(row)
    with pytest.raises(InputError, match=f"Give data={tmp_path} to read the shards beside it"):
        read(file if read is FilePairs else str(file))


def test_no_training_sample_shows_the_flawed_picture_of_a_held_out_one() -> None:
    class Siblings(Some):
        """Three share a picture, with a prompt of their own each."""

        def key(self, index: int) -> str:
            return f"editing-{index // 3:08d}-0~{index % 3}"

    prompts = [f"{number} cups" for number in range(300)]
    given = {"held_out": None, "held_out_share": 0.1, "held_out_most": 300}
    settings = QwenSettings.model_construct(data="data", **given)
    learnt, held, skipped = sides_of(settings, lambda _: Siblings(prompts))
    shown = {index // 3 for index in held.indices}
    assert len(held.indices) > 10 and not shown & {index // 3 for index in learnt.indices}
    left_out = len(prompts) - len(held.indices) - len(learnt.indices)
    assert skipped["flawed picture is held out"] == left_out > len(shown)
