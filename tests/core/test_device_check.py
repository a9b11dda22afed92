"""The check of a detector on its device: one that does not work may not report."""

from __future__ import annotations

import pytest
from core.exact_detector import ShapesColours, ShapesDetector
from PIL import Image

from reflectionflow_core.detection.device_check import MIN_AGREED, PICTURES, check_device, spread
from reflectionflow_core.detection.examiner import Examiner
from reflectionflow_core.detection.rules import Need, Task
from reflectionflow_core.miniature.world import Thing, render
from reflectionflow_core.record import InputError

SCENE = (Thing("circle", "red", 20, 20, 9), Thing("square", "blue", 44, 44, 9))
PICTURE = Image.fromarray(render(SCENE))
RED_CIRCLE = Task("colors", (Need("circle", 1, "red"),))
SHOWN = [(RED_CIRCLE, PICTURE)] * 4


def examiner(blur: float = 0.0, blind: bool = False, colours=None) -> Examiner:
    return Examiner(ShapesDetector(blur, blind), colours or ShapesColours())


def test_who_sees_what_was_asked_may_report() -> None:
    alone = check_device(examiner(), None, SHOWN, "cpu")
    assert (alone.device, alone.pictures, alone.seen, alone.agreed) == ("cpu", 4, 1.0, None)
    assert check_device(examiner(), examiner, SHOWN, "cuda").agreed == 1.0


def test_a_detector_that_finds_nothing_may_not_report() -> None:
    with pytest.raises(InputError, match="finds something that was asked for in 0% of 4 pictures"):
        check_device(examiner(blind=True), None, SHOWN, "cpu")
    both = examiner(blind=True)
    with pytest.raises(InputError, match="it does not work, or the pictures show nothing"):
        check_device(both, lambda: both, SHOWN, "cuda")


def test_a_device_that_blinds_the_detector_is_told_from_pictures_of_nothing() -> None:
    with pytest.raises(InputError, match="On cuda the detector gives 0% of the answers"):
        check_device(examiner(blind=True), examiner, SHOWN, "cuda")
    nothing = Image.new("RGB", PICTURE.size, "white")
    with pytest.raises(InputError, match="the pictures show nothing"):
        check_device(examiner(), examiner, [(RED_CIRCLE, nothing)] * 4, "cuda")


def test_a_device_that_sees_less_clearly_is_refused_before_it_is_blind() -> None:
    """Every thing is still found, but its score has moved from 0.95 to 0.65."""
    with pytest.raises(InputError, match="--device cpu"):
        check_device(examiner(blur=0.3), examiner, SHOWN, "cuda")
    assert check_device(examiner(blur=0.05), examiner, SHOWN, "cuda").agreed == 1.0


def test_what_only_the_reference_finds_counts_against_the_device() -> None:
    half = [*SHOWN, (Task("two_object", (Need("square"),)), PICTURE)]

    class OneEyed(ShapesDetector):
        def detect(self, images, names, progress=None):
            return [
                [t for t in found if t.name == "circle"] for found in super().detect(images, names)
            ]

    with pytest.raises(InputError, match="On cuda"):
        check_device(Examiner(OneEyed(), ShapesColours()), examiner, half[3:], "cuda")


def test_colours_are_compared_too() -> None:
    class Colourblind(ShapesColours):
        def colours(self, image, things):
            return ["brown" for _ in things]

    with pytest.raises(InputError, match=f"{MIN_AGREED:.0%} are needed"):
        check_device(examiner(colours=Colourblind()), examiner, SHOWN, "cuda")


def test_a_few_unfound_things_do_not_matter() -> None:
    nothing = Image.new("RGB", PICTURE.size, "white")
    few = [*SHOWN[:1], *[(RED_CIRCLE, nothing)] * 3]
    assert check_device(examiner(), examiner, few, "cuda").seen == 0.25


def test_the_pictures_looked_at_are_of_every_part_of_the_benchmark() -> None:
    assert spread(553)[0] == 0 and spread(553)[-1] > 500 and len(spread(553)) == PICTURES
    assert spread(3) == [0, 1, 2]
