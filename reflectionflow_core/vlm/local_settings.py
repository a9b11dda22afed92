"""Settings of a model on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..record import InputError
from ..settings import MAX_SEED
from .likelihoods import MASS


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Settings of a model on this machine; InputError for values out of range.

    * `batch_size` (1 to 1024): questions per batch.
    * `max_pixels`: larger pictures are scaled down.
    * `temperature` (0 to 10): 0 is greedy; otherwise samples depend on `seed` and the question's
      index.
    * `least_mass` (0 to 1): lowest probability of all choices together at an answer's first token
      for
      comparing them there; 0 always does.
    """

    batch_size: int = 4
    max_pixels: int = 768 * 768
    temperature: float = 0.0
    seed: int = 0
    least_mass: float = MASS

    def __post_init__(self) -> None:
        limits = {
            "batch size": (self.batch_size, 1, 1024),
            "number of pixels": (self.max_pixels, 32 * 32, 2**28),
            "temperature": (self.temperature, 0, 10),
            "seed": (self.seed, 0, MAX_SEED),
            "least mass": (self.least_mass, 0, 1),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputError(f"The {name} is {value}. Give a number from {low} to {high:,}.")
