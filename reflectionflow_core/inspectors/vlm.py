"""An inspector that shows the picture and the plan to a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from PIL.Image import Image
from pydantic import BaseModel, Field, StringConstraints

from ..protocols import SILENT, Progress
from ..record import Inspection, Stage
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question
from ..vlm.texts import DATA_RULE, quoted, said, shortened
from ..writers.template import edit_for

MAX_WORDS = 60  # words of an instruction; longer ones would outweigh the scene

_INSPECT = """\
A picture is drawn in stages, and this one is not finished. In the end it is to show: {prompt}
The latest instruction: {instruction}
By now it is to show this scene: {scene}
Expected by now: {objects}
First compare the instruction with what the picture is to show in the end; where they contradict
each other the instruction is wrong, and the end is what counts. Then look at the picture, and sort
what you find into three lists of short phrases:
wrong: what is drawn, and has another number, colour, shape or place than it should, or should not
be there at all;
missing: what is expected by now, and is not to be seen at all;
later: what the picture is to show in the end, and is not expected by now. That is not drawn yet: it
is no fault, and belongs in neither of the other lists.
refine: one short command that fixes what is wrong and adds what is missing, and says where; empty
if those lists are. Do not ask for anything of the list later.
Answer as {{"wrong": [...], "missing": [...], "later": [...], "refine": "..."}}."""

Phrases = Annotated[
    list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]],
    Field(max_length=20),
]


class Findings(BaseModel):
    wrong: Phrases
    missing: Phrases
    later: Phrases
    refine: Annotated[str, StringConstraints(max_length=1_000)]


class VlmInspector(VlmActor):
    """Asks one question per picture (as Zhang et al. 2026, who trained a model for it).

    A picture that could not be inspected is not accepted and has nothing to refine: drawing
    continues with it, and the explanation gives the reason.
    """

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]:
        questions = [
            question_of(prompt, stage, image) for stage, image in zip(stages, images, strict=True)
        ]
        answers = ask(self.vlm, questions, Findings, progress, "inspect")
        say_failures(answers, progress, "The inspector", "these pictures are not accepted")
        return list(map(_inspection, answers))


def question_of(prompt: str, stage: Stage, image: Image) -> Question:
    """The question about a picture of a stage; the answer is Findings."""
    text = _INSPECT.format(
        prompt=quoted(prompt),
        instruction=quoted(stage.instruction),
        scene=quoted(stage.scene),
        objects=quoted("; ".join(stage.objects) or stage.scene),
    )
    return Question(text, (image,), DATA_RULE, max_tokens=512)


def _inspection(answer: Findings | Failure) -> Inspection:
    if isinstance(answer, Failure):
        return Inspection(accepted=False, explanation=f"It was not inspected. {answer.reason}")
    wrong, missing, later = map(_phrases, (answer.wrong, answer.missing, answer.later))
    faults = [*wrong, *missing]
    refine = said(answer.refine) or "; ".join(map(edit_for, faults))
    return Inspection(
        accepted=not faults,
        wrong=wrong,
        missing=missing,
        later=later,
        refine=shortened(refine, MAX_WORDS) if faults else "",
    )


def _phrases(given: Sequence[str]) -> tuple[str, ...]:
    """The phrases of a list; models write "none" into an empty one."""
    return tuple(filter(None, map(said, given)))
