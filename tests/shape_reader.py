"""The truth of a statement about a picture of coloured shapes, read from its pixels."""

from __future__ import annotations

import re
from itertools import product

from PIL.Image import Image

from reflectionflow_core.detection.words import NUMBERS
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.judge import distance, holds
from reflectionflow_core.miniature.prompts import ShapeGroup, Spec
from reflectionflow_core.miniature.world import Scene, Thing

THING = r"an? (?:(\w+) )?(circle|square|triangle|cross)"
RELATION = r"(?:to the )?(left of|right of|above|below)"


def is_true(statement: str, picture: Image) -> bool:
    """Raises ValueError for a statement that is not about shapes."""
    scene = detect(picture)
    said = statement.lower().strip(" .")
    if match := re.fullmatch(r"exactly (\w+) (circle|square|triangle|cross)(?:e?s)?", said):
        return sum(thing.shape == match[2] for thing in scene) == NUMBERS.index(match[1])
    if match := re.fullmatch(THING, said):
        return bool(alike(scene, match[1], match[2]))
    if match := re.fullmatch(rf"{THING} {RELATION} {THING}", said):
        firsts, seconds = alike(scene, match[1], match[2]), alike(scene, match[4], match[5])
        return any(holds(match[3], a, (b,)) for a in firsts for b in seconds)
    if match := re.fullmatch(r"the (\w+) is larger than the (\w+)", said):
        (first,), (second,) = alike(scene, None, match[1]), alike(scene, None, match[2])
        return first.radius > second.radius
    if match := re.fullmatch(r"the (\w+) is (\w+)", said):
        found = alike(scene, None, match[1])
        return bool(found) and all(thing.colour == match[2] for thing in found)
    if match := re.fullmatch(rf"the (\w+) is {RELATION} the (\w+)", said):
        (first,), (second,) = alike(scene, None, match[1]), alike(scene, None, match[3])
        return holds(match[2], first, (second,))
    raise ValueError(f"No statement about shapes: {statement!r}")


def fits(thing: Thing, group: ShapeGroup) -> bool:
    return not distance(thing, group)


def stands(scene: Scene, spec: Spec) -> bool:
    """Whether things of its groups stand to each other as `spec` says."""
    fitting = [[thing for thing in scene if fits(thing, group)] for group in spec.groups]
    return all(
        any(
            holds(r.name, subject, objects)
            for subject in fitting[r.subject]
            for objects in product(*(fitting[i] for i in r.objects))
        )
        for r in spec.relations
    )


def alike(scene: Scene, colour: str | None, shape: str) -> list[Thing]:
    return [thing for thing in scene if thing.shape == shape and colour in (None, thing.colour)]
