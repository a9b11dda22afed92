"""A verifier for any prompt: the prompt as a list of requirements, each asked of each picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from PIL.Image import Image
from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..vlm.answers import ask
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted, tidy
from .unjudged import unjudged

FLOOR = 0.01  # one sure "no" must not hide how near the other requirements are
UNKNOWN = 0.5
HOLDS = 0.5  # P(yes) from which on a requirement counts as met
EXPECTED = 5  # questions a picture, until a prompt was taken apart
MOST = 20
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
    requirements: Annotated[list[Requirement], Field(min_length=1, max_length=MOST)]


class ChecklistVerifier:
    """Counts the requirements that a picture meets; between equal counts, how surely it does.

    The score is (met + g) / (n + 1), 0 to 1, where g is the geometric mean of P(yes) with a floor:
    a long public record of such searches chose by the number of passed requirements first and by a
    soft score second, and a soft score alone would let several near misses outrank a right picture.
    `passed` if all of n hold; `aspects` are the P(yes) by statement.

    A prompt is taken apart once, by one more call, and the result is kept for the life of this
    object, also when it failed: then the whole prompt is one question, and scores stay comparable.
    An unanswered requirement counts as not met, at even odds, and leaves `passed` open. A picture
    without a single answer scores 0, which is below all others.

    `recheck` asks of a correction what its parent did not meet, and once all of that is met, the
    rest. Until then the rest keeps the parent's answers.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self.calls = EXPECTED
        self._checklists: dict[str, list[Requirement]] = {}

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

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
            self._checklists[prompt] = self._taken_apart(prompt, progress)
        checklist = self._checklists[prompt]
        self.calls = len(checklist)
        met = [_met(checklist, verdict) for verdict in before]
        asked = self._asked(checklist, images, met, progress)
        # What was carried over is doubted as soon as nothing else speaks against the picture.
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
        """For each image the answers that are not known, by statement; all asked in one batch."""
        lacking = [
            [item for item in checklist if item.statement not in answers] for answers in known
        ]
        questions = [
            Question(item.question, (image,), DATA_RULE, max_tokens=1)
            for image, items in zip(images, lacking, strict=True)
            for item in items
        ]
        answers = iter(yes(self.vlm, questions, progress, "verify"))
        return [{item.statement: next(answers) for item in items} for items in lacking]

    def _taken_apart(self, prompt: str, progress: Progress) -> list[Requirement]:
        text = _TAKE_APART.format(prompt=quoted(prompt), most=MOST)
        question = Question(text, system=DATA_RULE, max_tokens=2048)
        (answer,) = ask(self.vlm, [question], Checklist, progress, "verify")
        # Models repeat themselves; a requirement must not count twice.
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
    """The requirements that an earlier verdict found met, with its P(yes)."""
    told = verdict.aspects if verdict else {}
    return {
        item.statement: told[item.statement]
        for item in checklist
        if told.get(item.statement, 0.0) >= HOLDS
    }


def _all_met(answers: Mapping[str, Answer]) -> bool:
    return all(not isinstance(p, Failure) and p >= HOLDS for p in answers.values())


def _verdict(
    checklist: Sequence[Requirement], answers: Mapping[str, Answer], carried: Collection[str]
) -> Verdict:
    known = {what: p for what, p in answers.items() if not isinstance(p, Failure)}
    failures = {what: p.reason for what, p in answers.items() if isinstance(p, Failure)}
    if not known:
        return unjudged(0.0, next(iter(failures.values())))
    unmet = tuple(i.unmet for i in checklist if known.get(i.statement, 1.0) < HOLDS)
    sure = [max(FLOOR, known.get(item.statement, UNKNOWN)) for item in checklist]
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
