"""A planner that asks a language model how to draw a prompt step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from ..evolvers.requirements import keeps_requirements
from ..protocols import SILENT, Progress
from ..record import ScenePlan, Stage
from ..settings import MAX_STAGES
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import check_lasting
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.texts import DATA_RULE, quoted, said, tidy

_PLAN = """\
Here is a prompt for a picture: {prompt}
Plan how to draw it in one to {most} stages, each of which adds to the picture so far. First think
of its things, with number, colour and other attributes, and of how they stand to each other. What
others stand on, beside or in comes first; things of one kind may come together; a simple prompt is
one stage. For each stage give
adds: the things that are new in it, each with its number and attributes ("two red cups");
instruction: one short command that adds them and says where, in relation to what is there already;
scene: one sentence that describes the whole picture after this stage, and nothing still to come.
Nothing that the prompt does not ask for, and after the last stage everything that it asks for.
Answer as {{"stages": [{{"adds": ["..."], "instruction": "...", "scene": "..."}}, ...]}}."""

NOT_PLANNED = "The plan could not be written."
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)]


class Step(BaseModel):
    adds: Annotated[list[Phrase], Field(max_length=12)]
    instruction: Phrase
    scene: Phrase


class Steps(BaseModel):
    stages: Annotated[list[Step], Field(min_length=1, max_length=MAX_STAGES)]


class VlmPlanner(VlmActor):
    """Asks a model for the plan (as Zhang et al. 2026, who trained a model for it).

    A second question checks that the last scene still meets every requirement of the prompt. A plan
    that is invalid, empty, too long or incomplete is replaced by one stage with the whole prompt;
    the plan's note says so. InputError if the server failed, because a plan is recorded with its
    run. The last scene is always the prompt itself. With `whole_first` the first stage draws the
    whole prompt and later ones add what is missing, since the plan of an untrained model may do
    harm.
    """

    calls = 2

    def __init__(self, vlm: Vlm, whole_first: bool = True) -> None:
        super().__init__(vlm)
        self.whole_first = whole_first

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan:
        (answer,) = ask(self.vlm, [question_of(prompt)], Steps, progress, "plan")
        check_lasting(answer, NOT_PLANNED)
        if isinstance(answer, Failure):
            return at_once(prompt, answer.reason)
        stages = stages_of(answer)
        (whole,) = keeps_requirements(self.vlm, prompt, [stages[-1].scene], progress, "plan")
        check_lasting(whole, NOT_PLANNED)
        if isinstance(whole, Failure):
            return at_once(prompt, whole.reason)
        if not whole:
            return at_once(prompt, "The plan lacks something that the prompt asks for.")
        stages = (*stages[:-1], replace(stages[-1], scene=prompt))
        if self.whole_first:
            stages = (replace(stages[0], scene=prompt), *stages[1:])
        return ScenePlan(stages)


def at_once(prompt: str, reason: str) -> ScenePlan:
    """One stage with the whole prompt, and the reason."""
    stage = Stage("paint everything that the prompt asks for", prompt, (prompt,))
    return ScenePlan((stage,), f"{reason} All of it is drawn in one stage.")


def question_of(prompt: str) -> Question:
    """The question for a plan; the answer is Steps."""
    text = _PLAN.format(prompt=quoted(prompt), most=MAX_STAGES)
    return Question(text, system=DATA_RULE, max_tokens=1_000)


def stages_of(steps: Steps) -> tuple[Stage, ...]:
    """The stages of an answer, each with everything added so far."""
    return tuple(_stages(steps))


def _stages(steps: Steps) -> Iterator[Stage]:
    objects: list[str] = []
    for step in steps.stages:
        objects += filter(None, map(said, step.adds))
        yield Stage(tidy(step.instruction), tidy(step.scene), tuple(objects))
