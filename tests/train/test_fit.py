"""The training loop: it learns, and a run that was cut goes on as if it had not been.

`pytest tests/train/test_fit.py`
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from reflectionflow_core.record import InputError
from train.checkpoints import Checkpoints
from train.fit import DivergenceError, Draw, Schedule, State, fit, steps
from train.journal import Log
from train.processes import agreed
from train.progress import progress
from train.reports import ReportSettings, reports_of


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


PRODIGY = replace(SCHEDULE, optimiser="prodigy", rate=1.0, warmup=0, decay=0.0, ema=None)


def losses(folder: Path, schedule: Schedule, stop: int | None = None) -> list[float]:
    """The curve of a run that goes on in `folder`, up to step `stop`."""
    model, kept = line(), Checkpoints(folder, "line")
    state = State.begin(model, schedule, kept)
    found = []
    for done in steps(state, Line(model), schedule, kept):
        found.append(done.loss)
        if done.step == stop:
            break
    return found


@pytest.mark.parametrize("schedule", [SCHEDULE, PRODIGY, replace(SCHEDULE, accumulate=2)])
def test_the_loss_curve_resumes_bit_for_bit(tmp_path: Path, schedule: Schedule) -> None:
    whole = losses(tmp_path / "whole", schedule)
    before = losses(tmp_path / "cut", schedule, stop=57)
    after = losses(tmp_path / "cut", schedule)  # from the checkpoint at 50
    assert before == whole[:57]
    assert after == whole[50:]


def test_prodigy_finds_a_rate_and_learns(tmp_path: Path) -> None:
    found = losses(tmp_path, replace(PRODIGY, steps=400))
    assert found[-1] < 0.1 * found[0]


def test_two_batches_of_one_process_are_the_batches_of_two(tmp_path: Path) -> None:
    model, loss = line(), Line(line())
    schedule = replace(SCHEDULE, steps=1, accumulate=2, clip=1e9)
    loss.model = model
    (done,) = steps(
        State.begin(model, schedule, Checkpoints(tmp_path, "line")),
        loss,
        schedule,
        Checkpoints(tmp_path, "line"),
        seed=3,
    )
    other = line()
    mean = (Line(other)(Draw(3, 0, 0)) + Line(other)(Draw(3, 0, 1))) / 2
    mean.backward()
    assert done.loss == pytest.approx(mean.item())
    assert other.weight.grad is not None and model.weight.grad is not None
    assert model.weight.grad == pytest.approx(other.weight.grad)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(
    tmp_path: Path, value
) -> None:
    class Spoilt(Line):
        def __call__(self, draw: Draw) -> Tensor:
            return super().__call__(draw) * (value if draw.step == 24 else 1.0)

    model = line()
    good = r"At step 25 the loss is (nan|inf).*line-0000020.pt is good"
    with pytest.raises(DivergenceError, match=good):
        fit("line", model, Spoilt(model), SCHEDULE, tmp_path)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    state = State.begin(line(), SCHEDULE, Checkpoints(tmp_path, "line"))
    assert state.step == 20
    assert all(torch.isfinite(p).all() for p in state.trained.values())


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    class Steep(Line):
        def __call__(self, draw: Draw) -> Tensor:
            return (self.model.weight - self.model.weight.detach()).abs().sqrt().sum()

    model = line()
    wrong = r"loss is 0.0 and its gradient (nan|inf).*no checkpoint yet"
    with pytest.raises(DivergenceError, match=wrong):
        fit("line", model, Steep(model), SCHEDULE, tmp_path)


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, capsys) -> None:
    model = line()
    fit("line", model, Line(model), replace(SCHEDULE, steps=40), tmp_path)
    kept = Checkpoints(tmp_path, "line")
    assert [file.name for file in kept.files()] == ["line-0000030.pt", "line-0000040.pt"]
    newest = kept.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    state = State.begin(line(), SCHEDULE, kept)
    assert state.step == 30
    assert "line-0000040.pt is damaged" in capsys.readouterr().err
    kept.files()[0].write_bytes(b"")
    with pytest.raises(InputError, match="No checkpoint of line"):
        kept.newest()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model = line()
    fit("line", model, Line(model), replace(SCHEDULE, steps=10), tmp_path)
    with pytest.raises(InputError, match="of another model"):
        State.begin(nn.Linear(2, 1), SCHEDULE, Checkpoints(tmp_path, "line"))
    with pytest.raises(InputError, match="another moving average"):
        State.begin(line(), replace(SCHEDULE, ema=None), Checkpoints(tmp_path, "line"))


def test_the_log_has_every_saved_step_once(tmp_path: Path) -> None:
    for stop in (33, None):
        model = line()
        with contextlib.suppress(KeyboardInterrupt):
            fit("line", model, Line(model, fail_at=stop), replace(SCHEDULE, steps=60), tmp_path)
        with (tmp_path / "line.jsonl").open("a") as log:
            log.write('{"step": 1')  # as a kill leaves it
    lines = (tmp_path / "line.jsonl").read_text().splitlines()[:-1]
    assert [json.loads(text)["step"] for text in lines] == [10, 20, 30, 40, 50, 60]


def test_a_log_file_gets_plain_lines_with_the_time_that_is_left(capsys, monkeypatch) -> None:
    clock = iter([500.0, 540.0, 580.0, 620.0])  # the first step waits for models
    monkeypatch.setattr("train.progress.time.monotonic", lambda: next(clock))
    with progress("corrector", 10, 14) as show:
        for step in range(11, 15):
            show(step, "loss 0.5000")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "corrector: 4 of 14 steps to do",
        "corrector: step 11 of 14, loss 0.5000",
        "corrector: step 12 of 14, loss 0.5000, 40.00 s a step, 1 min 20 s left",
        "corrector: step 13 of 14, loss 0.5000, 40.00 s a step, 40.0 s left",
        "corrector: step 14 of 14, loss 0.5000, 40.00 s a step",
    ]


class Scalars:
    """What a log was told, as TensorBoard and wandb are."""

    told: ClassVar[list[tuple[str, float, int]]] = []

    def __init__(self, folder: str, purge_step: int) -> None:
        assert folder.endswith("tensorboard") and purge_step == 6

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))

    def flush(self) -> None:
        """As the writer's."""


def test_tensorboard_and_wandb_get_what_the_log_gets(tmp_path: Path, monkeypatch) -> None:
    begun: list[dict[str, Any]] = []
    logged: list[tuple[dict[str, float], int]] = []
    run = SimpleNamespace(log=lambda figures, step: logged.append((figures, step)))
    wandb = SimpleNamespace(
        init=lambda **about: begun.append(about) or run, errors=SimpleNamespace(Error=OSError)
    )
    writer = ModuleType("torch.utils.tensorboard.writer")
    monkeypatch.setattr(writer, "SummaryWriter", Scalars, raising=False)
    for name, module in (("torch.utils.tensorboard.writer", writer), ("wandb", wandb)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", ModuleType("tensorboard"))
    settings = ReportSettings(to=["tensorboard", "wandb"])
    reports_of(settings, tmp_path, 5, {"rank": 4})
    # A run that is resumed is the same run there.
    log = Log(tmp_path / "log.jsonl", 5, reports_of(settings, tmp_path, 5, {"rank": 4}))
    log.note(6, loss=0.5, held_out={"accuracy": {"mean": 0.75}}, table=[1])
    expected = {"loss": 0.5, "held_out/accuracy/mean": 0.75}
    assert [(name, value) for name, value, step in Scalars.told] == list(expected.items())
    assert logged == [(expected, 6)]
    assert begun[0] == begun[1] and begun[0]["config"] == {"rank": 4}


def test_every_process_goes_by_what_the_first_one_found(monkeypatch) -> None:
    sent: list[Any] = []
    first = SimpleNamespace(num_processes=2, is_main_process=True)
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda said: sent or said)

    def refused() -> str:
        raise InputError("not judged")

    def found(act: Any) -> Any:
        try:
            return agreed(act)
        except InputError as error:
            return str(error)

    for act, said in ((lambda: "a verdict", ["a verdict", None]), (refused, [None, "not judged"])):
        sent.clear()
        first.is_main_process = True
        monkeypatch.setattr("train.processes.join", lambda: first)
        of_first = found(act)
        sent[:], first.is_main_process = said, False
        assert found(lambda: "another's verdict") == of_first in said


def test_a_report_that_is_not_installed_is_said_before_training(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb is not installed"):
        reports_of(ReportSettings(to=["wandb"]), tmp_path, 0, {})
