"""A judge of the miniature whose errors belong to what it looks at, and come back when asked again.

Errors that are drawn anew at every question make voting win for free; real judges repeat theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL.Image import Image

from ..judge_errors import KINDS, JudgeErrors, KindErrors
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from .detector import detect_boxes
from .prompts import parse
from .requirements import Demand, demands, unmet_demands
from .verifier import ExactVerifier

SHOWN = 1_000_000  # statements of each kind and truth


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How a judge errs: the shares (0 to 1) of wrong things that it passes and of right ones that
    it finds wrong, and the correlation (0 to 1) of its errors when it is asked again.

    Raises InputError for a number outside 0 to 1.
    """

    missed: float
    alarms: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.missed, self.alarms, self.correlation):
            if not 0 <= value <= 1:
                raise InputError(
                    f"The erring judge has a number of {value}. Give numbers from 0 to 1."
                )

    def known(self) -> JudgeErrors:
        """What an exam of endless length finds out about this judge."""
        counts = (SHOWN, round(self.missed * SHOWN), SHOWN, round(self.alarms * SHOWN))
        kinds = tuple(KindErrors(kind, *counts) for kind in KINDS)
        return JudgeErrors("noisy", kinds, self.correlation, SHOWN)


class ErringVerifier:
    """The exact verifier, requirement by requirement, with errors of known rates.

    Whether it errs depends on the picture's pixels, the requirement, its kind and `seed`, not on
    the order of calls. Asked again in other words, crops or order (`look_again`), it repeats the
    first answer about a share of requirements, which is the correlation, and errs anew about the
    others. `aspects` has 1 or 0 for each requirement; the score is the share that it finds met.
    `evidence` has a box for each true fault that it finds, and for things without one; a false
    alarm has no place.
    """

    calls = 1
    further_looks = 8

    def __init__(self, rates: ErrorRates, seed: int = 0) -> None:
        self.rates, self.seed = rates, seed

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return self.look_again(prompt, images, 0, progress)

    def look_again(
        self, prompt: str, images: Sequence[Image], look: int, progress: Progress = SILENT
    ) -> list[Verdict]:
        del progress
        return [self._verdict(prompt, image, look) for image in images]

    def _verdict(self, prompt: str, image: Image, look: int) -> Verdict:
        spec = parse(prompt)
        asked, wrong = demands(spec), unmet_demands(tuple(detect_boxes(image)), spec)
        errs = {
            d.statement: self._errs(prompt, image, d, d.statement in wrong, look) for d in asked
        }
        met = {d.statement: (d.statement not in wrong) ^ errs[d.statement] for d in asked}
        unmet = [
            fault
            for d in asked
            if not met[d.statement]
            for fault in wrong.get(d.statement, [d.alarm])
        ]
        (truth,) = ExactVerifier().verify(prompt, [image])
        overlooked = {*truth.unmet} - {*unmet}
        return Verdict(
            score=sum(met.values()) / len(met),
            passed=all(met.values()),
            aspects=_as_numbers(met),
            unmet=tuple(dict.fromkeys(unmet)),
            evidence=tuple(seen for seen in truth.evidence if seen.text not in overlooked),
        )

    def _errs(self, prompt: str, image: Image, demand: Demand, wrong: bool, look: int) -> bool:
        rate = self.rates.missed if wrong else self.rates.alarms
        key = f"{self.seed} {prompt} {demand.kind} {demand.statement}"
        digest = hashlib.sha256(key.encode() + image.tobytes()).digest()
        repeats, *drawn = np.random.default_rng(list(digest)).random(2 + look)
        return bool(drawn[0 if repeats < self.rates.correlation else look] < rate)


def _as_numbers(met: Mapping[str, bool]) -> Mapping[str, float]:
    return MappingProxyType({statement: float(value) for statement, value in met.items()})


def erring_rates(spec: str) -> ErrorRates:
    """The rates of a judge as it is named: "noisy:0.1,0.8" errs in 10 % of its answers, and repeats
    its errors with correlation 0.8; "exact" never errs.

    Raises InputError for anything else.
    """
    name, _, numbers = spec.partition(":")
    try:
        given = [float(text) for text in numbers.split(",")] if numbers else []
    except ValueError:
        given = []
    if name == "exact" and not numbers:
        return ErrorRates(0.0, 0.0)
    if name != "noisy" or not 1 <= len(given) <= 2:
        raise InputError(
            f"There is no judge {spec!r}. Give exact, or noisy:RATE,CORRELATION such as "
            "noisy:0.1,0.8."
        )
    return ErrorRates(given[0], given[0], *given[1:])
