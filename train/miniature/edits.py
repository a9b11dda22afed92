"""Pictures of the shapes world before and after an edit: scenes with flaws put in, and the pictures
that a model paints wrong, each with the smallest edits that fix it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from reflectionflow_core.miniature.detector import BLOB, detect
from reflectionflow_core.miniature.judge import Fault, faults
from reflectionflow_core.miniature.prompts import FAMILIES, Spec
from reflectionflow_core.miniature.world import Scene, render
from reflectionflow_core.protocols import Painter
from reflectionflow_core.record import InputError, Request
from reflectionflow_core.writers.template import TemplateWriter
from train.miniature.scenes import any_prompt, compose, fix, flawed, repaired
from train.triplets import Edit

WRITER = TemplateWriter()
_BATCH = 32  # pictures painted at once
_BLOCK = 10  # wrong pictures that are looked for together


@dataclass(frozen=True)
class ScenePair:
    """A flawed picture's scene as detected, what was asked, and the scene after a reflection.

    Only what the reflection says is fixed, whatever else is wrong: so it must be read, and nothing
    else changes.
    """

    prompt: str
    scene: Scene
    corrected: Scene
    reflection: str


def pair_of(prompt: str, spec: Spec, scene: Scene, rng: np.random.Generator) -> ScenePair | None:
    """The pair of a flawed scene, or None where nothing is wrong with it."""
    right, found = repaired(scene, spec, rng)
    if not found:
        return None
    corrected, reflection = _as_written(scene, found, rng)
    unclear = any(BLOB in (thing.shape, thing.colour) for thing in corrected)
    if unclear or len(faults(corrected, spec)) >= len(found):
        corrected = (
            right  # a blob cannot be drawn, and there may be no room to do just what is said
        )
    return ScenePair(prompt, scene, corrected, reflection)


def _as_written(
    scene: Scene, found: Sequence[Fault], rng: np.random.Generator
) -> tuple[Scene, str]:
    """The reflection on `found` and the scene with just that fixed."""
    reflection = WRITER.write([fault.unmet for fault in found])
    for count in range(1, len(found) + 1):
        scene = fix(scene, found[count - 1], rng)
        if WRITER.write([fault.unmet for fault in found[:count]]) == reflection:
            break
    return scene, reflection


class ShapeEdits:
    """Scenes with flaws put in, and with what the reflection says fixed; by number, without end.

    Their prompts are of the named family, or of all.
    """

    def __init__(self, seed: int, family: str = "") -> None:
        self.seed, self.skipped = seed, Counter[str]()
        self.families = families_of(family)

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> Edit:
        rng = np.random.default_rng([self.seed, index])
        while True:
            prompt, spec = any_prompt(rng, self.families)
            pair = pair_of(prompt, spec, flawed(compose(spec, rng), rng), rng)
            if pair is not None and pair.corrected != pair.scene:
                before, after = (Image.fromarray(render(s)) for s in (pair.scene, pair.corrected))
                return Edit(before, after, pair.reflection, prompt)


class DraftEdits:
    """Pictures that a model painted wrong, and the same with what the reflection says fixed."""

    def __init__(self, seed: int, build: Callable[[], Painter], family: str = "") -> None:
        self.seed, self.build, self.skipped = seed, build, Counter[str]()
        self.families = families_of(family)
        self._held: tuple[int, list[Edit]] = (-1, [])

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> Edit:
        block, place = divmod(index, _BLOCK)
        if self._held[0] != block:
            self._held = (block, self._painted(np.random.default_rng([self.seed, block])))
        return self._held[1][place]

    @cached_property
    def _generator(self) -> Painter:
        return self.build()

    def _painted(self, rng: np.random.Generator) -> list[Edit]:
        edits: list[Edit] = []
        while len(edits) < _BLOCK:
            asked = [any_prompt(rng, self.families) for _ in range(_BATCH)]
            seeds = rng.integers(2**32, size=_BATCH).tolist()
            requests = [
                Request(seed, prompt) for seed, (prompt, _) in zip(seeds, asked, strict=True)
            ]
            pictures = self._generator.paint(requests)
            for (prompt, spec), picture in zip(asked, pictures, strict=True):
                if pair := pair_of(prompt, spec, detect(picture), rng):
                    after = Image.fromarray(render(pair.corrected))
                    edits.append(Edit(picture, after, pair.reflection, prompt))
        return edits[:_BLOCK]


def families_of(family: str) -> tuple[str, ...]:
    """That family of prompts, or all where it is ""; InputError for one that there is not."""
    if family and family not in FAMILIES:
        raise InputError(
            f"There is no family of prompts named {family!r}. Choose among: {', '.join(FAMILIES)}."
        )
    return (family,) if family else FAMILIES
