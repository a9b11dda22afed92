"""Training data of the miniature: scenes for a prompt, flaws, repairs, and the texts that go with
them. Everything is drawn from the grammar's training side; held-out prompts never occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reflectionflow_core.miniature.detector import BLOB
from reflectionflow_core.miniature.judge import Fault, faults, holds
from reflectionflow_core.miniature.prompts import FAMILIES, ShapeGroup, Spec, prompts
from reflectionflow_core.miniature.world import (
    COLOURS,
    RADIUS,
    SHAPES,
    Scene,
    Thing,
    random_position,
)

# What the base never sees painted: as FLUX is weak at what its pictures seldom showed. The VAE, the
# text encoders and the corrector see all.
RARE = {("circle", "yellow"), ("square", "green"), ("triangle", "purple")}
_CLEARER = 0.6  # scenes keep a margin over the judge's rule for positions


def any_prompt(rng: np.random.Generator, families: Sequence[str] = FAMILIES) -> tuple[str, Spec]:
    """A training prompt: first a family, then one of its texts."""
    side = prompts(families[int(rng.integers(len(families)))], held_out=False)
    return side[int(rng.integers(len(side)))]


def common_scene(rng: np.random.Generator) -> tuple[Spec, Scene]:
    """A training prompt's meaning and a scene that shows it, without anything RARE."""
    while True:
        _, spec = any_prompt(rng)
        if RARE & {(group.shape, group.colour) for group in spec.groups}:
            continue
        scene = compose(spec, rng)
        if not RARE & {(thing.shape, thing.colour) for thing in scene}:
            return spec, scene


def compose(spec: Spec, rng: np.random.Generator) -> Scene:
    """A random scene that shows exactly what `spec` asks."""
    wanted = [group for group in spec.groups for _ in range(group.count)]
    while True:
        scene: Scene = ()
        for group in wanted:
            thing = _placed(_any_thing(rng, group, crowded=len(wanted) > 2), scene, rng)
            if thing is None:
                break
            scene += (thing,)
        if len(scene) == len(wanted) and _in_order(scene, spec):
            return scene


def flawed(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one to three flaws: wrong colours and shapes, things missing, extra, moved."""
    for _ in range(rng.integers(1, 4)):
        scene = _FLAWS[rng.integers(len(_FLAWS))](scene, rng)
    return scene


def repaired(scene: Scene, spec: Spec, rng: np.random.Generator) -> tuple[Scene, tuple[Fault, ...]]:
    """The nearest scene that meets `spec`, and the faults that were fixed on the way."""
    found = faults(scene, spec)
    for _ in range(40):
        right = scene
        for fault in found:
            right = fix(right, fault, rng)
        right = tuple(_with_a_colour(thing, rng) for thing in right)
        if not faults(right, spec):
            return right, found
    return compose(spec, rng), found


def _with_a_colour(thing: Thing, rng: np.random.Generator) -> Thing:
    """The thing itself, or drawn in one colour where it was seen in several."""
    return replace(thing, colour=_any_colour(rng)) if thing.colour == BLOB else thing


def fix(scene: Scene, fault: Fault, rng: np.random.Generator) -> Scene:
    """The scene with one fault fixed, everything else left where it is."""
    others = tuple(thing for thing in scene if thing is not fault.thing)
    if fault.thing is None:
        added = _any_thing(rng, fault.wanted or ShapeGroup(1, "circle"), crowded=len(scene) > 1)
        return _with(scene, added, fault, rng)
    if fault.wanted is None:
        return others
    if fault.relation:
        return _with(others, fault.thing, fault, rng)
    colour = fault.wanted.colour or fault.thing.colour
    colour = _any_colour(rng) if colour == BLOB else colour
    radius = float(np.clip(fault.thing.radius, *RADIUS))
    return tuple(
        replace(thing, shape=fault.wanted.shape, colour=colour, radius=radius)
        if thing is fault.thing
        else thing
        for thing in scene
    )


def _with(scene: Scene, thing: Thing, fault: Fault, rng: np.random.Generator) -> Scene:
    for _ in range(20):
        placed = _placed(thing, scene, rng)
        if placed is None:
            break
        if not fault.relation or fault.beside is None:
            return (*scene, placed)
        if holds(fault.relation, placed, fault.beside, _CLEARER):
            return (*scene, placed)
    return scene


def _in_order(scene: Scene, spec: Spec) -> bool:
    return spec.relation is None or holds(spec.relation, scene[0], scene[1], _CLEARER)


def _placed(thing: Thing, scene: Scene, rng: np.random.Generator) -> Thing | None:
    place = random_position(scene, thing.radius, rng)
    return replace(thing, x=place[0], y=place[1]) if place else None


def _any_colour(rng: np.random.Generator) -> str:
    return tuple(COLOURS)[rng.integers(len(COLOURS))]


def _any_thing(
    rng: np.random.Generator, group: ShapeGroup | None = None, crowded: bool = False
) -> Thing:
    shape = group.shape if group else SHAPES[rng.integers(len(SHAPES))]
    colour = (group.colour if group else None) or _any_colour(rng)
    radius = rng.uniform(RADIUS[0], RADIUS[1] - 2 * crowded)
    return Thing(shape, colour, 0.0, 0.0, float(radius))


def _changed(scene: Scene, rng: np.random.Generator, **new: str) -> Scene:
    index = rng.integers(len(scene))
    return (*scene[:index], replace(scene[index], **new), *scene[index + 1 :])


def _recolour(scene: Scene, rng: np.random.Generator) -> Scene:
    return _changed(scene, rng, colour=_any_colour(rng)) if scene else scene


def _reshape(scene: Scene, rng: np.random.Generator) -> Scene:
    return _changed(scene, rng, shape=SHAPES[rng.integers(len(SHAPES))]) if scene else scene


def _drop(scene: Scene, rng: np.random.Generator) -> Scene:
    index = rng.integers(len(scene)) if scene else 0
    return (*scene[:index], *scene[index + 1 :])


def _add(scene: Scene, rng: np.random.Generator) -> Scene:
    thing = _placed(_any_thing(rng, crowded=True), scene, rng)
    return (*scene, thing) if thing and len(scene) < 5 else scene


def _swap(scene: Scene, rng: np.random.Generator) -> Scene:
    if len(scene) < 2:
        return _recolour(scene, rng)
    first, second, *rest = scene
    swapped = (
        replace(first, x=second.x, y=second.y, radius=second.radius),
        replace(second, x=first.x, y=first.y, radius=first.radius),
    )
    return (*swapped, *rest)


def _move(scene: Scene, rng: np.random.Generator) -> Scene:
    if not scene:
        return scene
    index = rng.integers(len(scene))
    others = (*scene[:index], *scene[index + 1 :])
    moved = _placed(scene[index], others, rng)
    return (*others, moved) if moved else scene


_FLAWS = (_recolour, _reshape, _drop, _add, _swap, _move)
