"""The miniature's inspector: compares an unfinished picture with the plan, by rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Inspection, Stage
from ..writers.template import TemplateWriter
from .detector import detect
from .judge import Fault, assign, distance, faults, in_words, items_of
from .prompts import ShapeGroup, Spec, parse
from .world import Scene, Thing

WRITER = TemplateWriter()


class ExactInspector:
    """Accepts pictures that show all that is due by the stage, and else only things of later ones.

    What a stage declares but the prompt does not ask for is ignored. An extra thing with the shape
    or the colour of a later stage's thing counts as that thing, right or wrong.
    """

    calls = 0

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]:
        """Raises InputError if prompt or objects are outside the miniature's grammar."""
        del progress  # takes a millisecond a picture
        whole = parse(prompt)
        return [
            _inspection(detect(image), *_divided(whole, stage))
            for stage, image in zip(stages, images, strict=True)
        ]


def _divided(whole: Spec, stage: Stage) -> tuple[Spec, Spec]:
    """What a prompt asks for by this stage, and what after it."""
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
    # A thing of a later stage may be there already, and be wrong.
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
    """The things of later stages that are there already, by the index of their item."""
    items = items_of(rest)
    assigned = assign(beyond, rest)
    return {
        number: beyond[index]
        for number, index in enumerate(assigned)
        if index is not None and _is_like(beyond[index], items[number])
    }


def _is_like(thing: Thing, item: ShapeGroup) -> bool:
    """Whether a thing has the shape or the colour that is asked for."""
    return thing.shape == item.shape or item.colour in (None, thing.colour)
