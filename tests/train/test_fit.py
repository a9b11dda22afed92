"""The training loop: it learns, and a run that was cut goes on as if it had not been."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch import Tensor, nn

from train.fit import Draw, Schedule, fit


class Line:
    """Loss of y = 3x - 1 at random points."""

    def __init__(self, model: nn.Linear, fail_at: int | None = None) -> None:
        self.model, self.fail_at, self.calls = model, fail_at, 0

    def __call__(self, draw: Draw) -> Tensor:
        rng, generator = draw.generators()
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 1, generator=generator) + float(rng.normal())
        return (self.model(x) - (3 * x - 1)).square().mean()


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(1, 1)


SCHEDULE = Schedule(steps=120, rate=0.1, warmup=5, ema=0.9, save_every=10)


def test_a_model_learns_and_its_average_is_returned(tmp_path: Path) -> None:
    model = line()
    average = fit("line", model, Line(model), SCHEDULE, tmp_path)
    assert abs(average.weight.item() - 3) < 0.05
    assert abs(average.bias.item() + 1) < 0.05


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = line()
    expected = fit("line", whole, Line(whole), SCHEDULE, tmp_path / "whole")
    model = line()
    with contextlib.suppress(KeyboardInterrupt):
        fit("line", model, Line(model, fail_at=57), SCHEDULE, tmp_path / "cut")
    again = line()
    loss = Line(again)
    resumed = fit("line", again, loss, SCHEDULE, tmp_path / "cut")
    assert loss.calls == 70
    assert torch.equal(resumed.weight, expected.weight)
    assert torch.equal(resumed.bias, expected.bias)


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    model = line()
    first = fit("line", model, Line(model), SCHEDULE, tmp_path)
    other = line()
    loss = Line(other)
    assert torch.equal(fit("line", other, loss, SCHEDULE, tmp_path).weight, first.weight)
    assert loss.calls == 0


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    rates = [SCHEDULE.at(step) for step in range(SCHEDULE.steps)]
    assert rates[0] < rates[4] == max(rates) == rates[60]
    assert rates[-1] < 0.01 * max(rates)
