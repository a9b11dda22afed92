"""What a miniature prompt asks for, requirement by requirement, each of a kind that a judge may err
about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..judge_errors import COLOUR, NUMBER, POSITION, THING
from .judge import Fault, faults
from .prompts import ShapeGroup, Spec
from .world import COLOURS, SHAPES, Scene, Thing

NOTHING_ELSE = "nothing else"


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement of a prompt: `statement` is true of a right picture, `alarm` is what a judge
    says that misses it although it is there."""

    statement: str
    kind: str
    alarm: str


def demands(spec: Spec) -> tuple[Demand, ...]:
    """All requirements of a prompt; a picture that meets them all is right."""
    return (*_of_groups(spec), Demand(NOTHING_ELSE, THING, f"extra {_unasked(spec)}"))


def unmet_demands(scene: Scene, spec: Spec) -> dict[str, list[str]]:
    """The statements that a scene does not meet, each with its faults in words."""
    found: dict[str, list[str]] = {}
    for fault in faults(scene, spec):
        for statement in _broken(fault, spec):
            found.setdefault(statement, []).append(fault.unmet)
    return found


def met_demands(scene: Scene, spec: Spec) -> dict[str, bool]:
    """Every statement, and whether a scene meets it; what is missing has no colour and no place."""
    unmet = unmet_demands(scene, spec)
    absent = [group for group in spec.groups if _there(group) in unmet]
    denied = {*unmet, *map(_coloured, absent), *([_side(spec)] if spec.relation and absent else [])}
    return {demand.statement: demand.statement not in denied for demand in demands(spec)}


def _of_groups(spec: Spec) -> Iterator[Demand]:
    for group in spec.groups:
        item = ShapeGroup(1, group.shape, group.colour)
        yield Demand(_there(group), THING if group.count == 1 else NUMBER, f"missing {item}")
        if group.colour is not None:
            seen = Thing(group.shape, _other(group.colour), 0.0, 0.0, 1.0)
            yield Demand(_coloured(group), COLOUR, Fault(seen, item).unmet)
    if spec.relation:
        first, second = (group.shape for group in spec.groups)
        yield Demand(_side(spec), POSITION, f"{first} is not {spec.relation} the {second}")


def _broken(fault: Fault, spec: Spec) -> Sequence[str]:
    """The statements that one fault makes untrue."""
    thing, wanted = fault.thing, fault.wanted
    if thing is None and wanted is not None:
        return [_there(_group_of(spec, wanted))]
    if wanted is None:
        counted = [g for g in spec.groups if thing and g.count > 1 and g.shape == thing.shape]
        return [_there(counted[0]) if counted else NOTHING_ELSE]
    if fault.beside is not None:
        return [_side(spec)]
    group = _group_of(spec, wanted)
    wrong_shape = thing is not None and thing.shape != wanted.shape
    wrong_colour = thing is not None and wanted.colour not in (None, thing.colour)
    return [
        *([_there(group)] if wrong_shape else []),
        *([_coloured(group)] if wrong_colour else []),
    ]


def _group_of(spec: Spec, wanted: ShapeGroup) -> ShapeGroup:
    return next(g for g in spec.groups if (g.shape, g.colour) == (wanted.shape, wanted.colour))


def _there(group: ShapeGroup) -> str:
    return str(ShapeGroup(group.count, group.shape))


def _coloured(group: ShapeGroup) -> str:
    return f"the {group.shape}{'s are' if group.count > 1 else ' is'} {group.colour}"


def _side(spec: Spec) -> str:
    first, second = (group.shape for group in spec.groups)
    return f"the {first} is {spec.relation} the {second}"


def _unasked(spec: Spec) -> str:
    """A thing that the prompt does not ask for, always the same one."""
    asked = {group.shape for group in spec.groups}
    shape = next((shape for shape in SHAPES if shape not in asked), SHAPES[0])
    return f"{next(iter(COLOURS))} {shape}"


def _other(colour: str) -> str:
    names = list(COLOURS)
    return names[(names.index(colour) + 1) % len(names)]
