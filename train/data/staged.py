"""Questions with answers for models that plan, inspect and reflect in a search.

Prompts are planned in stages, a picture of each stage's scene is painted, and a teacher answers
what a search would ask (Zhang et al. 2026, Huang et al. 2025).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from pydantic import BaseModel

from reflectionflow_core.record import Stage
from train.data.painting import build_painting
from train.data.prompts import PROMPT, Avoided, usable
from train.data.records import ChatSample, Item, Slice
from train.data.reward import prompt_records
from train.data.settings import DataSettings, Staged
from train.data.source import PipelineStage, Source
from train.data.teachers import Taught, Teacher, build_teacher
from train.triplets import CHATS

NAME = "staged"
STAGES = "stages"


def staged_source(settings: DataSettings, avoided: Avoided) -> Source:
    staged, engine = settings.staged, settings.engine
    records = prompt_records(staged.file, settings.seed)
    given = ({PROMPT: record[PROMPT]} for record in records if record[PROMPT])
    kept, rejects = usable(given, avoided, staged.prompts)
    items = [Item(number, record[PROMPT]) for number, record in enumerate(kept)]
    paint = partial(
        build_painting, settings.painter, scenes_of, settings.seed, settings.image_format
    )
    stages = (
        PipelineStage("plan", partial(build_planning, staged), engine.annotate),
        PipelineStage("paint", paint, engine.paint),
        PipelineStage("inspect", partial(build_looking, staged), engine.annotate),
    )
    return Source(NAME, CHATS, items, rejects, stages)


def scenes_of(item: Item) -> list[str]:
    """The prompts painted for an item: the scene of each stage."""
    return [stage.scene for stage in stages_of(item)]


def stages_of(item: Item) -> list[Stage]:
    return [Stage(line, scene, tuple(due)) for line, scene, due in item.metadata[STAGES]]


def build_planning(staged: Staged) -> PlanStage:
    return PlanStage(build_teacher(staged.teacher, staged.max_words))


def build_looking(staged: Staged) -> LookStage:
    return LookStage(build_teacher(staged.teacher, staged.max_words))


class PlanStage:
    """Stage: plans each item; items without a plan are dropped."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, work: Slice) -> Slice:
        before = self.teacher.calls
        items: list[Item] = []
        chats: list[ChatSample] = []
        for item in work.items:
            taught, stages = self.teacher.plan(item.prompt)
            chats += chats_of(item, taught)
            if stages:
                plan = [[stage.instruction, stage.scene, [*stage.objects]] for stage in stages]
                items.append(replace(item, metadata={**item.metadata, STAGES: plan}))
        rejects = ["prompt not planned"] * (len(work.items) - len(items))
        planned = work.paired((), rejects, calls=self.teacher.calls - before)
        return replace(planned, items=tuple(items), chats=tuple(chats))


class LookStage:
    """Stage: what a search asks about the picture of each stage."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, work: Slice) -> Slice:
        before = self.teacher.calls
        chats = list(work.chats)
        for item, pictures in zip(work.items, work.pictures, strict=True):
            taught = self.teacher.look(item.prompt, stages_of(item), [p.image for p in pictures])
            files = {picture.image.tobytes(): picture.data for picture in pictures}
            chats += chats_of(item, taught, files)
        done = work.paired((), calls=self.teacher.calls - before)
        return replace(done, chats=tuple(chats))


def chats_of(
    item: Item, taught: Iterable[Taught], files: dict[bytes, bytes] | None = None
) -> list[ChatSample]:
    """The chats for the shard; `files` are the pictures' files by their pixels."""
    found: list[ChatSample] = []
    for number, (kind, question, answer) in enumerate(taught):
        text = answer.model_dump_json() if isinstance(answer, BaseModel) else answer
        (image,) = question.images or (None,)
        data = files[image.tobytes()] if files and image is not None else b""
        side = "seen" if data else "read"
        key = f"{NAME}-{item.number:08d}-{side}-{number}"
        told = {
            "kind": kind,
            "prompt": item.prompt,
            "system": question.system,
            "request": question.text,
            "answer": text,
        }
        found.append(ChatSample(key, item.prompt, json.dumps(told, sort_keys=True), data))
    return found
