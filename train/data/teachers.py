"""Teachers that answer what a search asks its planners, inspectors and writers.

Either the rules of the shapes world or a vision-language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from PIL.Image import Image
from pydantic import BaseModel

from reflectionflow_core.evolvers import requirements, think_first
from reflectionflow_core.evolvers.think_first import Thought
from reflectionflow_core.inspectors import vlm as inspecting
from reflectionflow_core.inspectors.vlm import Findings
from reflectionflow_core.miniature.inspector import ExactInspector
from reflectionflow_core.miniature.planner import LayoutThinker, RulePlanner, in_order
from reflectionflow_core.miniature.prompts import parse
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.planners import vlm as planning
from reflectionflow_core.planners.vlm import Step, Steps, stages_of
from reflectionflow_core.record import Candidate, Request, Stage, Verdict
from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.named import build_vlm
from reflectionflow_core.vlm.odds import yes
from reflectionflow_core.writers import two_lists
from reflectionflow_core.writers.template import edit_for
from reflectionflow_core.writers.two_lists import TwoLists
from train.data.asking import check_present

RULES = "rules"
Kind = Literal["plan", "think", "keeps", "inspect", "reflect"]
Taught = tuple[Kind, Question, BaseModel | str]  # question, and answer to learn


class Teacher(Protocol):
    """Returns questions as asked in a search, with answers; unanswered ones are left out."""

    @property
    def calls(self) -> int:
        """Model calls so far."""
        ...

    def plan(self, prompt: str) -> tuple[list[Taught], tuple[Stage, ...]]:
        """The plan of a prompt and the questions about it; no stages if planning fails."""
        ...

    def look(self, prompt: str, stages: Sequence[Stage], images: Sequence[Image]) -> list[Taught]:
        """Questions about the picture of each stage; the last stage shows the whole prompt."""
        ...


class Rules:
    """The miniature's own planner, thinker, inspector and verifier."""

    calls = 0

    def __init__(self, max_words: int) -> None:
        self.max_words = max_words
        self.planner, self.thinker = RulePlanner(whole_first=False), LayoutThinker()
        self.inspector, self.verifier = ExactInspector(), ExactVerifier()

    def plan(self, prompt: str) -> tuple[list[Taught], tuple[Stage, ...]]:
        added, _ = in_order(parse(prompt))
        steps = Steps(
            stages=[
                Step(adds=[str(group)], instruction=stage.instruction, scene=stage.scene)
                for group, stage in zip(added, self.planner.plan(prompt).stages, strict=True)
            ]
        )
        layout = self.thinker.expand(prompt)
        taught: list[Taught] = [
            ("plan", planning.question_of(prompt), steps),
            (
                "think",
                think_first.question_of(prompt),
                Thought(content="", layout=layout, style=""),
            ),
            _keeps(prompt, layout, True),
        ]
        stages = stages_of(steps)
        last = zip(stages[:-3:-1], (True, False), strict=False)
        taught += [_keeps(prompt, stage.scene, kept) for stage, kept in last]
        return taught, whole_last(stages, prompt)

    def look(self, prompt: str, stages: Sequence[Stage], images: Sequence[Image]) -> list[Taught]:
        found = self.inspector.inspect(prompt, stages, images)
        taught: list[Taught] = [
            (
                "inspect",
                inspecting.question_of(prompt, stage, image),
                Findings(
                    wrong=list(each.wrong),
                    missing=list(each.missing),
                    later=list(each.later),
                    refine=each.refine,
                ),
            )
            for stage, image, each in zip(stages, images, found, strict=True)
        ]
        (verdict,) = self.verifier.verify(prompt, images[-1:])
        edits = [edit_for(fault) for fault in verdict.unmet]
        asked = two_lists.question_of(prompt, about(prompt, images[-1], verdict), self.max_words)
        return [*taught, ("reflect", asked, TwoLists(wrong=edits, crude=[]))]


class VlmTeacher:
    """A vision-language model answers; questions it cannot answer are left out."""

    def __init__(self, vlm: str, max_words: int) -> None:
        self.vlm, self.max_words = build_vlm(vlm), max_words

    @property
    def calls(self) -> int:
        return self.vlm.usage.calls

    def plan(self, prompt: str) -> tuple[list[Taught], tuple[Stage, ...]]:
        planned, thought = planning.question_of(prompt), think_first.question_of(prompt)
        (steps,) = ask(self.vlm, [planned], Steps)
        (mind,) = ask(self.vlm, [thought], Thought)
        check_present([steps, mind])
        taught: list[Taught] = []
        if not isinstance(mind, Failure):
            taught.append(("think", thought, mind))
        if isinstance(steps, Failure):
            return taught, ()
        stages = stages_of(steps)
        scenes = [stage.scene for stage in stages[-2:]]
        compared = [requirements.question_of(prompt, scene) for scene in scenes]
        answers = yes(self.vlm, compared)
        check_present(answers)
        odds = [p for p in answers if not isinstance(p, Failure)]
        if len(odds) < len(compared) or odds[-1] <= 0.5:
            return taught, ()  # an incomplete plan must not be learnt
        taught += [_keeps(prompt, scene, p > 0.5) for scene, p in zip(scenes, odds, strict=True)]
        return [*taught, ("plan", planned, steps)], whole_last(stages, prompt)

    def look(self, prompt: str, stages: Sequence[Stage], images: Sequence[Image]) -> list[Taught]:
        seen = [
            inspecting.question_of(prompt, stage, image)
            for stage, image in zip(stages, images, strict=True)
        ]
        unjudged = Verdict.unjudged("Nobody has judged it yet.")
        asked = two_lists.question_of(prompt, about(prompt, images[-1], unjudged), self.max_words)
        found = ask(self.vlm, seen, Findings)
        (lists,) = ask(self.vlm, [asked], TwoLists)
        check_present([*found, lists])
        taught: list[Taught] = [
            ("inspect", question, answer)
            for question, answer in zip(seen, found, strict=True)
            if not isinstance(answer, Failure)
        ]
        return taught if isinstance(lists, Failure) else [*taught, ("reflect", asked, lists)]


def _keeps(prompt: str, text: str, kept: bool) -> Taught:
    """Whether a text keeps everything that the prompt asks for."""
    return "keeps", requirements.question_of(prompt, text), "yes" if kept else "no"


def whole_last(stages: Sequence[Stage], prompt: str) -> tuple[Stage, ...]:
    """The stages, with the prompt itself as the last one, as in a search."""
    return (*stages[:-1], replace(stages[-1], scene=prompt))


def about(prompt: str, image: Image, verdict: Verdict) -> Request:
    """A request to correct this picture."""
    return Request(0, parent=Candidate(image, prompt, 0, verdict))


def build_teacher(spec: str, max_words: int) -> Teacher:
    """The rules, or the model in this folder or at endpoint:PROFILE."""
    return Rules(max_words) if spec == RULES else VlmTeacher(spec, max_words)
