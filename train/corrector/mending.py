"""Measures how many flawed held-out pictures one correction fixes, the goal of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image as Picture

from reflectionflow_core.protocols import Verifier
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.registry import ActorChoice, build_verifier
from train.corrector.settings import MendedSettings
from train.processes import agreed


@dataclass(frozen=True)
class Mended:
    """Whether each flawed picture was fixed, (n,) bool, by what the corrector read.

    * `told`: the true reflection.
    * `untold`: no reflection.
    * `shuffled`: the reflection of another sample; None if there is none.
    """

    told: np.ndarray
    untold: np.ndarray
    shuffled: np.ndarray | None = None

    def figures(self) -> dict[str, float]:
        """The shares, and what the reflection adds, with its paired standard error."""
        kinds = {"told": self.told, "untold": self.untold, "shuffled": self.shuffled}
        found = {name: float(each.mean()) for name, each in kinds.items() if each is not None}
        gap = self.told.astype(float) - self.untold
        found["told_minus_untold"] = float(gap.mean())
        if len(gap) > 1:
            found["standard_error"] = float(gap.std(ddof=1) / len(gap) ** 0.5)
        return {"pictures": len(self.told), **found}

    def sentence(self) -> str:
        """The figures for the terminal."""
        found = self.figures()
        another = f", {found['shuffled']:.3f} with another's" if "shuffled" in found else ""
        error = f" ± {found['standard_error']:.3f}" if "standard_error" in found else ""
        return (
            f"of {len(self.told)} flawed pictures one correction fixes {found['told']:.3f} with "
            f"the true reflection, {found['untold']:.3f} with none{another}; true minus none "
            f"{found['told_minus_untold']:+.3f}{error}"
        )


def judge_of(settings: MendedSettings, device: str) -> Verifier | None:
    """The verifier that decides what is fixed; None if this is not measured."""
    if not settings.pictures:
        return None
    return build_verifier(
        ActorChoice(
            verifier=settings.verifier,
            vlm=settings.vlm,
            reward_base=settings.reward_base,
            device=device,
        )
    )


def judged(judge: Verifier, prompt: str, picture: Picture) -> Verdict:
    """The first process's verdict, in all processes.

    InputError if the judge fails: a share without the difficult pictures would mislead.
    """
    (verdict,) = agreed(lambda: judge.verify(prompt, [picture]))
    if not verdict.judged:
        raise InputError(
            f"A validation picture was not judged: {verdict.explanation} Repair the judge, or "
            "give validation.mended.pictures=0."
        )
    return verdict


def is_flawed(verdict: Verdict) -> bool:
    """Whether the picture can be fixed; always true for a judge that only scores."""
    return verdict.passed is not True


def is_mended(before: Verdict, after: Verdict) -> bool:
    """Whether the picture now passes; for a judge that only scores, whether the score rose."""
    return after.rank > before.rank if after.passed is None else after.passed


def shares(rows: Sequence[tuple[bool, ...]]) -> Mended | None:
    """The result of rows of (told, untold[, shuffled]); None without rows."""
    return Mended(*np.array(rows, bool).T) if rows else None
