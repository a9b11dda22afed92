"""Several judges as one: each need of a prompt is judged once, by the judge that sees it best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from PIL.Image import Image

from ..allowance import add_calls
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from ..verifiers.checklist import ChecklistVerifier
from ..verifiers.ensemble import said_by
from ..verifiers.text.verifier import TextVerifier
from ..vlm.interface import Failure
from .needs import Needs, Panel, needs_of
from .objects import ObjectsVerifier

Column = tuple[str, int, Sequence[Verdict | None]]  # judge, its needs; None if it was not asked


class RoutedVerifier:
    """Judges with at least two of `objects`, `text` and `checklist` together.

    The detector judges objects, numbers, colours and places; the OCR quoted texts; the
    vision-language model everything else. The prompt is parsed once, by rules if it is plain,
    otherwise by one question. The model is only asked about pictures in which the others, which
    cost no calls, find no fault.

    * Score: 0 to 1, the judges' scores weighted by their numbers of needs. Needs that were not
      judged
      count as unmet.
    * `passed`: all judges pass the picture. `aspects`, `unmet` and `evidence` are those of all.
    * A picture is not judged if one of the judges could not judge it.

    InputError, even without pictures, for a need that no judge can see.
    """

    def __init__(
        self,
        objects: ObjectsVerifier | None = None,
        text: TextVerifier | None = None,
        checklist: ChecklistVerifier | None = None,
    ) -> None:
        self.panel = Panel(objects, text, checklist)
        if sum(judge is not None for judge in (objects, text, checklist)) < 2:
            raise InputError("Needs are shared by at least two judges. Add another one.")
        self.calls = checklist.calls if checklist else 0
        self._needs: dict[str, Needs] = {}
        self._unpaid = 0  # questions asked before the first picture, which nobody was counting

    @property
    def spent(self) -> int:
        vlm = self.panel.vlm
        return vlm.usage.calls - self._unpaid if vlm is not None else 0

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
        known, unpaid = self.spent, self._unpaid
        needs = self._needs_of(prompt, progress)
        if not images:
            self._unpaid += self.spent - known
            return []
        add_calls(unpaid)
        self._unpaid = 0
        if isinstance(needs, Failure):
            return [Verdict.unjudged(needs.reason)] * len(images)
        columns = self._free(needs, images, progress)
        if needs.checklist:
            columns.append(self._asked(needs, images, before, columns, progress))
        return [_joined(columns, row) for row in range(len(images))]

    def _needs_of(self, prompt: str, progress: Progress) -> Needs | Failure:
        if prompt not in self._needs:
            found = needs_of(self.panel, prompt, progress)
            if isinstance(found, Failure):
                return found
            self._needs[prompt] = found
        needs, checklist = self._needs[prompt], self.panel.checklist
        self.calls = len(needs.checklist) + checklist.ground if checklist and needs.checklist else 0
        return needs

    def _free(self, needs: Needs, images: Sequence[Image], progress: Progress) -> list[Column]:
        """The verdicts that cost no calls."""
        columns: list[Column] = []
        things, texts, _ = needs.weights
        if self.panel.objects is not None and needs.objects is not None:
            verdicts = self.panel.objects.judge(needs.objects, images, progress)
            columns.append(("objects", things, verdicts))
        if self.panel.text is not None and needs.text:
            columns.append(("text", texts, self.panel.text.judge(needs.text, images, progress)))
        return columns

    def _asked(
        self,
        needs: Needs,
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        free: Sequence[Column],
        progress: Progress,
    ) -> Column:
        """The model's verdicts on the pictures in which the others found no fault."""
        assert self.panel.checklist is not None
        chosen = [
            index
            for index in range(len(images))
            if not any(_found_fault(verdicts[index]) for _, _, verdicts in free)
        ]
        verdicts = self.panel.checklist.judge(
            needs.checklist, [images[i] for i in chosen], [before[i] for i in chosen], progress
        )
        by_index = dict(zip(chosen, verdicts, strict=True))
        return "checklist", needs.weights[2], [by_index.get(i) for i in range(len(images))]


def _found_fault(verdict: Verdict | None) -> bool:
    return verdict is not None and (verdict.passed is False or not verdict.judged)


def _joined(columns: Sequence[Column], row: int) -> Verdict:
    """The combined verdict on one picture."""
    rows = [(name, weight, verdicts[row]) for name, weight, verdicts in columns]
    given = [(name, weight, verdict) for name, weight, verdict in rows if verdict is not None]
    aspects = _aspects([verdict for _, _, verdict in given])
    if failed := next((v.failure for _, _, v in given if v.failure is not None), None):
        return Verdict.unjudged(failed, aspects)
    notes = [said_by(name, v) for name, _, v in given if v.explanation]
    notes += [f"{name}: not asked, since there are faults" for name, _, v in rows if v is None]
    answers = [verdict.passed for _, _, verdict in given]
    whole = sum(weight for _, weight, _ in rows)
    return Verdict(
        score=sum(weight * (v.score or 0.0) for _, weight, v in given) / whole,
        passed=False if False in answers else None if None in answers else True,
        aspects=aspects,
        unmet=tuple(dict.fromkeys(what for _, _, v in given for what in v.unmet)),
        explanation="; ".join(notes),
        evidence=tuple(dict.fromkeys(seen for _, _, v in given for seen in v.evidence)),
    )


def _aspects(verdicts: Sequence[Verdict]) -> Mapping[str, float]:
    return MappingProxyType({name: p for v in verdicts for name, p in v.aspects.items()})
