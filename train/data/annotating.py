"""Reflections for pairs without one (paper §3.2), by rule or by a vision-language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from PIL import Image
from pydantic import BaseModel, StringConstraints

from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.interface import Failure, Question, Vlm
from reflectionflow_core.vlm.named import build_vlm
from reflectionflow_core.vlm.texts import DATA_RULE, quoted, shortened, tidy
from reflectionflow_core.writers.template import TemplateWriter
from train.data.asking import answers_of
from train.data.records import Pair, Slice, seed_of
from train.data.settings import Reflections
from train.data.source import StageFunction

GAP = 8  # white pixels between the two pictures
# The corrector sees only one picture, so a reflection must not compare two.
_POINTS = re.compile(
    r"\b(left|right|first|second|other|better|worse)(-hand)? (image|picture)", re.I
)

_COMPARE = """\
You see two pictures side by side, painted from one prompt: {prompt}
Work in three steps.
analysis: go through what the prompt asks for, and say for each of it how the left and how the
right picture show it: things that are missing or too many, wrong numbers, colours, sizes or places,
things that are broken. Then say which differences matter most.
better: "left" or "right", whichever shows better what the prompt asks for.
instruction: the one edit that brings the worse picture nearest to the better one, as a command to
an artist who has only the worse picture before him: a verb first (add, remove, replace, move,
recolor, resize), then what, and where in the picture. One sentence of at most {max_words} words.
Name no other picture, give no reasons, and nothing vague such as "make sure".
Answer as {{"analysis": "...", "better": "left", "instruction": "..."}}."""


class ComparisonAnswer(BaseModel):
    """The steps of the annotation in the order in which the model should think."""

    analysis: Annotated[str, StringConstraints(max_length=20_000)]
    better: Literal["left", "right"]
    instruction: Annotated[str, StringConstraints(max_length=4_000)]


def build_annotation(reflections: Reflections, seed: int) -> StageFunction:
    if reflections.how == "template":
        return TemplateAnnotation(TemplateWriter(reflections.max_words))
    if reflections.vlm is None:
        raise InputError(
            "A vision-language model must write the reflections, but none is given. Set "
            "reflections.vlm=endpoint:PROFILE or a folder."
        )
    return VlmAnnotation(build_vlm(reflections.vlm), reflections.max_words, seed)


class TemplateAnnotation:
    """Stage: the flaws of the bad picture, phrased as edits."""

    def __init__(self, writer: TemplateWriter) -> None:
        self.writer = writer

    def __call__(self, work: Slice) -> Slice:
        return work.paired(
            pair
            if pair.reflection
            else replace(pair, reflection=tidy(self.writer.write(pair.bad.unmet)))
            for pair in work.pairs
        )


class VlmAnnotation:
    """Stage: a model compares both pictures side by side, in random order.

    A pair is dropped if the model prefers its bad picture or gives no usable answer.
    """

    def __init__(self, vlm: Vlm, max_words: int, seed: int) -> None:
        self.vlm, self.max_words, self.seed = vlm, max_words, seed

    def __call__(self, work: Slice) -> Slice:
        bare = [pair for pair in work.pairs if not pair.reflection]
        before = self.vlm.usage.calls
        questions = [self._question(pair) for pair in bare]
        answers = answers_of(self.vlm, questions, ComparisonAnswer)
        metadata = {p.key: self._annotated(p, a) for p, a in zip(bare, answers, strict=True)}
        annotated = [metadata.get(pair.key, pair) for pair in work.pairs]
        return work.paired(
            [pair for pair in annotated if isinstance(pair, Pair)],
            [reason for reason in annotated if isinstance(reason, str)],
            calls=self.vlm.usage.calls - before,
        )

    def _question(self, pair: Pair) -> Question:
        text = _COMPARE.format(prompt=quoted(pair.prompt), max_words=self.max_words)
        pictures = [pair.good.image, pair.bad.image]
        grid = side_by_side(pictures if self._good_is_left(pair) else pictures[::-1])
        return Question(text, (grid,), DATA_RULE, max_tokens=1024)

    def _good_is_left(self, pair: Pair) -> bool:
        return seed_of(self.seed, "left", pair.key) % 2 == 0

    def _annotated(self, pair: Pair, answer: ComparisonAnswer | Failure) -> Pair | str:
        if isinstance(answer, Failure):
            return "annotation failed"
        if (answer.better == "left") != self._good_is_left(pair):
            return "annotation disagrees"
        reflection = shortened(tidy(answer.instruction), self.max_words)
        if _POINTS.search(reflection):
            return "reflection points at a picture"
        # The reasoning is kept, so that a verifier or writer can be trained to reason as well.
        analysis = {"analysis": tidy(answer.analysis, 20_000)}
        return replace(pair, reflection=reflection, metadata={**pair.metadata, **analysis})


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures from left to right, scaled to one height, with a white gap between them."""
    height = max(picture.height for picture in pictures)
    scaled = [
        picture
        if picture.height == height
        else picture.resize((max(1, round(picture.width * height / picture.height)), height))
        for picture in pictures
    ]
    width = sum(picture.width for picture in scaled) + GAP * (len(scaled) - 1)
    grid = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in scaled:
        grid.paste(picture, (left, 0))
        left += picture.width + GAP
    return grid
