"""Marks from 0 to 10 with reasons, for aspects that depend on the kind of prompt (Appendix D.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from PIL.Image import Image
from pydantic import BaseModel, Field, StringConstraints, create_model

from ..protocols import SILENT, Progress
from ..record import Verdict
from ..settings import check_choice
from ..vlm.actor import VlmActor
from ..vlm.answers import ask
from ..vlm.failures import say_failures
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import probabilities
from ..vlm.texts import DATA_RULE, quoted, tidy

POOR = 5.0  # aspects with a lower mark are unmet
GENERAL = "general"
# The aspects of each kind of prompt, with the meaning of 0 and 10.
KINDS: Mapping[str, Mapping[str, str]] = {
    "single object": {
        "completeness": "the object is whole and undistorted: 0 in pieces, 10 flawless",
        "visibility": "it stands out from its surroundings: 0 cannot be told from them, 10 at once",
        "occlusion": "nothing hides it without reason: 0 its main parts are hidden, 10 none is",
    },
    "two objects": {
        "presence": "both objects are there and whole: 0 neither is, 10 both are",
        "separation": "one ends where the other begins: 0 they are merged, 10 clearly apart",
        "proportion": "their sizes go together: 0 impossible, 10 as in the world",
    },
    "counting": {
        "count": "there are exactly as many as asked: 0 another number, 10 that number",
        "likeness": "things of a kind look alike: 0 nothing in common, 10 of one kind throughout",
        "countability": "each can be seen and counted: 0 piled up, 10 all in plain sight",
    },
    "colours": {
        "colour": "things have the colour that was asked: 0 another colour, 10 just that",
        "contrast": "things differ in colour from what is behind: 0 the same, 10 far from it",
        "consistency": "things of a kind share their colour: 0 all differ, 10 all agree",
    },
    "position": {
        "position": "things stand to each other as asked: 0 the opposite, 10 beyond doubt",
        "legibility": "one can tell where each thing is: 0 hidden, 10 clear",
        "perspective": "space and depth make sense: 0 contradictory, 10 natural",
    },
    "colour attribution": {
        "binding": "each thing has its own colour: 0 swapped or mixed, 10 each the right one",
        "contrast": "things differ in colour from what is behind: 0 the same, 10 far from it",
        "material": "colour and surface go together: 0 at odds, 10 in harmony",
    },
    GENERAL: {
        "content": "all that the prompt names is there and nothing contradicts it: 0 none, 10 all",
        "arrangement": "numbers, places and relations are as asked: 0 none is, 10 all are",
        "style": "style, light and mood are as asked: 0 another, 10 just that",
        "soundness": "things are whole and undistorted: 0 broken, 10 flawless",
    },
}
LETTERS = "ABCDEFG"  # one letter per kind: choices must differ in their first token

_SORT = """\
Here is a prompt for a picture: {prompt}
Which of these kinds is it?
{kinds}
Answer with one letter."""

_MARK = """\
This picture was painted from a prompt: {prompt}
Give marks from 0 to 10 for each of these aspects, in halves at the finest, and for each a reason in
one sentence that says what is wrong and where, if something is:
{aspects}
Then give an overall mark from 0 to 10 for how well the picture shows what the prompt asks for; what
matters most for this prompt weighs most. Answer as {{"NAME": {{"reason": ..., "mark": ...}}, ...}}
with exactly these names: {names}."""


class Mark(BaseModel):
    reason: Annotated[str, StringConstraints(max_length=2_000)]
    mark: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False, strict=True)]


def _form(aspects: Mapping[str, str]) -> type[BaseModel]:
    fields = dict.fromkeys((*aspects, "overall"), (Mark, ...))
    return create_model("Marks", **fields)  # pyright: ignore[reportCallIssue, reportArgumentType]


FORMS = {kind: _form(aspects) for kind, aspects in KINDS.items()}


class RubricVerifier(VlmActor):
    """Marks for aspects and overall; the score is 0 to 10.

    Overall marks take few values, so the mean of the aspects breaks ties: the score is (10 overall
    + mean) / 11. Aspects below 5 are `unmet`, with the model's reasons. `passed` is always None:
    marks measure quality, not correctness. Unless `kind` is given, one extra call per prompt
    classifies it; if the model fails to, the kind is "general". After a server failure the pictures
    are not judged. After a mark out of range the model is asked once more; a picture without marks
    is not judged. InputError for an unknown `kind`.
    """

    def __init__(self, vlm: Vlm, kind: str | None = None) -> None:
        if kind is not None:
            check_choice("kind of prompt", kind, KINDS)
        super().__init__(vlm)
        self.kind = kind
        self._kinds: dict[str, str] = {}

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        if not images:
            return []
        kind = self.kind or self._kind_of(prompt, progress)
        if isinstance(kind, Failure):
            return [Verdict.unjudged(kind.reason)] * len(images)
        aspects = KINDS[kind]
        text = _MARK.format(
            prompt=quoted(prompt),
            aspects="\n".join(f"{name}: {about}" for name, about in aspects.items()),
            names=", ".join((*aspects, "overall")),
        )
        questions = [Question(text, (image,), DATA_RULE, max_tokens=1024) for image in images]
        answers = ask(self.vlm, questions, FORMS[kind], progress, "verify")
        return [_verdict(answer, aspects) for answer in answers]

    def _kind_of(self, prompt: str, progress: Progress) -> str | Failure:
        if prompt not in self._kinds:
            kinds = "\n".join(f"{a}: {kind}" for a, kind in zip(LETTERS, KINDS, strict=True))
            text = _SORT.format(prompt=quoted(prompt), kinds=kinds)
            question = Question(text, system=DATA_RULE, max_tokens=1)
            (odds,) = probabilities(self.vlm, [question], LETTERS, progress, "verify")
            if isinstance(odds, Failure) and odds.temporary:
                return odds
            say_failures([odds], progress, "Sorting the prompt", f"its kind is {GENERAL!r}")
            known = not isinstance(odds, Failure)
            # Also kept after a failure: all pictures of a prompt need the same aspects.
            self._kinds[prompt] = list(KINDS)[odds.index(max(odds))] if known else GENERAL
        return self._kinds[prompt]


def _verdict(answer: BaseModel | Failure, aspects: Mapping[str, str]) -> Verdict:
    if isinstance(answer, Failure):
        return Verdict.unjudged(answer.reason)
    dumped = answer.model_dump()
    marks, overall = {name: dumped[name] for name in aspects}, dumped["overall"]
    mean = sum(item["mark"] for item in marks.values()) / len(marks)
    return Verdict(
        score=(10 * overall["mark"] + mean) / 11,
        aspects=MappingProxyType({name: item["mark"] for name, item in marks.items()}),
        unmet=tuple(
            ": ".join(filter(None, (name, tidy(item["reason"], 300))))
            for name, item in marks.items()
            if item["mark"] < POOR
        ),
        explanation=tidy(overall["reason"], 1_000),
    )
