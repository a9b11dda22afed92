"""The work list of a run: sources, shards, slices, and the record that identifies the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from reflectionflow_core.identity import digest, identity
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice
from train.data.annotating import build_annotation
from train.data.editing import editing_source
from train.data.filtering import build_filtering
from train.data.histories import histories_source
from train.data.length import length_source
from train.data.painting import painter_choice
from train.data.prompts import Avoided
from train.data.records import Item, Slice
from train.data.reward import reward_source
from train.data.rule import rule_source
from train.data.settings import DETECTOR, MINIATURE, NO_SOURCE, SYNTHETIC, DataSettings
from train.data.shards import StoreStage
from train.data.source import PipelineStage, Source
from train.data.staged import staged_source
from train.data.teachers import RULES
from train.triplets import CHATS

FORMAT = 1
# Settings that may change on resuming: the shards do not depend on them.
MAY_CHANGE = {"out", "images", "licences", "assumptions", "gpu"}
OF_ENGINE = ("shard_items", "slice_items")  # of the engine's settings, only these must not change


def sources_of(settings: DataSettings) -> list[Source]:
    """The sources in use; InputError if there is none."""
    wanted: dict[Callable[[DataSettings, Avoided], Source], object] = {
        rule_source: settings.rule.prompts,
        reward_source: settings.reward.prompts,
        length_source: settings.length.prompts,
        editing_source: settings.editing.pairs,
        histories_source: settings.histories.runs,
        staged_source: settings.staged.prompts,
    }
    avoided = Avoided(settings.benchmarks, settings.painter.model == MINIATURE)
    sources = [build(settings, avoided) for build, asked in wanted.items() if asked]
    if not sources:
        raise InputError(NO_SOURCE)
    if settings.staged.prompts and len(sources) > 1:
        raise InputError(
            "Questions with answers need a separate run. Set staged.prompts=0, or set the other "
            "sources to 0."
        )
    return sources


def stages_of(source: Source, settings: DataSettings) -> tuple[PipelineStage, ...]:
    """The source's own stages, followed by the common ones that end on the disk."""
    annotate = partial(build_annotation, settings.reflections, settings.seed)
    keep = partial(build_filtering, settings.filter, settings.judges)
    folder = settings.out.resolve()
    store = partial(StoreStage, folder, source.name, source.subset, settings.image_format)
    engine = settings.engine
    stored = PipelineStage("store", store, engine.store)
    if source.subset == CHATS:
        return (*source.stages, stored)
    return (
        *source.stages,
        PipelineStage("annotate", annotate, engine.annotate),
        PipelineStage("filter", keep, engine.filter),
        stored,
    )


def sharded(source: Source, first: int, settings: DataSettings) -> dict[int, list[Slice]]:
    """The slices of each shard, each of one group; shards are numbered from `first`."""
    size, step = settings.engine.shard_items, settings.engine.slice_items
    shards: dict[int, list[Slice]] = {}
    for number, start in enumerate(range(0, len(source.items), size)):
        groups = groupby(source.items[start : start + size], lambda item: item.group)
        parts = [part for _, items in groups for part in batched(items, step)]
        shards[first + number] = [Slice(first + number, i, part) for i, part in enumerate(parts)]
    return shards


def batched(items: Iterable[Item], most: int) -> Iterator[tuple[Item, ...]]:
    """Tuples of `most` items; the last one may be shorter."""
    left = iter(items)
    while part := tuple(islice(left, most)):
        yield part


def run_record(settings: DataSettings, sources: list[Source]) -> dict[str, Any]:
    """Everything that determines the shards' bytes, as JSON."""
    values = settings.model_dump(mode="json", exclude=MAY_CHANGE)
    values["engine"] = {name: values["engine"][name] for name in OF_ENGINE}
    if not settings.staged.prompts:
        del values["staged"]  # not recorded by earlier versions
    return {
        "format": FORMAT,
        "settings": values,
        "work": {source.name: _work_digest(source) for source in sources},
        "models": models_of(settings),
    }


def models_of(settings: DataSettings) -> dict[str, str]:
    """Digests of all weights, by the name of the setting."""
    models: dict[str, str] = {}
    if settings.painter.model != SYNTHETIC and settings.paints:
        models["painter"] = identity(painter_choice(settings.painter))["model"]
    if settings.rule.prompts and settings.rule.judge.startswith(DETECTOR):
        folders = (settings.rule.judge.removeprefix(DETECTOR), settings.rule.colour_judge)
        models["rule.judge"] = "+".join(_digest_of(folder) for folder in folders if folder)
    for group, specs in settings.scorers.items():
        found = [_scorer_digest(spec, settings) for spec in specs]
        if any(found):
            models[group] = "+".join(found)
    if settings.judges.vlm is not None:
        models["judges"] = identity(ActorChoice(vlm=settings.judges.vlm)).get("vlm", "")
    if settings.staged.prompts and settings.staged.teacher != RULES:
        models["staged"] = identity(ActorChoice(vlm=settings.staged.teacher)).get("vlm", "")
    if settings.reflections.how == "vlm":
        choice = ActorChoice(vlm=settings.reflections.vlm)
        models["reflections"] = identity(choice).get("vlm", "")
    return models


def _work_digest(source: Source) -> str:
    whole = sha256()
    for item in source.items:
        record = {"number": item.number, "prompt": item.prompt, "told": item.metadata}
        record |= {"group": item.group} if item.group else {}  # determines the slices
        whole.update(json.dumps(record, sort_keys=True).encode())
    return whole.hexdigest()


def _scorer_digest(spec: str, settings: DataSettings) -> str:
    if spec == SYNTHETIC:
        return ""
    judges = settings.judges
    known = identity(
        ActorChoice(
            verifier=spec,
            reward_base=judges.reward_base,
            reward_template=judges.reward_template,
        )
    )
    return known.get("verifier", "")


def _digest_of(folder: str) -> str:
    path = Path(folder).expanduser()
    return digest(path) if path.exists() else folder
