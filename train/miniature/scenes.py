"""Training data of the miniature: scenes for a prompt, flaws, repairs, and the texts that go with
them. Everything is drawn from the grammar's training side; nothing that a held-out prompt means is
ever asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np

from reflectionflow_core.miniature.detector import BLOB
from reflectionflow_core.miniature.evolver import as_told, is_sized, layout
from reflectionflow_core.miniature.judge import Fault, faults, holds, relations_of
from reflectionflow_core.miniature.prompts import (
    BETWEEN,
    FAMILIES,
    RELATIONS,
    TEMPLATES,
    Relation,
    ShapeGroup,
    Spec,
    is_held_out,
    sides,
    spec_of,
)
from reflectionflow_core.miniature.world import (
    COLOURS,
    RADIUS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    is_free,
    random_position,
)

# What the base never sees painted: as FLUX is weak at what its pictures seldom showed. The VAE, the
# text encoders and the corrector see all.
RARE = {("circle", "yellow"), ("square", "green"), ("triangle", "purple"), ("cross", "red")}
_CLEARER = {"cosine": 0.6, "apart": 0.65}  # scenes keep a margin over the judge's rules
_MOST = 7  # things in a picture
_TRIES = 40  # at random places, until there is no room


def any_prompt(rng: np.random.Generator, families: Sequence[str] = FAMILIES) -> tuple[str, Spec]:
    """A training prompt: first a family, then one of its meanings and one of its texts."""
    side = sides(families[int(rng.integers(len(families)))], held_out=False)
    spec = side[int(rng.integers(len(side)))]
    return any_wording(spec, rng), spec


def any_wording(spec: Spec, rng: np.random.Generator) -> str:
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(spec)


def training_layout(scene: Scene, spec: Spec) -> str | None:
    """The layout of a training prompt's scene, or None where a held-out prompt asks for just what
    the scene shows: two circles that happen to be red are not told as two red circles, nor a circle
    and a square that happen to be side by side where that is asked of them.
    """
    sized = is_sized(spec)
    kinds = tuple(
        ShapeGroup(1, thing.shape, thing.colour, thing.size if sized else None) for thing in scene
    )
    said = (spec_of(kinds, (relation,)).meaning for relation in _told_relations(scene))
    if is_held_out(spec_of(kinds)) or any(meaning in measured_meanings() for meaning in said):
        return None
    return layout(scene, sized)


@cache
def measured_meanings() -> frozenset[str]:
    """What the held-out prompts of the grammar ask for."""
    return frozenset(spec.meaning for family in FAMILIES for spec in sides(family, held_out=True))


def _told_relations(scene: Scene) -> Iterator[Relation]:
    """Every relation that the layout of a scene says."""
    told = list(map(as_told, scene))
    for name in RELATIONS:
        for numbers in permutations(range(len(told)), 3 if name == BETWEEN else 2):
            subject, *objects = (told[number] for number in numbers)
            if holds(name, subject, tuple(objects)):
                yield Relation(name, numbers[0], numbers[1:])


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
            thing = _located(_any_thing(rng, group, crowded=len(wanted) > 2), scene, rng)
            if thing is None:
                break
            scene += (thing,)
        if len(scene) == len(wanted) and _in_place(scene, spec):
            return scene


def flawed(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one to three flaws: wrong colours, shapes and sizes, things missing, extra,
    moved.
    """
    for _ in range(rng.integers(1, 4)):
        scene = _FLAWS[rng.integers(len(_FLAWS))](scene, rng)
    return scene


def repaired(scene: Scene, spec: Spec, rng: np.random.Generator) -> tuple[Scene, tuple[Fault, ...]]:
    """The nearest scene that meets `spec`, and the faults that were fixed on the way."""
    found = faults(scene, spec)
    for _ in range(5):
        right = tuple(_with_a_colour(thing, rng) for thing in scene)
        for _ in range(2 * len(found)):  # to fix one may bring up another
            if not (left := faults(right, spec)):
                return right, found
            right = fix(right, left[0], rng)
        if not faults(right, spec):
            return right, found
    return compose(spec, rng), found


def _with_a_colour(thing: Thing, rng: np.random.Generator) -> Thing:
    """The thing itself, or drawn in one colour where it was seen in several."""
    return replace(thing, colour=_any_colour(rng)) if thing.colour == BLOB else thing


def fix(scene: Scene, fault: Fault, rng: np.random.Generator) -> Scene:
    """The scene with one fault fixed, everything else left where it is.

    The fault may be of an earlier state of the scene: its things are found by their places, and
    where one of them is elsewhere by now, nothing is done.
    """
    thing = fault.thing and _at(scene, fault.thing)
    beside = tuple(there for each in fault.beside if (there := _at(scene, each)))
    if (fault.thing and not thing) or len(beside) < len(fault.beside):
        return scene
    fault = replace(fault, thing=thing, beside=beside)
    if thing is None:
        return _added(scene, fault, rng)
    others = _without(scene, thing)
    if fault.wanted is None:
        return others
    if beside:
        return _moved(scene, fault, rng)
    mended = _as_wanted(thing, fault.wanted, rng)
    if mended.radius > thing.radius and not is_free(others, mended.x, mended.y, mended.radius):
        located = _located(mended, others, rng)  # it has no room to grow where it is
        return (*others, located) if located else scene
    return tuple(mended if each is thing else each for each in scene)


def _at(scene: Scene, thing: Thing) -> Thing | None:
    return next((each for each in scene if (each.x, each.y) == (thing.x, thing.y)), None)


def _without(scene: Scene, thing: Thing) -> Scene:
    return tuple(each for each in scene if each is not thing)


def _as_wanted(thing: Thing, wanted: ShapeGroup, rng: np.random.Generator) -> Thing:
    colour = wanted.colour or thing.colour
    while colour in (BLOB, wanted.but_not):
        colour = _any_colour(rng)
    radius = float(np.clip(thing.radius, SIZES["small"][0], SIZES["big"][1]))
    if wanted.size not in (None, thing.size):
        radius = float(rng.uniform(*SIZES[wanted.size]))
    return replace(thing, shape=wanted.shape, colour=colour, radius=radius)


def _added(scene: Scene, fault: Fault, rng: np.random.Generator) -> Scene:
    """The scene with what is missing, where the fault says it belongs; the scene alone where there
    is no room.
    """
    added = _any_thing(rng, fault.wanted or ShapeGroup(1, "circle"), crowded=len(scene) > 1)
    located = _located(added, scene, rng)
    if located is None:
        return scene
    placed = replace(fault, thing=located)
    return _moved((*scene, located), placed, rng) if fault.beside else (*scene, located)


def _moved(scene: Scene, fault: Fault, rng: np.random.Generator) -> Scene:
    """The scene with a thing moved to where the fault says it belongs. Where there is no room for
    it, what it belongs to is moved, or both; where there is none for that either, nothing is.
    """
    related = [thing for thing in (fault.thing, *fault.beside) if thing]
    for moving in (*([thing] for thing in related), related):
        rest = tuple(thing for thing in scene if thing not in moving)
        for _ in range(_TRIES):
            if (placed := _all_located(moving, rest, rng)) is None:
                break
            new = dict(zip(moving, placed, strict=True))
            subject, *objects = (new.get(thing, thing) for thing in related)
            if holds(fault.relation or "", subject, tuple(objects), **_CLEARER):
                return (*rest, *placed)
    return scene


def _all_located(things: Sequence[Thing], scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The things at free places beside those of `scene`; None where there is no room."""
    placed: Scene = ()
    for thing in things:
        if (located := _located(thing, (*scene, *placed), rng)) is None:
            return None
        placed = (*placed, located)
    return placed


def _in_place(scene: Scene, spec: Spec) -> bool:
    return all(
        holds(r.name, scene[r.subject], tuple(scene[i] for i in r.objects), **_CLEARER)
        for r in relations_of(spec)
    )


def _located(thing: Thing, scene: Scene, rng: np.random.Generator) -> Thing | None:
    place = random_position(scene, thing.radius, rng)
    return replace(thing, x=place[0], y=place[1]) if place else None


def _any_colour(rng: np.random.Generator) -> str:
    return tuple(COLOURS)[rng.integers(len(COLOURS))]


def _any_thing(
    rng: np.random.Generator, group: ShapeGroup | None = None, crowded: bool = False
) -> Thing:
    shape = group.shape if group else SHAPES[rng.integers(len(SHAPES))]
    colour = (group.colour if group else None) or _any_colour(rng)
    while group and colour == group.but_not:
        colour = _any_colour(rng)
    low, high = SIZES[group.size] if group and group.size else RADIUS
    if crowded and not (group and group.size):
        high -= 2
    return Thing(shape, colour, 0.0, 0.0, float(rng.uniform(low, high)))


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
    thing = _located(_any_thing(rng, crowded=True), scene, rng)
    return (*scene, thing) if thing and len(scene) < _MOST else scene


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
    moved = _located(scene[index], others, rng)
    return (*others, moved) if moved else scene


def _resize(scene: Scene, rng: np.random.Generator) -> Scene:
    if not scene:
        return scene
    index = rng.integers(len(scene))
    others = (*scene[:index], *scene[index + 1 :])
    low, high = (*SIZES.values(), RADIUS)[rng.integers(3)]
    resized = replace(scene[index], radius=float(rng.uniform(low, high)))
    if not is_free(others, resized.x, resized.y, resized.radius):
        located = _located(resized, others, rng)
        return (*others, located) if located else scene
    return (*scene[:index], resized, *scene[index + 1 :])


_FLAWS = (_recolour, _reshape, _drop, _add, _swap, _move, _resize)
