"""Long-short triplets (paper §3.2): a detailed prompt gives better pictures than its short form.

The triplet has the short prompt, which is what users write and what fits into CLIP. If the file has
none, judges.vlm condenses the long prompt.
"""

from __future__ import annotations

from functools import partial

from train.data.captions import build_condensing
from train.data.painting import build_painting
from train.data.prompts import DETAILED, PROMPT, Avoided, usable
from train.data.ranking import build_ranking
from train.data.records import Item
from train.data.reward import prompt_records
from train.data.settings import DataSettings
from train.data.source import PipelineStage, Source

NAME = SUBSET = "length"


def length_source(settings: DataSettings, avoided: Avoided) -> Source:
    length, engine = settings.length, settings.engine
    records = (r for r in prompt_records(length.file, settings.seed) if r.get(DETAILED))
    kept, rejects = usable(records, avoided, length.prompts)
    items = [Item(i, r[PROMPT], {DETAILED: r[DETAILED]}) for i, r in enumerate(kept)]
    wishes = partial(both_of, count=length.candidates)
    paint = partial(build_painting, settings.painter, wishes, settings.seed, settings.image_format)
    judge = partial(build_ranking, length, settings.judges, NAME, settings.seed)
    stages = [
        PipelineStage("paint", paint, engine.paint),
        PipelineStage("judge", judge, engine.judge),
    ]
    if not all(item.prompt for item in items):
        condense = partial(build_condensing, settings.judges, avoided)
        stages.insert(0, PipelineStage("condense", condense, engine.condense))
    return Source(NAME, SUBSET, items, rejects, tuple(stages))


def both_of(item: Item, count: int) -> list[str]:
    return [item.metadata[DETAILED]] * count + [item.prompt] * count
