"""The record that a strategy plans with."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..record import Candidate, Cost, Seed


@dataclass(frozen=True, slots=True)
class Task:
    """A picture to paint: a strategy says how, the studio then fills in the texts.

    With `corrects` the parent is repainted as a reflection asks, else the picture is painted from
    text alone. With `evolves` its text is rewritten in view of the parent, else it is the user's.
    """

    seed: Seed
    parent: Candidate | None = None
    corrects: bool = False
    evolves: bool = False
    prompt: str = ""
    reflection: str = ""
    cost: Cost = field(default_factory=Cost)  # of writing the texts
