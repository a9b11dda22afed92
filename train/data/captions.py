"""Short prompts and captions written by a vision-language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, StringConstraints

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.interface import Failure, Question, Vlm
from reflectionflow_core.vlm.named import build_vlm
from reflectionflow_core.vlm.texts import DATA_RULE, quoted, tidy
from train.data.asking import answers_of
from train.data.prompts import DETAILED, Avoided
from train.data.records import Slice
from train.data.settings import Judges

_CONDENSE = """\
This is a detailed prompt for a picture: {prompt}
Say the same in one short sentence, as somebody would who types a wish: the things, their number
and colours, how they stand to each other, and the style if it matters. Leave out light, mood,
camera and all that only embellishes. Answer as {{"text": "..."}}."""

_CAPTION = """\
Describe what this picture shows in one or two sentences, as a prompt that would make somebody paint
it: the things, their number, colours and places, the setting and the style. Answer as
{"text": "..."}."""


class TextAnswer(BaseModel):
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]


def build_condensing(judges: Judges, avoided: Avoided) -> CondenseStage:
    return CondenseStage(needed_vlm(judges, "condenses detailed prompts"), avoided)


def build_captioning(judges: Judges, avoided: Avoided) -> CaptionStage:
    return CaptionStage(needed_vlm(judges, "describes edited pictures"), avoided)


def needed_vlm(judges: Judges, task: str) -> Vlm:
    if judges.vlm is None:
        raise InputError(
            f"A vision-language model {task}, but none is given. Set judges.vlm=endpoint:PROFILE "
            "or a folder, or use data with these texts."
        )
    return build_vlm(judges.vlm, judges.device)


class CondenseStage:
    """Stage: a short prompt for each item without one."""

    def __init__(self, vlm: Vlm, avoided: Avoided) -> None:
        self.vlm, self.avoided = vlm, avoided

    def __call__(self, work: Slice) -> Slice:
        bare = [item for item in work.items if not item.prompt]
        longs = [quoted(item.metadata[DETAILED]) for item in bare]
        questions = [Question(_CONDENSE.format(prompt=t), system=DATA_RULE) for t in longs]
        texts = dict(zip((item.number for item in bare), said(self.vlm, questions), strict=True))
        items = [replace(item, prompt=texts.get(item.number, item.prompt)) for item in work.items]
        kept = tuple(item for item in items if item.prompt and item.prompt not in self.avoided)
        failed = sum(not item.prompt for item in items)
        rejects = ["prompt not condensed"] * failed
        rejects += ["prompt kept for testing"] * (len(items) - len(kept) - failed)
        return replace(work.paired((), rejects, calls=len(bare)), items=kept)


class CaptionStage:
    """Stage: a prompt that describes the good picture, for each pair without a prompt."""

    def __init__(self, vlm: Vlm, avoided: Avoided) -> None:
        self.vlm, self.avoided = vlm, avoided

    def __call__(self, work: Slice) -> Slice:
        bare = [pair for pair in work.pairs if not pair.prompt]
        questions = [Question(_CAPTION, (pair.good.image,), DATA_RULE) for pair in bare]
        texts = dict(zip((pair.key for pair in bare), said(self.vlm, questions), strict=True))
        pairs = [replace(pair, prompt=texts.get(pair.key, pair.prompt)) for pair in work.pairs]
        kept = [pair for pair in pairs if pair.prompt and pair.prompt not in self.avoided]
        failed = sum(not pair.prompt for pair in pairs)
        rejects = ["picture not described"] * failed
        rejects += ["prompt kept for testing"] * (len(pairs) - len(kept) - failed)
        return work.paired(kept, rejects, calls=len(bare))


def said(vlm: Vlm, questions: Sequence[Question]) -> list[str]:
    """The text of each answer; "" if the model fails."""
    answers = answers_of(vlm, questions, TextAnswer)
    return ["" if isinstance(answer, Failure) else tidy(answer.text) for answer in answers]
