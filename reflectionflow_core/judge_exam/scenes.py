"""Drawn scenes of a few coloured shapes, each with a true and a false statement."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from ..judge_errors import COLOUR, KINDS, NUMBER, OTHER, POSITION, THING
from ..miniature.judge import holds
from ..miniature.settings import SIZE
from ..miniature.world import (
    COLOURS,
    GROUND,
    RADIUS,
    SHAPES,
    Scene,
    Thing,
    coverage,
    random_position,
)
from .items import SCENE, ExamItem
from .wording import OPPOSITE, exactly, one, other_colours, placed

SIDE = 448  # pixels of a drawn picture
MOST = 5  # shapes of a kind that are to be counted
CLEAR = 0.8  # cosine between an offset and its direction; GenEval asks for 0.5
SMALL, LARGE = 7.0, 11.0  # radii that are told apart, in 64ths of a side
TRIES = 200  # scenes that may not fit into the picture


def scene_items(kind: str, rng: np.random.Generator) -> list[ExamItem]:
    """A true and a false statement about one drawn scene."""
    for _ in range(TRIES):
        made = _MAKERS[kind](rng)
        if made is not None:
            scene, right, wrong = made
            picture = partial(drawn, scene)
            group = f"scene {rng.integers(2**62)}"
            return [
                ExamItem(picture, right, True, kind, SCENE, group=group),
                ExamItem(picture, wrong, False, kind, SCENE, group=group),
            ]
    raise AssertionError(f"{TRIES} scenes for {kind} did not fit into the picture")


def drawn(scene: Scene, side: int = SIDE) -> Image.Image:
    """The picture of a scene, (side, side) pixels; lengths in `scene` are those of 64 pixels."""
    scale = side / SIZE
    picture = np.full((side, side, 3), GROUND, np.float32)
    for thing in scene:
        where = (thing.x * scale, thing.y * scale, thing.radius * scale)
        alpha = coverage(thing.shape, *where, side)[..., None]
        picture += alpha * (np.array(COLOURS[thing.colour], np.float32) - picture)
    return Image.fromarray(np.rint(picture).astype(np.uint8))


Made = tuple[Scene, str, str] | None  # a scene, what holds and what does not; None: it did not fit


def _thing(rng: np.random.Generator) -> Made:
    there, extra, absent = rng.permutation(SHAPES)[:3]
    shapes = [there] * int(rng.integers(1, 3)) + [extra] * int(rng.integers(0, 2))
    scene = _scattered([(shape, _colour(rng)) for shape in shapes], rng)
    return _made(scene, one(str(there)), one(str(absent)))


def _number(rng: np.random.Generator) -> Made:
    shape, other = map(str, rng.permutation(SHAPES)[:2])
    count = int(rng.integers(1, MOST + 1))
    others = [(other, _colour(rng))] * int(count < MOST and rng.integers(0, 2))
    scene = _scattered([(shape, _colour(rng)) for _ in range(count)] + others, rng)
    wrong = count + (1 if count == 1 else int(rng.choice((-1, 1))))
    return _made(scene, exactly(count, shape), exactly(wrong, shape))


def _colours(rng: np.random.Generator) -> Made:
    shape, other = map(str, rng.permutation(SHAPES)[:2])
    colour = _colour(rng)
    wrong = str(rng.choice([c for c in other_colours(colour) if c in COLOURS]))
    # The other shape has the wrong colour, so that only who looks at the right one is right.
    scene = _scattered([(shape, colour), (other, wrong)], rng)
    return _made(scene, one(shape, colour), one(shape, wrong))


def _position(rng: np.random.Generator) -> Made:
    first, second = map(str, rng.permutation(SHAPES)[:2])
    scene = _scattered([(first, _colour(rng)), (second, _colour(rng))], rng)
    if scene is None:
        return None
    clear = [relation for relation in OPPOSITE if holds(relation, scene[0], scene[1:], CLEAR)]
    if not clear:
        return None
    said = f"{scene[0].colour} {first}", f"{scene[1].colour} {second}"
    right, wrong = clear[0], OPPOSITE[clear[0]]
    return scene, placed(said[0], right, said[1]), placed(said[0], wrong, said[1])


def _size(rng: np.random.Generator) -> Made:
    first, second = map(str, rng.permutation(SHAPES)[:2])
    things = [(first, _colour(rng)), (second, _colour(rng))]
    radii = [LARGE, SMALL] if rng.integers(2) else [SMALL, LARGE]
    scene = _scattered(things, rng, radii)
    larger, smaller = (first, second) if radii[0] == LARGE else (second, first)
    said = "the {} is larger than the {}"
    return _made(scene, said.format(larger, smaller), said.format(smaller, larger))


_MAKERS: dict[str, Callable[[np.random.Generator], Made]] = {
    THING: _thing,
    NUMBER: _number,
    COLOUR: _colours,
    POSITION: _position,
    OTHER: _size,
}
assert tuple(_MAKERS) == KINDS


def _made(scene: Scene | None, right: str, wrong: str) -> Made:
    return None if scene is None else (scene, right, wrong)


def _colour(rng: np.random.Generator) -> str:
    return str(rng.choice(list(COLOURS)))


def _scattered(
    things: list[tuple[str, str]], rng: np.random.Generator, radii: list[float] | None = None
) -> Scene | None:
    """Things at free places; None if one does not fit."""
    scene: Scene = ()
    for index, (shape, colour) in enumerate(things):
        radius = radii[index] if radii else float(rng.uniform(*RADIUS))
        place = random_position(scene, radius, rng)
        if place is None:
            return None
        scene = (*scene, Thing(str(shape), colour, *place, radius))
    return scene
