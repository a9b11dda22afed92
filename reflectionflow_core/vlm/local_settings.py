"""How a model on this machine answers."""

from __future__ import annotations

from dataclasses import dataclass

from ..record import InputError
from ..settings import MAX_SEED
from .likelihoods import MASS


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How a model on this machine answers; raises InputError for values out of range.

    `batch_size` (1 to 1024) questions at once, pictures of at most `max_pixels`. `temperature` 0 is
    greedy; above it (to 10), samples depend on `seed` and on a question's index in its call.
    Choices are weighed against each other at an answer's first token only if they have at least
    `least_mass` there (0 to 1; 0 weighs them anyway).
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
