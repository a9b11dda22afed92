"""A verifier for any prompt: asks about each of its requirements in each picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..search.looking import cropped
from ..verdict import is_met
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, PictureKeeping, Question, Vlm
from ..vlm.odds import yes
from ..vlm.texts import DATA_RULE, quoted, tidy
from .checks import (
    MAX_REQUIREMENTS,
    Answer,
    Check,
    Checklist,
    checks_of,
    ready,
    ruled_out,
)
from .grounding import grounded

MIN_P = 0.01  # one sure "no" must not hide the answers to the other requirements
UNKNOWN = 0.5  # P(yes) of an unanswered requirement
EXPECTED = 5  # questions a picture, before the prompt's requirements are known

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
"extra cup", "cup is not red", "cup is not left of the plate".
needs: the numbers, from 1 on, of the requirements without which the question makes no sense:
"Is the cup red?" needs the one that a cup is there. [] if there are none."""

# What is the same in all questions comes first, so that a server with a prefix cache reads it once.
FORM = """\
Look at the picture closely and answer the question below about it with yes or no, nothing else. If
you cannot see that it is so, answer no.
The question: {question}"""

# The same in other words, with "no" named first, and then from the other side.
_AGAIN = (
    """\
Here is a question about the picture. If the answer is no, or if you cannot see it, say no; if it is
yes, say yes. Say that word alone.
The question: {question}""",
    """\
Somebody claims that the right answer to the question below about the picture is yes. Check it in
the picture, part by part. Is the claim right? Answer yes or no, nothing else.
The question: {question}""",
)
_MARGINS = (0.0, 0.03)  # of each side, cut off when it is asked again

_WHOLE = """\
Look at the picture closely. Does it show exactly what this prompt asks for? Answer yes or no,
nothing else.
The prompt: {prompt}"""


_WHOLE_AGAIN = (
    "Here is a prompt. Answer no if the picture lacks anything that it asks for, or shows it "
    "otherwise; yes if it shows all of it. Say that word alone.\nThe prompt: {prompt}",
    "Somebody claims that the picture shows all that this prompt asks for. Check it, part by part. "
    "Is the claim right? Answer yes or no, nothing else.\nThe prompt: {prompt}",
)


class ChecklistVerifier(VlmActor):
    """Scores by the number of requirements that a picture meets, then by how sure the answers are.

    The score is (met + g) / (n + 1), 0 to 1, where g is the geometric mean of P(yes), each at least
    MIN_P. The count comes first, since g alone would let several near misses outrank a right
    picture. A picture has `passed` if all n requirements are met; `aspects` are P(yes) by
    statement.

    One more call splits a prompt into its requirements. The result is kept for the life of this
    object, also if the model could not do it: then the whole prompt is one question, and scores
    stay comparable. If the server failed, the pictures are not judged, and it is asked again for
    the next ones. An unanswered requirement counts as not met, with P(yes) = 0.5, and `passed` is
    None. A picture without any answer is not judged.

    What needs something that is not there is not asked: no "is the cup red" without a cup. It is
    unmet, with no more P(yes) than what it needs.

    With `ground` one more question asks where the faults of a picture are (`Verdict.evidence`).

    `recheck` asks about the requirements that a correction's parent failed, and about the others
    only once all of those are met. Until then the others keep the parent's answers.

    `look_again` asks everything in other words, the second time about a crop.
    """

    further_looks = len(_AGAIN)

    def __init__(self, vlm: Vlm, ground: bool = False) -> None:
        super().__init__(vlm)
        self.ground = ground
        self.calls = EXPECTED + ground
        self._checklists: dict[str, list[Check]] = {}

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
        checklist = self._checklist(prompt, progress)
        if isinstance(checklist, Failure):
            return [Verdict.unjudged(checklist.reason)] * len(images)
        return self.judge(checklist, images, before, progress)

    def judge(
        self,
        checklist: Sequence[Check],
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        progress: Progress = SILENT,
    ) -> list[Verdict]:
        """Like `recheck`, for requirements that are already known: one or more."""
        self.calls = len(checklist) + self.ground
        with _in_turn(self.vlm, len(images)) as groups:
            judged = [
                self._judged(checklist, images[group], before[group], progress) for group in groups
            ]
        return [verdict for verdicts in judged for verdict in verdicts]

    def look_again(
        self, prompt: str, images: Sequence[Image], look: int, progress: Progress = SILENT
    ) -> list[Verdict]:
        checklist = self._checklist(prompt, progress)
        if isinstance(checklist, Failure):
            return [Verdict.unjudged(checklist.reason)] * len(images)
        asked = [replace(check, question=check.again[look - 1]) for check in checklist]
        shown = [cropped(image, _MARGINS[look - 1]) for image in images]
        with _in_turn(self.vlm, len(images)) as groups:
            judged = [
                self._judged(asked, shown[group], [None] * len(shown[group]), progress)
                for group in groups
            ]
        return [verdict for verdicts in judged for verdict in verdicts]

    def _judged(
        self,
        checklist: Sequence[Check],
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        progress: Progress,
    ) -> list[Verdict]:
        met = [_met(checklist, verdict) for verdict in before]
        asked = self._asked(checklist, images, met, progress)
        # The parent's answers are asked again as soon as nothing else is wrong with the picture.
        carried = [{} if _all_met(new) else old for old, new in zip(met, asked, strict=True)]
        known = [{**old, **new} for old, new in zip(carried, asked, strict=True)]
        rest = self._asked(checklist, images, known, progress)
        verdicts = [
            _verdict(checklist, {**answers, **others}, kept)
            for answers, others, kept in zip(known, rest, carried, strict=True)
        ]
        return grounded(self.vlm, images, verdicts, progress) if self.ground else verdicts

    def _asked(
        self,
        checklist: Sequence[Check],
        images: Sequence[Image],
        known: Sequence[Mapping[str, Answer]],
        progress: Progress,
    ) -> list[dict[str, Answer]]:
        """For each image the missing answers by statement, asked in as few batches as possible."""
        found: list[dict[str, Answer]] = [{} for _ in images]
        while True:
            answers = [{**old, **new} for old, new in zip(known, found, strict=True)]
            due = [ready(checklist, each) for each in answers]
            questions = [
                question_about(check, image)
                for image, checks in zip(images, due, strict=True)
                for check in checks
            ]
            if not questions:
                return found
            said = iter(yes(self.vlm, questions, progress, "verify"))
            for old, new, checks in zip(known, found, due, strict=True):
                new.update((check.statement, next(said)) for check in checks)
                new.update(ruled_out(checklist, {**old, **new}))

    def _checklist(self, prompt: str, progress: Progress) -> list[Check] | Failure:
        if prompt not in self._checklists:
            split = self.split(prompt, progress)
            if isinstance(split, Failure):
                return split
            self._checklists[prompt] = split
        return self._checklists[prompt]

    def split(
        self, prompt: str, progress: Progress = SILENT, besides: str = ""
    ) -> list[Check] | Failure:
        """The requirements of a prompt, by one question to which `besides` is added.

        If the model cannot do it, the whole prompt is one requirement; if the server failed, a
        Failure.
        """
        text = _TAKE_APART.format(prompt=quoted(prompt), most=MAX_REQUIREMENTS) + besides
        question = Question(text, system=DATA_RULE, max_tokens=2048)
        (answer,) = ask(self.vlm, [question], Checklist, progress, "verify")
        if isinstance(answer, Failure):
            if answer.temporary:
                return answer
            say_failures([answer], progress, "Parsing the prompt", "it is asked as a whole")
        items = [] if isinstance(answer, Failure) else answer.requirements
        return checks_of(items, FORM, _AGAIN) or [whole(prompt)]


@contextmanager
def _in_turn(vlm: Vlm, count: int) -> Iterator[list[slice]]:
    """Which pictures are asked about together: all, or one by one if that saves reading them."""
    if isinstance(vlm, PictureKeeping):
        with vlm.keeping_pictures():
            yield [slice(i, i + 1) for i in range(count)]
    else:
        yield [slice(0, count)]


def question_about(check: Check, image: Image) -> Question:
    return Question(check.question, (image,), DATA_RULE, max_tokens=1)


def whole(prompt: str) -> Check:
    """The prompt as one requirement."""
    question = _WHOLE.format(prompt=quoted(prompt))
    again = tuple(other.format(prompt=quoted(prompt)) for other in _WHOLE_AGAIN)
    return Check(tidy(prompt), question, f"not as asked: {tidy(prompt)}", again=again)


def _met(checklist: Sequence[Check], verdict: Verdict | None) -> dict[str, Answer]:
    """P(yes) of the requirements that an earlier verdict found met."""
    earlier = verdict.aspects if verdict else {}
    return {
        item.statement: earlier[item.statement]
        for item in checklist
        if is_met(earlier.get(item.statement, 0.0))
    }


def _all_met(answers: Mapping[str, Answer]) -> bool:
    return all(not isinstance(p, Failure) and is_met(p) for p in answers.values())


def _verdict(
    checklist: Sequence[Check], answers: Mapping[str, Answer], carried: Collection[str]
) -> Verdict:
    known = {what: p for what, p in answers.items() if not isinstance(p, Failure)}
    failures = {what: p.reason for what, p in answers.items() if isinstance(p, Failure)}
    if not known:
        return Verdict.unjudged(next(iter(failures.values())))
    unmet = tuple(i.unmet for i in checklist if not is_met(known.get(i.statement, 1.0)))
    sure = [max(MIN_P, known.get(item.statement, UNKNOWN)) for item in checklist]
    soft = math.exp(sum(map(math.log, sure)) / len(sure))
    notes = [f"unknown: {what} ({why})" for what, why in failures.items()]
    notes += [f"not asked again: {what}" for what in carried]
    notes += [f"not asked: {what}, without {need}" for what, need in _without(checklist, known)]
    return Verdict(
        score=(len(known) - len(unmet) + soft) / (len(checklist) + 1),
        passed=None if failures else not unmet,
        aspects=MappingProxyType(
            {i.statement: known[i.statement] for i in checklist if i.statement in known}
        ),
        unmet=unmet,
        explanation="; ".join(notes),
    )


def _without(checklist: Sequence[Check], known: Mapping[str, float]) -> list[tuple[str, str]]:
    """What was not asked, each with the missing thing."""
    missing = [
        (check.statement, [n for n in check.needs if not is_met(known.get(n, 1.0))])
        for check in checklist
        if not is_met(known.get(check.statement, 1.0))
    ]
    return [(what, needs[0]) for what, needs in missing if needs]
