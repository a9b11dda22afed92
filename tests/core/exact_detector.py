"""An exact detector and colour reader of shapes, in place of learned ones."""

from __future__ import annotations

from collections.abc import Sequence

from PIL.Image import Image

from reflectionflow_core.detection.rules import OFFICIAL, Detection, DetectionLimits
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.settings import SIZE
from reflectionflow_core.miniature.world import SHAPES
from reflectionflow_core.protocols import SILENT, Progress

SURE = 0.95


class ShapesDetector:
    """Sees every shape; with `blur` it is that much less sure, and with `blind` it sees nothing."""

    limits: DetectionLimits = OFFICIAL
    vocabulary = SHAPES

    def __init__(self, blur: float = 0.0, blind: bool = False) -> None:
        self.blur, self.blind = blur, blind

    def detect(
        self, images: Sequence[Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        return [self._seen(image, names) for image in images]

    def _seen(self, image: Image, names: Sequence[str]) -> list[Detection]:
        scene = () if self.blind else detect(image)
        x, y = image.width / SIZE, image.height / SIZE
        return [
            Detection(
                thing.shape,
                SURE - self.blur,
                (
                    x * (thing.x - thing.radius),
                    y * (thing.y - thing.radius),
                    x * (thing.x + thing.radius),
                    y * (thing.y + thing.radius),
                ),
            )
            for thing in scene
            if thing.shape in names
        ]


class ShapesColours:
    """Reads the colour of the shape that stands where the thing does."""

    def colours(self, image: Image, things: Sequence[Detection]) -> list[str]:
        scene = detect(image)
        centres = [((t.box[0] + t.box[2]) / 2, (t.box[1] + t.box[3]) / 2) for t in things]
        return [
            min(scene, key=lambda thing: (thing.x - x) ** 2 + (thing.y - y) ** 2).colour
            for x, y in centres
        ]


def prompts() -> list[dict]:
    """One prompt for each of GenEval's six tasks."""
    two = [{"class": "circle", "count": 1}, {"class": "square", "count": 1}]
    red = {"class": "circle", "count": 1, "color": "red"}
    place = {**two[1], "position": ["right of", 0]}
    return [
        _prompt("single_object", "a circle", two[:1]),
        _prompt("two_object", "a circle and a square", two),
        {
            **_prompt("counting", "two circles", [{"class": "circle", "count": 2}]),
            "exclude": [{"class": "circle", "count": 3}],
        },
        _prompt("colors", "a red circle", [red]),
        _prompt("position", "a square right of a circle", [two[0], place]),
        _prompt("color_attr", "a red circle and a blue square", [red, {**two[1], "color": "blue"}]),
    ]


def _prompt(tag: str, text: str, include: list[dict]) -> dict:
    return {"tag": tag, "include": include, "prompt": f"a photo of {text}"}
