"""One training loop for every program here: seeded step by step, averaged, checkpointed, resumable.

It knows nothing of models and data: a step's loss comes from a function of the step's own random
generators, so a resumed run sees the batches that an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed, nn

Model = TypeVar("Model", bound=nn.Module)
Loss = Callable[[np.random.Generator, torch.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """AdamW with a linear warm-up, a constant stretch and a cosine decay over the last part."""

    steps: int
    rate: float
    warmup: int = 100
    decay: float = 0.4  # the last share of the steps
    ema: float = 0.998
    clip: float = 1.0
    save_every: int = 200

    def at(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup)
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, left)))


def fit(
    name: str, model: Model, loss: Loss, schedule: Schedule, folder: Path, seed: int = 0
) -> Model:
    """Trains `model` and returns its moving average; goes on from `folder/name.pt` if it exists."""
    rank, world = join()
    average = deepcopy(model)
    average.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.01)
    checkpoint = folder / f"{name}.pt"
    start = _resume(checkpoint, model, average, optimiser)
    for step in _watched(name, start, schedule.steps):
        value = loss(*_generators(seed, step, rank))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        _share(trained, world)
        _descend(trained, optimiser, schedule, step)
        _average(average, model, min(schedule.ema, (step + 1) / (step + 10)))
        last = step + 1 == schedule.steps
        if rank == 0 and (last or (step + 1) % schedule.save_every == 0):
            _save(checkpoint, step + 1, model, average, optimiser)
            _log(folder / f"{name}.log", step + 1, value.item())
    return average


def join() -> tuple[int, int]:
    """Rank and number of processes; `torchrun` sets both, a plain start is one process."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return rank, world


def wait_for_all() -> None:
    """Until every process has come this far."""
    if distributed.is_initialized():
        distributed.barrier()


def _generators(seed: int, step: int, rank: int) -> tuple[np.random.Generator, torch.Generator]:
    rng = np.random.default_rng([seed, step, rank])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def _share(trained: list[nn.Parameter], world: int) -> None:
    """Averages the gradients of all processes, as one long vector: one message a step."""
    if world == 1:
        return
    gradients = [p.grad for p in trained if p.grad is not None]
    flat = nn.utils.parameters_to_vector(gradients)
    distributed.all_reduce(flat)
    nn.utils.vector_to_parameters(flat / world, gradients)


def _descend(
    trained: list[nn.Parameter], optimiser: torch.optim.Optimizer, schedule: Schedule, step: int
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = schedule.at(step)
    nn.utils.clip_grad_norm_(trained, schedule.clip)
    optimiser.step()


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, keep: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


def _watched(name: str, start: int, steps: int) -> Iterator[int]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
    )
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(name, total=steps, completed=start)
        for step in range(start, steps):
            yield step
            progress.advance(task)


def _save(
    path: Path, step: int, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)  # a kill leaves the old checkpoint or the new one


def _resume(
    path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    # On the CPU: each of the three brings its part to where its weights are.
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return state["step"]


def _log(path: Path, step: int, value: float) -> None:
    with path.open("a") as log:
        log.write(f"{step}\t{value:.5f}\n")
