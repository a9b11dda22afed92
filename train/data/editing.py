"""Editing triplets (paper §3.2): data sets of edits; the edited picture's caption is the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.record import InputError
from train.data.captions import build_captioning
from train.data.edits import EditSet, ParquetEdits, open_set
from train.data.prompts import Avoided
from train.data.records import Item, PaintedPicture, Pair, Slice
from train.data.settings import DataSettings
from train.data.source import PipelineStage, Source
from train.triplets import SIBLING, SampleError, encoded

NAME = SUBSET = "editing"


def editing_source(settings: DataSettings, avoided: Avoided) -> Source:
    editing, engine = settings.editing, settings.engine
    if not editing.sets:
        raise InputError("editing.pairs needs a data set. Give for example editing.sets=[shapes].")
    sets = open_sets(settings)
    found = [
        {"set": spec, "row": row}
        for spec, edits in sets.items()
        for row in range(min(editing.pairs, len(edits)))
    ]
    items = [
        Item(number, "", metadata, _group(sets[metadata["set"]], metadata))
        for number, metadata in enumerate(found)
    ]
    skipped = Counter(reason for edits in sets.values() for reason in edits.skipped.elements())
    build = partial(build_opening, settings, avoided)
    stages = [PipelineStage("open", build, engine.open)]
    if not editing.caption:
        caption = partial(build_captioning, settings.judges, avoided)
        stages.append(PipelineStage("caption", caption, engine.annotate))
    return Source(NAME, SUBSET, items, skipped, tuple(stages))


def _group(edits: EditSet, metadata: Mapping[str, Any]) -> str:
    """The group of rows that is read together with this row."""
    if not isinstance(edits, ParquetEdits):
        return ""
    return f"{metadata['set']} {edits.group_of(metadata['row'])}"


def open_sets(settings: DataSettings) -> dict[str, EditSet]:
    editing = settings.editing
    return {spec: open_set(spec, editing, settings.seed, settings.painter) for spec in editing.sets}


def build_opening(settings: DataSettings, avoided: Avoided) -> OpenStage:
    return OpenStage(open_sets(settings), avoided, settings.image_format)


def key_of(number: int, flawed: bytes) -> str:
    """The key of a pair; siblings (same flawed picture) differ only after the separator."""
    return f"{NAME}-{blake2b(flawed, digest_size=8).hexdigest()}{SIBLING}{number:08d}"


class OpenStage:
    """Stage: reads every row and encodes its pictures for the shards."""

    def __init__(self, sets: dict[str, EditSet], avoided: Avoided, image_format: str) -> None:
        self.sets, self.avoided, self.image_format = sets, avoided, image_format

    def __call__(self, work: Slice) -> Slice:
        pairs: list[Pair] = []
        rejects: list[str] = []
        for item in work.items:
            try:
                pairs.append(self._pair(item))
            except SampleError as error:
                rejects.append(str(error))
        return work.paired(pairs, rejects)

    def _pair(self, item: Item) -> Pair:
        edit = self.sets[item.metadata["set"]][item.metadata["row"]]
        if edit.caption in self.avoided:
            raise SampleError("prompt kept for testing")
        after, before = (
            PaintedPicture(encoded(to_rgb(image), self.image_format))
            for image in (edit.edited, edit.source)
        )
        key = key_of(item.number, before.data)
        metadata = {"set": item.metadata["set"].partition(":")[0], "row": item.metadata["row"]}
        return Pair(key, edit.caption.strip(), after, before, edit.instruction.strip(), metadata)
