"""The miniature's inspector: reads an unfinished picture by rules, and knows what is to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Inspection, Stage
from ..writers.template import TemplateWriter
from .detector import detect
from .judge import Fault, assign, distance, faults, in_words, items_of
from .prompts import Spec, parse
from .world import Scene, Thing

WRITER = TemplateWriter()
FOREIGN = 2  # the distance of a thing that has neither the shape nor the colour


class ExactInspector:
    """Accepts exactly the pictures that show what is due, and beyond it only what is still to come.

    What a stage declares beyond the prompt counts as asked by nobody. A further thing with the
    shape or the colour of one of a later stage is taken for that: it is right, or drawn wrong.
    """

    calls = 0

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]:
        """InputError where prompt or objects are not the miniature's."""
        del progress  # takes a millisecond a picture
        whole = parse(prompt)
        return [
            _inspection(detect(image), *_divided(whole, stage))
            for stage, image in zip(stages, images, strict=True)
        ]


def _divided(whole: Spec, stage: Stage) -> tuple[Spec, Spec]:
    """What of a prompt is due by a stage, and what is not."""
    asked = Counter(items_of(whole))
    declared = (item for text in stage.objects for item in items_of(parse(text)))
    due = Counter(declared) & asked
    rest = asked - due
    if not rest:
        return whole, Spec("", ())
    return Spec("", tuple(due.elements())), Spec("", tuple(rest.elements()))


def _inspection(scene: Scene, due: Spec, rest: Spec) -> Inspection:
    found = faults(scene, due)
    beyond = tuple(fault.thing for fault in found if fault.wanted is None and fault.thing)
    begun = _begun(beyond, rest)
    found = [f for f in found if f.wanted is not None or f.thing not in begun.values()]
    items = items_of(rest)
    # What is there before its time may be drawn wrong all the same.
    found += [Fault(thing, items[i]) for i, thing in begun.items() if distance(thing, items[i])]
    wrong = tuple(fault.unmet for fault in found if fault.thing is not None)
    missing = tuple(fault.unmet for fault in found if fault.thing is None)
    seen = ", ".join(map(in_words, scene)) or "nothing"
    return Inspection(
        accepted=not found,
        wrong=wrong,
        missing=missing,
        later=tuple(str(item) for i, item in enumerate(items) if i not in begun),
        refine=WRITER.write([*wrong, *missing]),
        explanation=f"The picture shows: {seen}.",
    )


def _begun(beyond: Scene, rest: Spec) -> dict[int, Thing]:
    """What is there already of later things, by their numbers."""
    items = items_of(rest)
    seats = assign(beyond, rest)
    return {
        number: beyond[seat]
        for number, seat in enumerate(seats)
        if seat is not None and distance(beyond[seat], items[number]) < FOREIGN
    }
