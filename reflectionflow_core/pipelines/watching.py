"""What happens inside a pipeline's call: its steps, its predictions, its initial noise.

The pipeline itself is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..flux.noise import starting_noise
from ..record import Neighbour, Restart, Seed

FLOW = ("FlowMatchEulerDiscreteScheduler",)
IN_SIGMAS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
IN_ALPHAS = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler")


def predicts(scheduler: Any) -> bool:
    """Whether the clean picture that a model predicts can be told from its scheduler's steps."""
    name, config = type(scheduler).__name__, scheduler.config
    if name in FLOW:
        return True
    known = config.get("prediction_type") in ("epsilon", "v_prediction")
    return known and (
        name in IN_SIGMAS or (name in IN_ALPHAS and not config.get("use_flow_sigmas"))
    )


@contextmanager
def watched(scheduler: Any, after: Callable[[Tensor | None], None]) -> Iterator[None]:
    """Calls `after` every step with the clean latents that the model predicts, if they are known.

    What it raises ends the pipeline's call.
    """
    original, known = scheduler.step, predicts(scheduler)

    @wraps(original)  # pipelines read which arguments it takes
    def step(output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(output, timestep, sample, *args, **kwargs)
        after(_clean(scheduler, output, timestep, sample) if known else None)
        return result

    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step


def _clean(scheduler: Any, output: Tensor, timestep: Any, sample: Tensor) -> Tensor:
    """The prediction of the clean latents, after a step from `sample`."""
    name = type(scheduler).__name__
    output, sample = output.float(), sample.float()
    if name in IN_ALPHAS:
        kept = scheduler.alphas_cumprod[int(timestep)].to(sample.device)
        if scheduler.config.prediction_type == "v_prediction":
            return kept.sqrt() * sample - (1 - kept).sqrt() * output
        return (sample - (1 - kept).sqrt() * output) / kept.sqrt()
    sigma = scheduler.sigmas[scheduler.step_index - 1].to(sample.device)
    if name in IN_SIGMAS and scheduler.config.prediction_type == "v_prediction":
        return sample / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()
    return sample - sigma * output


class SeededNoise(TorchFunctionMode):
    """A context in which the first noise that one of its generators draws is that of a search's
    seed.

    Only neighbours of a seed need it; otherwise torch's own generators are enough.
    """

    def __init__(self, generators: Mapping[torch.Generator, Seed]) -> None:
        super().__init__()
        self.waiting = dict(generators)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.randn or (kwargs or {}).get("generator") not in self.waiting:
            return result
        seed = self.waiting.pop(kwargs["generator"])
        noise = starting_noise([seed], tuple(result.shape[1:]), result.dtype)
        return noise.to(result.device)


def generator_of(seed: Seed) -> torch.Generator:
    """A generator on the CPU, so that noise is the same on every device."""
    number = seed.seed if isinstance(seed, (Restart, Neighbour)) else seed
    return torch.Generator("cpu").manual_seed(number)


@contextmanager
def noise_of(seeds: Mapping[torch.Generator, Seed]) -> Iterator[None]:
    """A context in which the generators draw the noises of their seeds."""
    moved = {one: seed for one, seed in seeds.items() if isinstance(seed, Neighbour)}
    if not moved:
        yield
        return
    with SeededNoise(moved):
        yield
