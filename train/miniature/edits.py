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
from reflectionflow_core.miniature.world import COLOURS, GROUND, Scene, render
from reflectionflow_core.protocols import Painter
from reflectionflow_core.record import InputError, Request
from reflectionflow_core.writers.template import TemplateWriter
from train.miniature.scenes import any_prompt, compose, fix, flawed, repaired
from train.triplets import Edit

WRITER = TemplateWriter()
_BATCH = 32  # pictures painted at once
_BLOCK = 10  # wrong pictures that are looked for together
_TRIED = 24  # prompts among which siblings are looked for
_SCENES = 2000  # in a row, after which no picture is expected to have enough siblings
_VARIANTS = 2  # pairs of one prompt among siblings


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


def pair_of(
    prompt: str, spec: Spec, scene: Scene, rng: np.random.Generator, first: int = 0
) -> ScenePair | None:
    """The pair of a flawed scene, or None where it has no fault `first`; that is named first."""
    right, found = repaired(scene, spec, rng)
    if len(found) <= first:
        return None
    found = (*found[first:], *found[:first])
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


def siblings_of(
    first: ScenePair, spec: Spec, count: int, families: Sequence[str], rng: np.random.Generator
) -> list[ScenePair] | None:
    """`count` pairs of the first one's scene, itself among them, of different words and targets.

    Where a prompt has several faults, two of the pairs are its own, and fix one fault or the other:
    neither picture nor prompt tells them apart. `spec` is the first one's. The other prompts are
    drawn at random, those with two faults first. None where there are too few.
    """
    asked = [any_prompt(rng, families) for _ in range(_TRIED if count > 1 else 0)]
    asked.sort(key=lambda one: abs(len(faults(first.scene, one[1])) - _VARIANTS))
    found = [first]
    for prompt, meaning in [(first.prompt, spec), *asked]:
        for number in range(_VARIANTS):
            if len(found) == count:
                return found
            pair = pair_of(prompt, meaning, first.scene, rng, number)
            if pair and _is_new(pair, found):
                found.append(pair)
    return found if len(found) == count else None


def _is_new(pair: ScenePair, found: Sequence[ScenePair]) -> bool:
    """Whether words and target are of none of `found`, and the target is another picture."""
    said = [set(other.reflection.split(" and ")) for other in found]
    seen = [pair.scene, *(other.corrected for other in found)]
    return set(pair.reflection.split(" and ")) not in said and pair.corrected not in seen


def _too_few(siblings: int) -> InputError:
    return InputError(
        f"editing.siblings={siblings} is too many: none of {_SCENES} pictures in a row has that "
        "many different corrections. Give fewer, or sets of more families."
    )


class ShapeEdits:
    """Scenes with flaws put in, and with what the reflection says fixed; by number, without end.

    Their prompts are of the named family, or of all. `siblings` of them, one after the other, show
    the same flawed scene.
    """

    def __init__(self, seed: int, family: str = "", siblings: int = 1) -> None:
        self.seed, self.skipped, self.siblings = seed, Counter[str](), siblings
        self.families = families_of(family)

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> Edit:
        scene, number = divmod(index, self.siblings)
        rng = np.random.default_rng([self.seed, scene])
        for _ in range(_SCENES):
            prompt, spec = any_prompt(rng, self.families)
            pair = pair_of(prompt, spec, flawed(compose(spec, rng), rng), rng)
            if pair is None or pair.corrected == pair.scene:
                continue
            if pairs := siblings_of(pair, spec, self.siblings, self.families, rng):
                chosen = pairs[number]
                return _edit(Image.fromarray(render(chosen.scene)), chosen)
        raise _too_few(self.siblings)


class DraftEdits:
    """Pictures that a model painted wrong, and the same with what the reflection says fixed.

    `siblings` of them, one after the other, show the same picture.
    """

    def __init__(
        self, seed: int, build: Callable[[], Painter], family: str = "", siblings: int = 1
    ) -> None:
        self.seed, self.build, self.skipped = seed, build, Counter[str]()
        self.families, self.siblings = families_of(family), siblings
        self._held: tuple[int, list[Edit]] = (-1, [])

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, index: int) -> Edit:
        block, place = divmod(index, _BLOCK * self.siblings)
        if self._held[0] != block:
            self._held = (block, self._painted(np.random.default_rng([self.seed, block])))
        return self._held[1][place]

    @cached_property
    def _generator(self) -> Painter:
        return self.build()

    def _painted(self, rng: np.random.Generator) -> list[Edit]:
        edits: list[Edit] = []
        tried = 0  # pictures since the last that served
        while len(edits) < _BLOCK * self.siblings:
            if tried >= _SCENES:
                raise _too_few(self.siblings)
            tried += _BATCH
            asked = [any_prompt(rng, self.families) for _ in range(_BATCH)]
            seeds = rng.integers(2**32, size=_BATCH).tolist()
            requests = [
                Request(seed, prompt) for seed, (prompt, _) in zip(seeds, asked, strict=True)
            ]
            pictures = self._generator.paint(requests)
            for (prompt, spec), picture in zip(asked, pictures, strict=True):
                scene = detect(picture)
                if hides_what_is_right(picture, scene, spec):
                    continue
                pair = pair_of(prompt, spec, scene, rng)
                pairs = pair and siblings_of(pair, spec, self.siblings, self.families, rng)
                edits += [_edit(picture, each) for each in pairs or ()]
                tried = 0 if pairs else tried
        return edits[: _BLOCK * self.siblings]


def hides_what_is_right(picture: Image.Image, scene: Scene, spec: Spec) -> bool:
    """Whether a piece of several colours hides a thing that the prompt asks for.

    Things that touch are detected as one blob. To turn the blob into something else would take what
    is right away, which no reflection says.
    """
    if all(thing.colour != BLOB for thing in scene):
        return False
    seen = {(thing.shape, thing.colour) for thing in scene}
    hidden = {(group.shape, group.colour) for group in spec.groups if group.colour} - seen
    return any(
        (thing.shape, thing.colour) in hidden
        for colour in {colour for _, colour in hidden}
        for thing in detect(_only(picture, colour))
    )


def _only(picture: Image.Image, colour: str) -> Image.Image:
    """The picture without what is not of that colour."""
    pixels = np.asarray(picture, np.float32)
    palette = np.array([COLOURS[colour], GROUND, *COLOURS.values()], np.float32)
    apart = np.linalg.norm(pixels[..., None, :] - palette, axis=-1)
    return Image.fromarray(np.where(apart.argmin(-1)[..., None] == 0, pixels, GROUND).astype("u1"))


def _edit(picture: Image.Image, pair: ScenePair) -> Edit:
    after = Image.fromarray(render(pair.corrected))
    return Edit(picture, after, pair.reflection, pair.prompt)


def families_of(family: str) -> tuple[str, ...]:
    """That family of prompts, or all where it is ""; InputError for one that there is not."""
    if family and family not in FAMILIES:
        raise InputError(
            f"There is no family of prompts named {family!r}. Choose among: {', '.join(FAMILIES)}."
        )
    return (family,) if family else FAMILIES
