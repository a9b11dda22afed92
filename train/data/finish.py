"""The end of a run: manifest, exports for other trainers, data card, unpacked pictures."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import reflectionflow_core
from reflectionflow_core.archive import files
from reflectionflow_core.writers.reflection_generator import REQUEST
from train.data.card import card
from train.data.records import seed_of
from train.data.settings import Settings
from train.data.shards import Report, Sample, shard_name
from train.data.source import Source
from train.triplets import BAD, GOOD

MANIFEST, WRITER, VERIFIER, CARD, IMAGES = (
    "manifest.json",
    "writer.jsonl",
    "verifier.jsonl",
    "README.md",
    "images",
)
LIBRARIES = ("diffusers", "numpy", "pillow", "ray", "torch", "transformers", "webdataset")


def finish(
    folder: Path, reports: Mapping[int, Report], sources: Sequence[Source], settings: Settings
) -> dict[str, Any]:
    """Writes all that tells of the shards, and gives back the manifest."""
    manifest = manifest_of(reports, sources, settings)
    samples = [(sample, settings) for report in reports.values() for sample in report.samples]
    _write_lines(folder / WRITER, (writer_row(*sample) for sample in samples))
    _write_lines(folder / VERIFIER, (verifier_row(*sample) for sample in samples))
    files.replace_file(folder / CARD, card(manifest).encode())
    if settings.images:
        unpack(folder, reports)
    # Last, so that a manifest means that all the rest is there.
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    files.replace_file(folder / MANIFEST, text.encode() + b"\n")
    return manifest


def manifest_of(
    reports: Mapping[int, Report], sources: Sequence[Source], settings: Settings
) -> dict[str, Any]:
    everything = list(reports.values())
    by_source = {source.name: _counts(source, everything) for source in sources}
    subsets: Counter[str] = Counter()
    for report in everything:
        subsets[report.subset] += len(report.samples)
    rejects = _sum(counts["rejects"] for counts in by_source.values())
    return {
        "triplets": sum(subsets.values()),
        "subsets": dict(sorted(subsets.items())),
        "sources": by_source,
        "rejects": dict(rejects.most_common()),
        "shards": [
            {
                "name": f"{shard_name(shard)}.tar",
                "sha256": report.sha256,
                "bytes": report.bytes,
                "triplets": len(report.samples),
                "source": report.source,
            }
            for shard, report in sorted(reports.items())
            if report.samples
        ],
        "licences": settings.licences,
        "settings": settings.model_dump(mode="json", exclude={"out", "licences"}),
        "versions": {
            "reflectionflow": reflectionflow_core.__version__,
            **{name: version(name) for name in LIBRARIES},
        },
    }


def writer_row(sample: Sample, settings: Settings) -> dict[str, Any]:
    """A conversation for supervised fine-tuning of a reflection writer, in trl's form.

    The request is the one that the published Reflection-Generator knows.
    """
    request = REQUEST.format(prompt=sample.prompt)
    asked = [{"type": "image"}, {"type": "text", "text": request}]
    said = [{"type": "text", "text": sample.reflection}]
    return {
        "key": sample.key,
        "images": [_image(sample, BAD, settings)],
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said},
        ],
    }


def verifier_row(sample: Sample, settings: Settings) -> dict[str, Any]:
    """Two pictures of a prompt, in an order drawn by lot; `label` is 1 or 2, the better one."""
    good, bad = (_image(sample, name, settings) for name in (GOOD, BAD))
    first = seed_of(settings.seed, "label", sample.key) % 2 == 0
    return {
        "key": sample.key,
        "image1": good if first else bad,
        "image2": bad if first else good,
        "prompt": sample.prompt,
        "label": 1 if first else 2,
    }


def unpack(folder: Path, reports: Mapping[int, Report]) -> None:
    """All pictures of the shards as files, named as within the shards."""
    files.make_folder(folder / IMAGES)
    for shard, report in reports.items():
        if not report.samples:
            continue
        with tarfile.open(folder / f"{shard_name(shard)}.tar") as tar:
            for member in tar:
                name = Path(member.name).name  # never a path, whoever made the shard
                stream = tar.extractfile(member)
                if stream and name.split(".")[1] in (GOOD, BAD):
                    files.replace_file(folder / IMAGES / name, stream.read())


def _image(sample: Sample, name: str, settings: Settings) -> str:
    return f"{IMAGES}/{sample.key}.{name}.{settings.image_format}"


def _counts(source: Source, reports: Iterable[Report]) -> dict[str, Any]:
    own = [report for report in reports if report.source == source.name]
    rejects = _sum([source.rejects, *(report.rejects for report in own)])
    difficulty = _sum(report.difficulty for report in own)
    counts = {
        "subset": source.subset,
        "items": len(source.items),
        "triplets": sum(len(report.samples) for report in own),
        **_sum(report.counts for report in own),
        "rejects": dict(rejects.most_common()),
    }
    return {**counts, "difficulty": dict(sorted(difficulty.items()))} if difficulty else counts


def _sum(counters: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _write_lines(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    with files.replacing(file) as stream:
        for row in rows:
            stream.write(json.dumps(row).encode() + b"\n")
