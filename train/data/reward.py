"""Reward-based triplets (paper §3.2): any prompts, with pictures ranked by several scorers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from train.data.painting import build_painting
from train.data.prompts import PROMPT, Avoided, read_lines, shape_prompts, usable
from train.data.ranking import build_ranking
from train.data.records import Item
from train.data.rule import candidates_of
from train.data.settings import SHAPES, DataSettings
from train.data.source import PipelineStage, Source

NAME, SUBSET = "reward", "general"


def reward_source(settings: DataSettings, avoided: Avoided) -> Source:
    reward, engine = settings.reward, settings.engine
    records = prompt_records(reward.file, settings.seed)
    given = ({PROMPT: record[PROMPT]} for record in records if record[PROMPT])
    kept, rejects = usable(given, avoided, reward.prompts)
    items = [Item(i, record[PROMPT]) for i, record in enumerate(kept)]
    wishes = partial(candidates_of, count=reward.candidates)
    paint = partial(build_painting, settings.painter, wishes, settings.seed, settings.image_format)
    judge = partial(build_ranking, reward, settings.judges, NAME, settings.seed)
    stages = (
        PipelineStage("paint", paint, engine.paint),
        PipelineStage("judge", judge, engine.judge),
    )
    return Source(NAME, SUBSET, items, rejects, stages)


def prompt_records(file: str, seed: int) -> Iterable[Mapping[str, Any]]:
    return shape_prompts(seed) if file == SHAPES else read_lines(Path(file))
