"""Settings of FLUX's sampling and of the corrector's condition; independent of models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from ..record import InputError
from ..settings import check_choice

FITS = ("squash", "fit")
PROMPT_STYLES = ("training", "upstream")  # implemented in text.py


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Sizes in pixels, `max_sequence_length` in T5 tokens; InputError if out of range."""

    width: int = 1024
    height: int = 1024
    steps: int = 30
    guidance: float = 3.5
    max_sequence_length: int = 512

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not 16 <= side <= 8192 or side % 16:
                raise InputError(
                    f"The picture's {name} is {side}. Give a multiple of 16 from 16 to 8192."
                )
        if not 1 <= self.steps <= 1000:
            raise InputError(f"The number of steps is {self.steps}. Give one from 1 to 1000.")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise InputError(f"The guidance is {self.guidance}. Give 0 or more, e.g. 3.5.")
        if not 1 <= self.max_sequence_length <= 512:
            raise InputError(
                f"The text length is {self.max_sequence_length}. Give 1 to 512 tokens."
            )

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class ConditionSettings:
    """How a picture and its reflection reach the corrector.

    `size` is the longer side in pixels. "squash" makes every picture square, as in the paper; "fit"
    keeps the aspect ratio. `prompt_style` is one of PROMPT_STYLES. InputError if out of range.
    """

    size: int = 512
    fit: str = "squash"
    prompt_style: str = "training"

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096 or self.size % 16:
            raise InputError(
                f"The condition size is {self.size}. Give a multiple of 16 from 16 to 4096."
            )
        check_choice("way to fit a picture", self.fit, FITS)
        check_choice("prompt style", self.prompt_style, PROMPT_STYLES)


Settings = TypeVar("Settings", SamplingSettings, ConditionSettings)


def changed_sampling(
    sampling: SamplingSettings, condition: ConditionSettings, given: Mapping[str, Any]
) -> tuple[SamplingSettings, ConditionSettings]:
    """Both settings updated with the values in `given` that are not None.

    Names are their fields, `size` (width, height), `condition_size` and `condition_fit`; others are
    ignored.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if "size" in asked:
        asked["width"], asked["height"] = asked.pop("size")
    seen = {name.removeprefix("condition_"): value for name, value in asked.items()}
    return _changed(sampling, asked), _changed(condition, seen)


def _changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    return replace(settings, **{f.name: given[f.name] for f in fields(settings) if f.name in given})
