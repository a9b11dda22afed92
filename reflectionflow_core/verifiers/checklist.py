"""A verifier for any prompt: asks about each of its requirements, picture by picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from PIL.Image import Image
from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted, tidy

MIN_P = 0.01  # one sure "no" must not hide the answers to the other requirements
UNKNOWN = 0.5  # P(yes) of an unanswered requirement
MET = 0.5  # least P(yes) of a requirement that counts as met
EXPECTED = 5  # questions a picture, before the prompt's requirements are known
MAX_REQUIREMENTS = 20
Answer = float | Failure  # P(yes), 0 to 1
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]

_TAKE_APART = """\
A picture was painted from this prompt: {prompt}
Take the prompt apart into requirements that can be checked one by one by looking at the picture:
which things are there, how many of each, their colours and materials, where they are, how they
stand to each other, and the style if one is asked for. Leave out what the prompt does not ask for,
and ask nothing twice. Give between 1 and {most} requirements, the most important first, as
{{"requirements": [{{"statement": ..., "question": ..., "fault": ...}}]}}
statement: what must be seen, such as "two red cups".
question: a question that is answered "yes" exactly if that is seen.
fault: what is wrong if it is not, in one of these forms: "missing two red cups",
"extra cup", "cup is not red", "cup is not left of the plate"."""

_CHECK = """\
Look at the picture closely and answer this question about it: {question}
Answer yes or no, nothing else. If you cannot see that it is so, answer no."""

_WHOLE = """\
Look at the picture closely. Does it show exactly what this prompt asks for: {prompt}
Answer yes or no, nothing else."""


class Requirement(BaseModel):
    """Something that is seen in a right picture, how to ask for it, and what its lack is called."""

    statement: Line
    question: Line
    fault: Annotated[str, StringConstraints(max_length=300)] = ""

    @property
    def unmet(self) -> str:
        return tidy(self.fault) or f"not as asked: {tidy(self.statement)}"


class Checklist(BaseModel):
    requirements: Annotated[list[Requirement], Field(min_length=1, max_length=MAX_REQUIREMENTS)]


class ChecklistVerifier(VlmActor):
    """Scores by the number of requirements that a picture meets, then by how sure the answers are.

    The score is (met + g) / (n + 1), 0 to 1, where g is the geometric mean of P(yes), each at least
    MIN_P. The count comes first, since g alone would let several near misses outrank a right
    picture. A picture has `passed` if all n requirements are met; `aspects` are P(yes) by
    statement.

    One more call splits a prompt into its requirements. The result is kept for the life of this
    object, also if the call failed: then the whole prompt is one question, and scores stay
    comparable. An unanswered requirement counts as not met, with P(yes) = 0.5, and `passed` is
    None. A picture without any answer is not judged.

    `recheck` asks about the requirements that a correction's parent failed, and about the others
    only once all of those are met. Until then the others keep the parent's answers.
    """

    def __init__(self, vlm: Vlm) -> None:
        super().__init__(vlm)
        self.calls = EXPECTED
        self._checklists: dict[str, list[Requirement]] = {}

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return self.recheck(prompt, images, [None] * len(images), progress)

    def recheck(
        self,
        prompt: str,
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        progress: Progress = SILENT,
    ) -> list[Verdict]:
        if not images:
            return []
        if prompt not in self._checklists:
            self._checklists[prompt] = self._split(prompt, progress)
        checklist = self._checklists[prompt]
        self.calls = len(checklist)
        met = [_met(checklist, verdict) for verdict in before]
        asked = self._asked(checklist, images, met, progress)
        # The parent's answers are asked again as soon as nothing else is wrong with the picture.
        carried = [{} if _all_met(new) else old for old, new in zip(met, asked, strict=True)]
        known = [{**old, **new} for old, new in zip(carried, asked, strict=True)]
        rest = self._asked(checklist, images, known, progress)
        return [
            _verdict(checklist, {**answers, **others}, kept)
            for answers, others, kept in zip(known, rest, carried, strict=True)
        ]

    def _asked(
        self,
        checklist: Sequence[Requirement],
        images: Sequence[Image],
        known: Sequence[Mapping[str, Answer]],
        progress: Progress,
    ) -> list[dict[str, Answer]]:
        """For each image the missing answers by statement, asked in one batch."""
        open_items = [
            [item for item in checklist if item.statement not in answers] for answers in known
        ]
        questions = [
            question_about(item, image)
            for image, items in zip(images, open_items, strict=True)
            for item in items
        ]
        answers = iter(yes(self.vlm, questions, progress, "verify"))
        return [{item.statement: next(answers) for item in items} for items in open_items]

    def _split(self, prompt: str, progress: Progress) -> list[Requirement]:
        text = _TAKE_APART.format(prompt=quoted(prompt), most=MAX_REQUIREMENTS)
        question = Question(text, system=DATA_RULE, max_tokens=2048)
        (answer,) = ask(self.vlm, [question], Checklist, progress, "verify")
        # Models repeat requirements; none must count twice.
        known = {} if isinstance(answer, Failure) else _by_statement(answer.requirements)
        if not known:
            return [_whole(prompt)]
        return [
            Requirement.model_construct(
                statement=statement,
                question=_CHECK.format(question=quoted(item.question)),
                fault=item.fault,
            )
            for statement, item in known.items()
        ]


def question_about(requirement: Requirement, image: Image) -> Question:
    return Question(requirement.question, (image,), DATA_RULE, max_tokens=1)


def _by_statement(items: Sequence[Requirement]) -> dict[str, Requirement]:
    named = ((tidy(item.statement), item) for item in items if tidy(item.question))
    return {statement: item for statement, item in named if statement}


def _whole(prompt: str) -> Requirement:
    return Requirement.model_construct(
        statement=tidy(prompt),
        question=_WHOLE.format(prompt=quoted(prompt)),
        fault=f"not as asked: {tidy(prompt)}",
    )


def _met(checklist: Sequence[Requirement], verdict: Verdict | None) -> dict[str, Answer]:
    """P(yes) of the requirements that an earlier verdict found met."""
    earlier = verdict.aspects if verdict else {}
    return {
        item.statement: earlier[item.statement]
        for item in checklist
        if earlier.get(item.statement, 0.0) >= MET
    }


def _all_met(answers: Mapping[str, Answer]) -> bool:
    return all(not isinstance(p, Failure) and p >= MET for p in answers.values())


def _verdict(
    checklist: Sequence[Requirement], answers: Mapping[str, Answer], carried: Collection[str]
) -> Verdict:
    known = {what: p for what, p in answers.items() if not isinstance(p, Failure)}
    failures = {what: p.reason for what, p in answers.items() if isinstance(p, Failure)}
    if not known:
        return Verdict.unjudged(next(iter(failures.values())))
    unmet = tuple(i.unmet for i in checklist if known.get(i.statement, 1.0) < MET)
    sure = [max(MIN_P, known.get(item.statement, UNKNOWN)) for item in checklist]
    soft = math.exp(sum(map(math.log, sure)) / len(sure))
    notes = [f"unknown: {what} ({why})" for what, why in failures.items()]
    notes += [f"not asked again: {what}" for what in carried]
    return Verdict(
        score=(len(known) - len(unmet) + soft) / (len(checklist) + 1),
        passed=None if failures else not unmet,
        aspects=MappingProxyType(
            {i.statement: known[i.statement] for i in checklist if i.statement in known}
        ),
        unmet=unmet,
        explanation="; ".join(notes),
    )
