"""One training loop for all programs here: seeded per step, averaged, checkpointed and resumable.

It knows neither models nor data. A step's loss is a function of the step's `Draw` alone, so a
resumed run sees the same batches as an uninterrupted one, and two processes the same as one process
that accumulates two batches. With `accelerate launch` or `torchrun` every process holds the trained
weights, and gradients are averaged once per step.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from reflectionflow_core.record import InputError
from train.checkpoints import Checkpoints
from train.journal import Log, StepDone, watched
from train.processes import join

Model = TypeVar("Model", bound=nn.Module)
Weights = list[nn.Parameter]


@dataclass(frozen=True, slots=True)
class Draw:
    """Identifies a batch; a loss takes its random numbers from `generators`.

    `share` numbers the batches of one step over all processes.
    """

    seed: int
    step: int
    share: int = 0

    def generators(self) -> tuple[np.random.Generator, torch.Generator]:
        rng = np.random.default_rng([self.seed, self.step, self.share])
        return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


Loss = Callable[[Draw], Tensor]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, constant rate, then cosine decay over the last share of the steps.

    `optimiser` is a key of OPTIMISERS; `ema` the decay of the moving average per step (None: no
    average); `accumulate` the batches per step of one process.
    """

    steps: int
    rate: float
    warmup: int = 100
    decay: float = 0.4  # the last share of the steps
    ema: float | None = 0.998
    clip: float = 1.0
    save_every: int = 200
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    accumulate: int = 1

    def at(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def _adamw(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        weights, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )


def _prodigy(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    """The optimiser of the paper (§4.1); its rate is a factor, usually 1."""
    from prodigyopt import Prodigy

    options: dict[str, Any] = {"lr": schedule.rate, "weight_decay": schedule.weight_decay}
    with redirect_stdout(io.StringIO()):  # it prints that its weight decay is decoupled
        return Prodigy(weights, **options, use_bias_correction=True, safeguard_warmup=True)


OPTIMISERS: dict[str, Callable[[Weights, Schedule], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "prodigy": _prodigy,
}


class DivergenceError(InputError):
    """The loss or its gradient is not finite."""


@dataclass
class State:
    """Everything that a training changes. Weights without gradient are not included."""

    trained: dict[str, nn.Parameter]
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor] = field(default_factory=dict)  # nothing without one
    step: int = 0

    @classmethod
    def begin(cls, model: nn.Module, schedule: Schedule, kept: Checkpoints) -> State:
        """The newest checkpoint's state, or the initial state."""
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        state = cls(trained, OPTIMISERS[schedule.optimiser](list(trained.values()), schedule))
        if schedule.ema is not None:
            state.average = {name: p.detach().clone() for name, p in trained.items()}
        if (saved := kept.newest()) is not None:
            state.load(saved)
        return state

    def saved(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "trained": {name: p.detach() for name, p in self.trained.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }

    @torch.no_grad()
    def load(self, saved: dict[str, Any]) -> None:
        for mine, its in ((self.trained, saved["trained"]), (self.average, saved["average"])):
            fits = {n: t.shape for n, t in mine.items()} == {n: t.shape for n, t in its.items()}
            if not fits:
                raise InputError(
                    "The checkpoint is of another model or has another moving average. Start in "
                    "another folder, or with the settings of the first start."
                )
            for name, tensor in mine.items():
                tensor.copy_(its[name])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the model computes with its moving average, if it has one."""
        own = {name: self.trained[name].detach().clone() for name in self.average}
        self.put(self.average)
        try:
            yield
        finally:
            self.put(own)

    @torch.no_grad()
    def put(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.trained[name].copy_(value)


def steps(
    state: State, loss: Loss, schedule: Schedule, kept: Checkpoints, seed: int = 0
) -> Iterator[StepDone]:
    """Trains from `state.step` on and yields after every step.

    Raises DivergenceError before a step that would make weights non-finite, so that every
    checkpoint is usable.
    """
    world = join()
    weights = list(state.trained.values())
    while state.step < schedule.steps:
        began = time.perf_counter()
        for group in state.optimiser.param_groups:
            group["lr"] = schedule.at(state.step)
        state.optimiser.zero_grad(set_to_none=True)
        value = _descend(loss, draws(seed, state.step, schedule))
        _share(weights, world.num_processes)
        length = float(nn.utils.clip_grad_norm_(weights, schedule.clip))
        _check(state.step + 1, value, length, kept)
        state.optimiser.step()
        _follow(state, schedule)
        state.step += 1
        due = state.step == schedule.steps or state.step % schedule.save_every == 0
        if due and world.is_main_process:
            kept.save(state.step, state.saved())
        seconds = time.perf_counter() - began
        yield StepDone(state.step, value, length, _rate(state.optimiser), seconds, due)


def draws(seed: int, step: int, schedule: Schedule) -> list[Draw]:
    """The draws of this process for a step."""
    first = join().process_index * schedule.accumulate
    return [Draw(seed, step, first + share) for share in range(schedule.accumulate)]


def fit(
    name: str, model: Model, loss: Loss, schedule: Schedule, folder: Path, seed: int = 0
) -> Model:
    """Trains `model` and returns it with its averaged weights; a stopped run is resumed."""
    kept = Checkpoints(folder, name)
    state = State.begin(model, schedule, kept)
    log = Log(folder / f"{name}.jsonl", state.step)
    for done in watched(name, steps(state, loss, schedule, kept, seed), state.step, schedule.steps):
        if done.saved:
            log.write(done)
    state.put(state.average)
    return model


def _descend(loss: Loss, shares: list[Draw]) -> float:
    """The mean loss of the shares; leaves the gradient in the weights."""
    total = 0.0
    for draw in shares:
        value = loss(draw) / len(shares)
        value.backward()
        total += value.item()
    return total


def _share(weights: Weights, processes: int) -> None:
    """Averages the gradients over all processes in one message."""
    if processes == 1:
        return
    gradients = [p.grad for p in weights if p.grad is not None]
    flat = nn.utils.parameters_to_vector(gradients)
    distributed.all_reduce(flat)
    nn.utils.vector_to_parameters(flat / processes, gradients)


def _check(step: int, loss: float, gradient: float, kept: Checkpoints) -> None:
    if not (math.isfinite(loss) and math.isfinite(gradient)):
        files = kept.files()
        good = f"{files[-1]} is good" if files else "there is no checkpoint yet"
        raise DivergenceError(
            f"At step {step} the loss is {loss} and its gradient {gradient}, so the training stops "
            f"before it spoils the weights; {good}."
        )


@torch.no_grad()
def _follow(state: State, schedule: Schedule) -> None:
    """Updates the moving average; faster at the beginning, so that the initial weights fade out."""
    for name, kept in state.average.items():
        keep = min(schedule.ema or 0.0, (state.step + 1) / (state.step + 10))
        kept.lerp_(state.trained[name], 1 - keep)


def _rate(optimiser: torch.optim.Optimizer) -> float:
    group = optimiser.param_groups[0]
    return float(group["lr"] * group.get("d", 1.0))
