"""The shapes world: pictures of a few coloured shapes on a plain ground, drawn exactly.

It knows nothing of prompts and nothing of models; `prompts.py` says what a picture should show and
`detector.py` reads a picture back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .settings import SIZE

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "green": (46, 160, 76),
    "blue": (44, 92, 214),
    "yellow": (243, 196, 36),
    "purple": (150, 68, 182),
    "pink": (244, 130, 190),
    "black": (38, 38, 42),
}
GROUND = (245, 243, 238)
# Half the width of a shape, pixels: of one whose size nobody asked for, and of the two sizes. A
# shape counts as small or big with a margin for a picture that is not quite exact, so some whose
# size nobody asked for count as small.
RADIUS = (6.5, 9.5)
SIZES = {"small": (5.25, 6.25), "big": (10.5, 12.5)}
_SMALL_BELOW, _BIG_ABOVE = 7.25, 9.75
GAP = 3.0  # pixels kept free between two shapes and around the border

# Widths and heights of each shape's bounding box, in radii.
EXTENT = {
    "circle": (1.0, 1.0),
    "square": (0.9, 0.9),
    "triangle": (1.0, 0.9),
    "cross": (1.05, 1.05),
}
CROSS_BAR = 0.36  # half the width of a cross's bars, in radii


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape; `x`, `y` is the centre of its bounding box in pixels, `radius` its half width."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def size(self) -> str | None:
        """ "small", "big", or None for what is neither."""
        if self.radius < _SMALL_BELOW:
            return "small"
        return "big" if self.radius > _BIG_ABOVE else None


Scene = tuple[Thing, ...]


def signed_distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Pixels from the outline of a shape around the origin, negative inside."""
    if shape == "circle":
        return np.hypot(dx, dy) - radius
    width, height = (extent * radius for extent in EXTENT[shape])
    if shape == "square":
        return np.maximum(np.abs(dx) - width, np.abs(dy) - height)
    if shape == "cross":
        x, y, bar = np.abs(dx), np.abs(dy), CROSS_BAR * radius
        return np.minimum(np.maximum(x - width, y - bar), np.maximum(x - bar, y - height))
    slope = np.hypot(width, 2 * height)
    side = (2 * height * np.abs(dx) - width * (dy + height)) / slope
    return np.maximum(side, dy - height)


def coverage(shape: str, x: float, y: float, radius: float, size: int = SIZE) -> np.ndarray:
    """How much of each pixel the shape covers: (size, size), 0 to 1."""
    centres = np.arange(size, dtype=np.float32) + 0.5
    distance = signed_distance(shape, centres[None, :] - x, centres[:, None] - y, radius)
    return np.clip(0.5 - distance, 0.0, 1.0)


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene: (64, 64, 3) uint8, later things over earlier ones."""
    picture = np.full((SIZE, SIZE, 3), GROUND, np.float32)
    for thing in scene:
        alpha = coverage(thing.shape, thing.x, thing.y, thing.radius)[..., None]
        picture += alpha * (np.array(COLOURS[thing.colour], np.float32) - picture)
    return np.rint(picture).astype(np.uint8)


def is_free(scene: Scene, x: float, y: float, radius: float) -> bool:
    """Whether a thing of that radius fits at (x, y), inside the picture and apart from others."""
    edge = radius + GAP
    if not (edge <= x <= SIZE - edge and edge <= y <= SIZE - edge):
        return False
    return all(
        max(abs(thing.x - x), abs(thing.y - y)) >= thing.radius + radius + GAP for thing in scene
    )


def random_position(
    scene: Scene, radius: float, rng: np.random.Generator, tries: int = 60
) -> tuple[float, float] | None:
    """A free position for a thing of that radius, or None after so many `tries`."""
    low, high = radius + GAP, SIZE - radius - GAP
    for x, y in rng.uniform(low, high, (tries, 2)):
        if is_free(scene, x, y, radius):
            return float(x), float(y)
    return None
