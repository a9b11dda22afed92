"""What a miniature prompt asks for, requirement by requirement, each of a kind that a judge may err
about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..judge_errors import COLOUR, NUMBER, OTHER, POSITION, THING
from .judge import Fault, faults
from .prompts import Relation, ShapeGroup, Spec, plural
from .world import COLOURS, RADIUS, SHAPES, SIZES, Scene, Thing

NOTHING_ELSE = "nothing else"


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement of a prompt: `statement` is true of a right picture, `alarm` is what a judge
    says that misses it although it is there."""

    statement: str
    kind: str
    alarm: str


def demands(spec: Spec) -> tuple[Demand, ...]:
    """All requirements of a prompt, each once; a picture that meets them all is right."""
    asked = (*_of_groups(spec), Demand(NOTHING_ELSE, THING, f"extra {_unasked(spec)}"))
    return tuple({demand.statement: demand for demand in reversed(asked)}.values())[::-1]


def unmet_demands(scene: Scene, spec: Spec) -> dict[str, list[str]]:
    """The statements that a scene does not meet, each with its faults in words."""
    found: dict[str, list[str]] = {}
    for fault in faults(scene, spec):
        for statement in _broken(fault, spec):
            found.setdefault(statement, []).append(fault.unmet)
    return found


def met_demands(scene: Scene, spec: Spec) -> dict[str, bool]:
    """Every statement, and whether a scene meets it; what is missing has no colour, size or
    place."""
    unmet = unmet_demands(scene, spec)
    absent = [group for group in spec.groups if _there(group, spec) in unmet]
    denied = {*unmet, *(statement(g, spec) for g in absent for statement in (_coloured, _sized))}
    denied.update(
        _placed(relation, spec)
        for relation in spec.relations
        if any(spec.groups[i] in absent for i in (relation.subject, *relation.objects))
    )
    return {demand.statement: demand.statement not in denied for demand in demands(spec)}


def _of_groups(spec: Spec) -> Iterator[Demand]:
    for group in spec.groups:
        item, seen = replace(group, count=1), _thing_of(group)
        number = _totals(spec)[group.shape]
        missing = ShapeGroup(1, group.shape, group.colour, group.size)
        yield Demand(_there(group, spec), THING if number == 1 else NUMBER, f"missing {missing}")
        if group.colour is not None:
            other = replace(seen, colour=_other(group.colour))
            yield Demand(_coloured(group, spec), COLOUR, Fault(other, item).unmet)
        if group.size is not None:
            other = replace(seen, radius=sum(RADIUS) / 2)
            yield Demand(_sized(group, spec), OTHER, Fault(other, item).unmet)
        if group.but_not is not None:
            other = replace(seen, colour=group.but_not)
            yield Demand(_excepted(group), COLOUR, Fault(other, item).unmet)
    for relation in spec.relations:
        subject, *objects = (spec.groups[i] for i in (relation.subject, *relation.objects))
        beside = tuple(map(_thing_of, objects))
        misplaced = Fault(_thing_of(subject), subject, relation.name, beside)
        yield Demand(_placed(relation, spec), POSITION, misplaced.unmet)


def _broken(fault: Fault, spec: Spec) -> Sequence[str]:
    """The statements that one fault makes untrue."""
    thing, wanted = fault.thing, fault.wanted
    if wanted is None:
        return _broken_by_extra(thing, spec)
    group = next(g for g in spec.groups if replace(g, count=1) == wanted)
    if thing is None:
        return [_there(group, spec)]
    if fault.beside:
        return [
            _placed(relation, spec)
            for relation in spec.relations
            if relation.name == fault.relation
            and replace(spec.groups[relation.subject], count=1) == wanted
        ]
    wrong = {
        _there(group, spec): thing.shape != group.shape,
        _coloured(group, spec): group.colour not in (None, thing.colour),
        _sized(group, spec): group.size not in (None, thing.size),
        _excepted(group): thing.colour == group.but_not,
    }
    return [statement for statement, is_wrong in wrong.items() if is_wrong]


def _broken_by_extra(thing: Thing | None, spec: Spec) -> list[str]:
    """The statements that one thing too many makes untrue: their number, and what is said of all
    of them.
    """
    counted = [group for group in spec.groups if thing and group.shape == thing.shape]
    if not thing or not counted or _totals(spec)[counted[0].shape] == 1:
        return [NOTHING_ELSE]
    of_all = {
        _coloured(g, spec): _is_alone(g, spec) and g.colour not in (None, thing.colour)
        for g in counted
    }
    excepted = {_excepted(g): g.but_not == thing.colour for g in counted}
    wrong = [statement for statement, is_wrong in {**of_all, **excepted}.items() if is_wrong]
    return [_there(counted[0], spec), *wrong]


# ---------------------------------------------------------------- in words


def _there(group: ShapeGroup, spec: Spec) -> str:
    """All things of the group's shape together: "a circle", "three circles"."""
    return str(ShapeGroup(_totals(spec)[group.shape], group.shape))


def _coloured(group: ShapeGroup, spec: Spec) -> str:
    return f"{_named(group, group.shape, spec)} {group.colour}"


def _sized(group: ShapeGroup, spec: Spec) -> str:
    noun = " ".join(filter(None, (group.colour, group.shape)))
    return f"{_named(group, noun, spec)} {group.size}"


def _excepted(group: ShapeGroup) -> str:
    return f"no {group.shape} is {group.but_not}"


def _named(group: ShapeGroup, noun: str, spec: Spec) -> str:
    """ "the circle is", "the circles are", or "a circle is" where the prompt has more of them."""
    if group.count > 1:
        number = "the" if _is_alone(group, spec) else str(group).partition(" ")[0]
        return f"{number} {plural(noun)} are"
    return f"{'the' if _is_alone(group, spec) else 'a'} {noun} is"


def _placed(relation: Relation, spec: Spec) -> str:
    subject, *objects = (
        group.shape if _is_alone(group, spec) else group.noun
        for group in (spec.groups[i] for i in (relation.subject, *relation.objects))
    )
    return f"the {subject} is {relation.name} {' and '.join(f'the {o}' for o in objects)}"


def _is_alone(group: ShapeGroup, spec: Spec) -> bool:
    """Whether no other group has its shape."""
    return _totals(spec)[group.shape] == group.count


def _totals(spec: Spec) -> Counter[str]:
    """How many things of each shape a prompt asks for."""
    totals = Counter[str]()
    for group in spec.groups:
        totals[group.shape] += group.count
    return totals


# ---------------------------------------------------------------- what a judge may see instead


def _thing_of(group: ShapeGroup) -> Thing:
    """A thing as the group asks for it, anywhere."""
    radius = sum(SIZES.get(group.size or "", RADIUS)) / 2
    colour = group.colour or next(c for c in COLOURS if c != group.but_not)
    return Thing(group.shape, colour, 0.0, 0.0, radius)


def _unasked(spec: Spec) -> str:
    """A thing that the prompt does not ask for, always the same one."""
    asked = {group.shape for group in spec.groups}
    shape = next((shape for shape in SHAPES if shape not in asked), SHAPES[0])
    return f"{next(iter(COLOURS))} {shape}"


def _other(colour: str) -> str:
    names = list(COLOURS)
    return names[(names.index(colour) + 1) % len(names)]
