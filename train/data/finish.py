"""The end of a run: manifest, exports for other trainers, data card, unpacked pictures."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import reflectionflow_core
from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from reflectionflow_core.writers.reflection_generator import REQUEST
from train.cards import chats_card, triplets_card
from train.data.records import seed_of
from train.data.settings import DataSettings
from train.data.shards import Report, SampleReport, finished, shard_name
from train.data.source import Source
from train.places import without_places
from train.shard_lists import MANIFEST
from train.triplets import BAD, CHATS, GOOD, PICTURE

WRITER, VERIFIER, CARD, IMAGES = (
    "writer.jsonl",
    "verifier.jsonl",
    "README.md",
    "images",
)
LIBRARIES = ("diffusers", "numpy", "pillow", "ray", "torch", "transformers", "webdataset")


def finish(
    folder: Path, shards: Sequence[int], sources: Sequence[Source], settings: DataSettings
) -> dict[str, Any]:
    """Writes all files that describe the shards; returns the manifest.

    Reports are read one by one and several times, because a million texts would fill the memory.
    """
    manifest = manifest_of(reports_of(folder, shards), sources, settings)
    is_triplets = all(source.subset != CHATS for source in sources)
    for name, row in ((WRITER, writer_row), (VERIFIER, verifier_row)) if is_triplets else ():
        reports = reports_of(folder, shards)
        rows = (row(sample, report, settings) for _, report in reports for sample in report.samples)
        _write_lines(folder / name, rows)
    card = triplets_card(manifest) if is_triplets else chats_card(manifest)
    files.replace_file(folder / CARD, card.encode())
    if settings.images:
        unpack(folder, manifest)
    # Last: an existing manifest means that everything else exists.
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    files.replace_file(folder / MANIFEST, text.encode() + b"\n")
    return manifest


def manifest_of(
    reports: Iterator[tuple[int, Report]], sources: Sequence[Source], settings: DataSettings
) -> dict[str, Any]:
    subsets: Counter[str] = Counter()
    rejects = Counter(reason for source in sources for reason in source.rejects.elements())
    by_source = {source.name: _Counts(source) for source in sources}
    shards: list[dict[str, Any]] = []
    for shard, report in reports:
        subsets[report.subset] += len(report.samples)
        rejects.update(report.rejects)
        by_source[report.source].add(report)
        shards += [_shard(shard, report)] if report.samples else []
    return {
        "triplets": subsets.total() - subsets[CHATS],
        "subsets": dict(sorted(subsets.items())),
        "sources": {name: counts.summary() for name, counts in by_source.items()},
        "rejects": dict(rejects.most_common()),
        "shards": shards,
        "licences": settings.licences,
        "settings": without_places(
            settings.model_dump(mode="json", exclude={"out", "licences", "gpu"})
        ),
        "versions": {
            "reflectionflow": reflectionflow_core.__version__,
            **{name: version(name) for name in LIBRARIES},
        },
    }


class _Counts:
    """Totals of a source's reports."""

    def __init__(self, source: Source) -> None:
        self.source, self.triplets = source, 0
        self.rejects, self.spent, self.difficulty = Counter(source.rejects), Counter(), Counter()

    def add(self, report: Report) -> None:
        self.triplets += len(report.samples)
        self.rejects.update(report.rejects)
        self.spent.update(report.counts)
        self.difficulty.update(report.difficulty)

    def summary(self) -> dict[str, Any]:
        difficulty = {"difficulty": dict(sorted(self.difficulty.items()))}
        return {
            "subset": self.source.subset,
            "items": len(self.source.items),
            "triplets": self.triplets,
            **dict(sorted(self.spent.items())),
            "rejects": dict(self.rejects.most_common()),
            **(difficulty if self.difficulty else {}),
        }


def _shard(shard: int, report: Report) -> dict[str, Any]:
    return {
        "name": f"{shard_name(shard)}.tar",
        "sha256": report.sha256,
        "bytes": report.bytes,
        "triplets": len(report.samples),
        "source": report.source,
    }


def reports_of(folder: Path, shards: Sequence[int]) -> Iterator[tuple[int, Report]]:
    """Numbers and reports of finished shards, read one by one."""
    for shard in shards:
        if (report := finished(folder, shard)) is None:
            raise InputError(
                f"{shard_name(shard)} is missing. Give the same command again to make it."
            )
        yield shard, report


def writer_row(sample: SampleReport, _: Report, settings: DataSettings) -> dict[str, Any]:
    """A conversation for fine-tuning a reflection writer, in trl's format.

    The request is that of the published Reflection-Generator.
    """
    request = REQUEST.format(prompt=sample.prompt)
    asked = [{"type": "image"}, {"type": "text", "text": request}]
    answer = [{"type": "text", "text": sample.reflection}]
    return {
        "key": sample.key,
        "images": [_image(sample, BAD, settings)],
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ],
    }


def verifier_row(sample: SampleReport, report: Report, settings: DataSettings) -> dict[str, Any]:
    """Two pictures of a prompt in random order; `label` is 1 or 2, the better one."""
    good, bad = (_image(sample, name, settings) for name in (GOOD, BAD))
    first = seed_of(settings.seed, "label", sample.key) % 2 == 0
    return {
        "key": sample.key,
        "image1": good if first else bad,
        "image2": bad if first else good,
        "prompt": sample.prompt,
        "label": 1 if first else 2,
        "subset": report.subset,
    }


def unpack(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes all pictures of the shards as files, named as in the shards."""
    files.make_folder(folder / IMAGES)
    for shard in manifest["shards"]:
        with tarfile.open(folder / shard["name"]) as tar:
            for member in tar:
                name = Path(
                    member.name
                ).name  # the name must not be a path, even in a foreign shard
                stream = tar.extractfile(member)
                if stream and name.split(".")[1] in (GOOD, BAD, PICTURE):
                    files.replace_file(folder / IMAGES / name, stream.read())


def _image(sample: SampleReport, name: str, settings: DataSettings) -> str:
    return f"{IMAGES}/{sample.key}.{name}.{settings.image_format}"


def _write_lines(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with files.replacing(file) as stream:
        for row in rows:
            stream.write(json.dumps(row).encode() + b"\n")
