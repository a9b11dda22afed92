"""Bradley-Terry with ties, and what is measured of it: `pytest tests/train/test_preference.py`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.verifier.measure import figures, reliability
from train.verifier.pairs import FIRST, SECOND, TIE
from train.verifier.preference import loss, outcomes

rewards = st.floats(-20, 20)
weights = st.floats(0.01, 100)


def chances(first: float, second: float, ties: float) -> list[float]:
    gap = torch.tensor([first - second], dtype=torch.float64)
    return outcomes(gap, ties).softmax(1)[0].tolist()


@given(rewards, rewards, weights)
def test_outcomes_stand_to_each_other_as_davidson_says(first, second, ties) -> None:
    strong, weak = math.exp(first), math.exp(second)
    tie = ties * math.sqrt(strong * weak)
    whole = strong + weak + tie
    expected = [strong / whole, weak / whole, tie / whole]
    assert chances(first, second, ties) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(rewards, rewards, weights)
def test_among_pairs_that_do_not_tie_the_chance_is_the_sigmoid(first, second, ties) -> None:
    better, worse, _ = chances(first, second, ties)
    expected = 1 / (1 + math.exp(second - first))
    assert better / (better + worse) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(rewards, rewards)
def test_without_ties_the_loss_is_the_papers(good, bad) -> None:
    gap = torch.tensor([good - bad], dtype=torch.float64)
    expected = -torch.nn.functional.logsigmoid(gap).item()
    assert loss(gap, torch.tensor([FIRST]), 0).item() == pytest.approx(expected, abs=1e-9)
    assert loss(-gap, torch.tensor([SECOND]), 0).item() == pytest.approx(expected, abs=1e-9)


def test_a_tie_pulls_rewards_together_and_a_choice_apart() -> None:
    gap = torch.tensor([1.0], requires_grad=True)
    (pull,) = torch.autograd.grad(loss(gap, torch.tensor([TIE]), 1.0), gap)
    (push,) = torch.autograd.grad(loss(gap, torch.tensor([FIRST]), 1.0), gap)
    (unmoved,) = torch.autograd.grad(loss(gap * 0, torch.tensor([TIE]), 1.0), gap)
    assert pull > 0 > push
    assert unmoved == 0


def test_rewards_that_drew_the_labels_are_found_calibrated_and_doubled_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1.5, (20_000, 2))
    chance = 1 / (1 + np.exp(drawn[:, 1] - drawn[:, 0]))
    labels = np.where(rng.random(20_000) < chance, FIRST, SECOND)
    subsets = rng.integers(0, 2, 20_000)
    honest = figures(drawn, labels, subsets, 0.0)
    boastful = figures(drawn * 3, labels, subsets, 0.0)
    assert honest["calibration_error"] < 0.02
    assert boastful["calibration_error"] > 0.08
    assert honest["accuracy"]["mean"] == boastful["accuracy"]["mean"]
    assert honest["accuracy"]["low"] < honest["accuracy"]["mean"] < honest["accuracy"]["high"]
    assert sum(row["pairs"] for row in honest["by_subset"].values()) == honest["pairs"] == 20_000


def test_ties_count_neither_as_right_nor_as_wrong_and_equal_rewards_are_wrong() -> None:
    drawn = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 2.0]])
    found = figures(drawn, np.array([FIRST, TIE, FIRST, SECOND]), np.array([0, 0, 0, 3]), 1.0)
    assert (found["pairs"], found["ties"]) == (3, 1)
    assert found["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert set(found["by_subset"]) == {"general", "editing"}


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_every_pair_is_in_one_bin_of_the_table(rows) -> None:
    chance, first = np.array([c for c, _ in rows]), np.array([f for _, f in rows])
    table = reliability(chance, first)
    assert sum(row["pairs"] for row in table) == len(rows)
    assert sum(row["pairs"] * row["came_true"] for row in table) == pytest.approx(first.sum())
    assert all(row["from"] - 1e-9 <= row["said"] <= row["to"] + 1e-9 for row in table)
