"""Which statements a judge is asked about, and the errors in its answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from ..judge_errors import KINDS, JudgeErrors, KindErrors
from ..protocols import SILENT, Progress, Silent
from ..vlm.interface import Failure
from .asking import PHASE, Answering, Asked
from .items import SCENE, SOURCES, ExamItem
from .scenes import scene_items
from .settings import AGAIN, LEAST, QUESTIONS

BATCH = 24  # questions at once, whose pictures are in memory together
HOPELESS = 12  # failures at the beginning that end an exam

Pool = dict[tuple[str, bool], list[ExamItem]]  # by kind and truth


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """A judge's answer about an item: whether it is true; None and a reason if it gave none."""

    item: ExamItem
    said: bool | None
    again: bool = False
    reason: str = ""

    @property
    def wrong(self) -> bool:
        return self.said is not None and self.said != self.item.holds


@dataclass(frozen=True, slots=True)
class JudgeExam:
    """The answers of a judge, and the errors in them."""

    errors: JudgeErrors
    answers: tuple[GivenAnswer, ...]

    @property
    def problem(self) -> str:
        """Why nothing could be measured; "" if something was."""
        if any(answer.said is not None for answer in self.answers):
            return ""
        return next((answer.reason for answer in self.answers), "Nothing was asked.")


@dataclass(frozen=True, slots=True)
class Shifted(Silent):
    """The progress of one batch as part of all questions."""

    progress: Progress
    before: int
    total: int

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        del phase, total, preview
        self.progress.report(PHASE, min(self.before + done, self.total), self.total)

    def check(self) -> None:
        self.progress.check()

    def say(self, text: str) -> None:
        self.progress.say(text)


def examine_judge(
    judge: Answering,
    name: str,
    items: Sequence[ExamItem],
    questions: int = QUESTIONS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> JudgeExam:
    """Asks a judge `questions` questions about `items` and drawn scenes, and counts its errors.

    Three of four questions are about new statements, equally many of each kind and truth; `items`
    come first, and scenes add what is missing. The others repeat a statement in other words, in
    another order and with the picture in a frame: all that were answered wrongly, then as many that
    were answered rightly. Raises ValueError for fewer than LEAST questions.
    """
    if questions < LEAST:
        raise ValueError(f"An exam has at least {LEAST} questions, got {questions}.")
    rng = np.random.default_rng(seed)
    chosen = chosen_items(items, questions - questions // AGAIN, rng)
    first = _answers(judge, chosen, False, progress, questions)
    if all(answer.said is None for answer in first):
        return JudgeExam(errors_of(name, first, []), tuple(first))
    due = to_ask_again(first, questions // AGAIN, rng)
    second = _answers(judge, [answer.item for answer in due], True, progress, questions, len(first))
    pairs = list(zip(due, second, strict=True))
    return JudgeExam(errors_of(name, first, pairs), (*first, *second))


def chosen_items(items: Sequence[ExamItem], count: int, rng: np.random.Generator) -> list[ExamItem]:
    """`count` items in random order, equally many of each kind and truth; scenes add what is
    missing.

    Scenes come last: a detector that knows no shapes would otherwise seem to answer nothing.
    """
    pool: Pool = {(kind, holds): [] for kind in KINDS for holds in (True, False)}
    for index in rng.permutation(len(items)):
        item = items[index]
        pool[item.kind, item.holds].append(item)
    each = math.ceil(count / len(pool))
    cells = [_spread(cell, each) for cell in pool.values()]
    for kind in KINDS:
        short = [cells[2 * KINDS.index(kind)], cells[2 * KINDS.index(kind) + 1]]
        while any(len(cell) < each for cell in short):
            for cell, item in zip(short, scene_items(kind, rng), strict=True):
                if len(cell) < each:
                    cell.append(item)
    drawn = [cell[row] for row in range(each) for cell in cells][:count]
    mixed = [drawn[index] for index in rng.permutation(len(drawn))]
    return sorted(mixed, key=lambda item: item.source == SCENE)


def _spread(cell: Sequence[ExamItem], count: int) -> list[ExamItem]:
    """Up to `count` items of a cell, with the sources in turn: unchanged, planted, turned."""
    queues = {source: [item for item in cell if item.source == source] for source in SOURCES}
    found: list[ExamItem] = []
    while len(found) < count and any(queues.values()):
        found += [queue.pop(0) for queue in queues.values() if queue]
    return found[:count]


def to_ask_again(
    answers: Sequence[GivenAnswer], most: int, rng: np.random.Generator
) -> list[GivenAnswer]:
    """The answers to repeat, in random order: wrong ones with similar right ones, then others."""
    mixed = [answers[index] for index in rng.permutation(len(answers))]
    right = [answer for answer in mixed if answer.said is not None and not answer.wrong]
    due: list[GivenAnswer] = []
    for wrong in [answer for answer in mixed if answer.wrong][: most // 2]:
        alike = [answer for answer in right if _cell(answer) == _cell(wrong)][:1]
        due += [wrong, *alike]
        right = [answer for answer in right if answer not in alike]
    due += right[: most - len(due)]
    return [due[index] for index in rng.permutation(len(due))]


def _cell(answer: GivenAnswer) -> tuple[str, bool]:
    return answer.item.kind, answer.item.holds


def _answers(
    judge: Answering,
    items: Sequence[ExamItem],
    again: bool,
    progress: Progress,
    total: int,
    done: int = 0,
) -> list[GivenAnswer]:
    """The answers in the order of the items; fewer if none of the first ones was answered.

    `done` of `total` questions were asked before.
    """
    found: list[GivenAnswer] = []
    for start in range(0, len(items), BATCH):
        some = items[start : start + BATCH]
        asked = [Asked(item.picture(), item.statement, again) for item in some]
        said = judge.answer(asked, Shifted(progress, done + len(found), total))
        found += [_given(item, answer, again) for item, answer in zip(some, said, strict=True)]
        if not again and len(found) >= HOPELESS and all(a.said is None for a in found):
            break
    return found


def _given(item: ExamItem, said: bool | Failure, again: bool) -> GivenAnswer:
    if isinstance(said, Failure):
        return GivenAnswer(item, None, again, said.reason)
    return GivenAnswer(item, said, again)


def errors_of(
    name: str,
    first: Sequence[GivenAnswer],
    pairs: Sequence[tuple[GivenAnswer, GivenAnswer]],
) -> JudgeErrors:
    """The errors in the answers; `pairs` are first and second answers about one statement."""
    both = [(a, b) for a, b in pairs if b.said is not None]
    answered = [answer for answer in first if answer.said is not None]
    seconds = [second for _, second in pairs]
    return JudgeErrors(
        name,
        tuple(_of_kind(kind, answered) for kind in KINDS),
        correlation=correlation_of(answered, both),
        asked_again=len(both),
        wrong_before=sum(a.wrong for a, _ in both),
        wrong_again=sum(a.wrong and b.wrong for a, b in both),
        questions=len(answered) + len(both),
        unanswered=sum(answer.said is None for answer in (*first, *seconds)),
        pictures=", ".join(_sources(answered)),
    )


def _of_kind(kind: str, answers: Sequence[GivenAnswer]) -> KindErrors:
    own = [answer for answer in answers if answer.item.kind == kind]
    false, true = (
        [answer for answer in own if answer.item.holds == holds] for holds in (False, True)
    )
    wrong = [sum(answer.wrong for answer in some) for some in (false, true)]
    return KindErrors(kind, len(false), wrong[0], len(true), wrong[1])


def correlation_of(
    first: Sequence[GivenAnswer], pairs: Sequence[tuple[GivenAnswer, GivenAnswer]]
) -> float | None:
    """By how much more often a second answer is wrong after a wrong first one than after a right
    one, -1 to 1.

    It is the correlation of the errors, if both ways of asking err equally often. It is computed
    within statements of one kind and truth, weighted by the variance of their errors; otherwise a
    judge that errs in one kind only would seem to repeat its errors.
    """
    weights, slopes = [], []
    for cell in dict.fromkeys(map(_cell, first)):
        own = [answer.wrong for answer in first if _cell(answer) == cell]
        after = {
            was: [b.wrong for a, b in pairs if _cell(a) == cell and a.wrong == was]
            for was in (True, False)
        }
        if after[True] and after[False]:
            rate = sum(own) / len(own)
            weights.append(len(own) * rate * (1 - rate))
            slopes.append(np.mean(after[True]) - np.mean(after[False]))
    return float(np.average(slopes, weights=weights)) if weights else None


def _sources(answers: Sequence[GivenAnswer]) -> list[str]:
    counts = Counter(answer.item.source for answer in answers)
    return [f"{source} ({counts[source]})" for source in SOURCES if counts[source]]
