"""The requirements ("needs") of a prompt, each assigned to the judge that sees it best.

Objects, numbers, colours and places go to the detector, words in quotation marks to the OCR, and
everything else, including what those cannot see, to the vision-language model. A prompt is parsed
once for all judges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field

from ..protocols import Progress
from ..record import InputError
from ..verifiers.checklist import FORM, ChecklistVerifier, whole
from ..verifiers.checks import Check, Requirement, checks_of
from ..verifiers.text.verifier import TextVerifier
from ..verifiers.text.wanted import TextWishes, is_surface, text_wishes, without_texts
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted
from .asking import AskedThings, question_of_things, things_of
from .objects import AskedFor, ObjectsVerifier, told_apart
from .prompts import NotPlainError, Wanted, place, wanted_by
from .vocabulary import knows, unknown_name
from .words import quantity

ADD_CHECKLIST = "Write it plainly (such as: two red cups left of a dog), or add the judge checklist"
_REST = """\
rest: each other requirement that can be checked by looking at the picture: materials, actions,
style, light, other positions, as {"statement": ..., "question": ..., "fault": ...}
statement: what must be seen, such as "the cup is made of wood".
question: a question that is answered "yes" exactly if that is seen.
fault: what is wrong if it is not, such as "the cup is not made of wood".
Leave out what the prompt does not ask for, what is in things, and what is written in the picture:
another judge reads the words in quotation marks."""
_NO_WORDS = """
Leave out what is written in the picture: another judge reads the words in quotation marks."""


class RoutedScene(AskedThings):
    """Everything a model found in a prompt except its texts."""

    rest: Annotated[list[Requirement], Field(default_factory=list, max_length=20)]


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of a prompt by judge; each need is assigned to one judge."""

    objects: AskedFor | None = None
    text: TextWishes = field(default_factory=TextWishes)
    checklist: tuple[Check, ...] = ()

    @property
    def weights(self) -> tuple[int, int, int]:
        """The number of needs of the judges: objects, text, checklist."""
        things = self.objects.demands if self.objects else 0
        return things, (len(self.text.texts) or 1) if self.text else 0, len(self.checklist)


@dataclass(frozen=True, slots=True)
class Panel:
    """The judges that share the needs; one of them may be missing."""

    objects: ObjectsVerifier | None = None
    text: TextVerifier | None = None
    checklist: ChecklistVerifier | None = None

    @property
    def vlm(self) -> Vlm | None:
        """The model that parses prompts."""
        if self.checklist is not None:
            return self.checklist.vlm
        return self.objects.vlm if self.objects is not None else None

    @property
    def names(self) -> str:
        named = {"objects": self.objects, "text": self.text, "checklist": self.checklist}
        return " and ".join(name for name, judge in named.items() if judge is not None)


def needs_of(panel: Panel, prompt: str, progress: Progress) -> Needs | Failure:
    """The needs of a prompt, with at most one question to the vision-language model.

    A Failure means that its server failed temporarily. InputError for a need that no judge can see.
    """
    read, handed = _texts(panel, text_wishes(prompt))
    rest = without_texts(prompt)
    written = bool(read or handed)
    if panel.objects is None:
        assert panel.checklist is not None  # there are at least two judges
        covered = written and (not rest or is_surface(_bare(rest)))
        found = [] if covered else panel.checklist.split(prompt, progress, _NO_WORDS)
        return found if isinstance(found, Failure) else Needs(None, read, _once(*handed, *found))
    found = _things(panel, panel.objects, prompt, rest, progress)
    if isinstance(found, Failure):
        return found
    things, checks = found
    asked, unseen = _shared(things, panel.objects, written)
    needs = Needs(asked, read, _once(*handed, *checks, *unseen))
    if needs.checklist and panel.checklist is None:
        raise InputError(_nobody(panel, things, needs.checklist))
    if not any(needs.weights):
        raise InputError("The prompt names no thing. Say in words what should be there.")
    return needs


def _once(*checks: Check) -> tuple[Check, ...]:
    """The checks without repetitions, which models produce."""
    return tuple({check.statement: check for check in checks}.values())


def _texts(panel: Panel, wishes: TextWishes) -> tuple[TextWishes, list[Check]]:
    """The texts for the OCR, and those that the model is asked about.

    InputError for letters that the OCR does not know, if there is no model.
    """
    if panel.text is None:
        return TextWishes(), _asked_texts(wishes)
    if panel.checklist is None:
        for wanted in wishes.texts:
            panel.text.check_letters(wanted)
        return wishes, []
    unknown = []
    for wanted in wishes.texts:
        try:
            panel.text.check_letters(wanted)
        except InputError:
            unknown.append(wanted)
    known = tuple(wanted for wanted in wishes.texts if wanted not in unknown)
    # "No other text" refers to all texts of the prompt, but the OCR knows only some.
    nothing_else = wishes.nothing_else and not unknown
    handed = TextWishes(tuple(unknown), wishes.nothing_else and not nothing_else)
    return TextWishes(known, nothing_else), _asked_texts(handed, bool(known))


def _asked_texts(wishes: TextWishes, others: bool = False) -> list[Check]:
    checks = []
    for wanted in wishes.texts:
        text = f'"{wanted.text}"'
        if wanted.banned:
            question = f"Is the picture free of the text {text}?"
            checks.append(_check(f"without the text {text}", question, f"remove the text {text}"))
        else:
            question = f"Can the text {text} be read in the picture, spelled exactly like that?"
            checks.append(_check(f"the text {text}", question, f"add the text {text}"))
    if wishes.nothing_else:
        other = "other " if wishes.texts or others else ""
        question = f"Is the picture free of any {other}text?"
        checks.append(_check(f"no {other}text", question, f"remove the {other}text"))
    return checks


def _bare(rest: str) -> str:
    """ "sign" of "a sign", "poster" of "the poster"."""
    return re.sub(r"^(?:an?|the) ", "", rest.lower())


def _things(
    panel: Panel, objects: ObjectsVerifier, prompt: str, rest: str, progress: Progress
) -> tuple[list[Wanted], list[Check]] | Failure:
    """The objects of a prompt and its other requirements, by rules or by the model."""
    if not rest:
        return [], []
    try:
        things = wanted_by(re.sub(r"\.\s+", ", ", rest))
        told_apart(things)
        if panel.vlm is None or not _says_more(things, objects):
            return things, []
    except NotPlainError as error:
        if panel.vlm is None:
            raise InputError(f"{error} {ADD_CHECKLIST}.") from error
    text = question_of_things(prompt, objects.detector.vocabulary) + _REST
    question = Question(text, system=DATA_RULE, max_tokens=2048)
    (scene,) = ask(panel.vlm, [question], RoutedScene, progress, "verify")
    if isinstance(scene, Failure):
        if scene.temporary:
            return scene
        say_failures([scene], progress, "Parsing the prompt", "it is asked as a whole")
        return [], [whole(prompt)]
    things, checks = _read(scene, prompt)
    return (things, checks) if things or checks else ([], [whole(prompt)])


def _says_more(things: Sequence[Wanted], objects: ObjectsVerifier) -> bool:
    """Whether an unknown name may contain a known one, as "wooden table" does."""
    vocabulary = objects.detector.vocabulary
    return any(" " in thing.name and not knows(vocabulary, thing.name) for thing in things)


def _read(scene: RoutedScene, prompt: str) -> tuple[list[Wanted], list[Check]]:
    """The needs from a model's answer; positions beyond the rules become questions."""
    things, colours = things_of(scene)
    checks = [_coloured(name, colour) for name, colour in colours]
    for index, asked in enumerate(scene.things):
        if asked.relation is None or asked.of is None:
            continue
        try:
            place(things, index, asked.relation, asked.of, prompt)
        except NotPlainError:
            checks.append(_placed(things[index], asked.relation, things[asked.of]))
    return things, [*checks, *checks_of(scene.rest, FORM)]


def _shared(
    things: Sequence[Wanted], objects: ObjectsVerifier, written: bool
) -> tuple[AskedFor | None, list[Check]]:
    """Objects for the detector, and questions about the rest; `written`: a text is asked for."""
    known = [i for i, t in enumerate(things) if knows(objects.detector.vocabulary, t.name)]
    seen = [_renumbered(things[i], known) for i in known]
    try:
        asked = told_apart(seen) if seen else None
    except NotPlainError:  # objects with one name cannot be told apart
        known, asked = [], None
    targets = {thing.target for thing in things}
    checks = [
        _counted(thing)
        for i, thing in enumerate(things)
        if i not in known and not (written and i not in targets and _shown_by_text(thing))
    ]
    return asked, checks + [
        _placed(thing, thing.relation, things[thing.target])
        for i, thing in enumerate(things)
        if thing.relation is not None
        and thing.target is not None
        and not {i, thing.target} <= {*known}
    ]


def _renumbered(thing: Wanted, known: Sequence[int]) -> Wanted:
    """An object with its index among the known ones; drops positions relative to others."""
    if thing.target in known:
        return replace(thing, target=known.index(thing.target))
    return replace(thing, relation=None, target=None)


def _shown_by_text(thing: Wanted) -> bool:
    """Whether an object is only there to be written on, so that its text proves its presence."""
    return is_surface(thing.name) and replace(thing, name="") == Wanted("")


def _counted(thing: Wanted) -> Check:
    """A question about objects of one kind and colour."""
    noun = " ".join(filter(None, (thing.colour, thing.name)))
    if thing.most == 0:
        return _check(quantity(0, noun), f"Is the picture free of any {noun}?", f"extra {noun}")
    if not thing.least:
        words = f"at most {quantity(thing.most or 0, noun)}"
        return _check(words, f"Does the picture show {words}?", f"extra {noun}")
    words = quantity(thing.least, noun)
    if thing.most is None and thing.least == 1:
        return _check(words, f"Does the picture show {words}?", f"missing {words}")
    how = "exactly" if thing.most == thing.least else "at least"
    question = f"Does the picture show {how} {words}?"
    return _check(f"{how} {words}", question, f"not {how} {words}")


def _placed(thing: Wanted, relation: str, other: Wanted) -> Check:
    statement = f"{thing.name} {relation} the {other.name}"
    question = f"Is the {thing.name} {relation} the {other.name}?"
    return _check(statement, question, f"{thing.name} is not {relation} the {other.name}")


def _coloured(name: str, colour: str) -> Check:
    return _check(f"{colour} {name}", f"Is the {name} {colour}?", f"{name} is not {colour}")


def _check(statement: str, question: str, fault: str) -> Check:
    return Check(statement, FORM.format(question=quoted(question)), fault)


def _nobody(panel: Panel, things: Sequence[Wanted], checks: Sequence[Check]) -> str:
    """A sentence about needs that no judge can see, and one about what to do."""
    objects = panel.objects
    vocabulary = objects.detector.vocabulary if objects else None
    unknown = [t.name for t in things if not knows(vocabulary, t.name) and _counted(t) in checks]
    if unknown:
        return unknown_name(unknown[0], vocabulary or ())
    shown = "; ".join(check.statement for check in checks[:3])
    return f"Neither {panel.names.replace(' and ', ' nor ')} can judge: {shown}. {ADD_CHECKLIST}."
