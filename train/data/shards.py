"""Shards on disk: slices leave parts, which are joined into a shard once they are complete.

Parts and shards are written atomically; a shard is finished if the JSON next to it gives its size.
Parts are joined in order, so a shard has the same bytes whichever machine wrote its parts. There
are no repeated pairs within a shard; repeats.py finds those across shards.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from reflectionflow_core.archive import files
from reflectionflow_core.record import InputError
from train.data.records import ChatSample, PaintedPicture, Pair, Slice
from train.prompt_words import digest
from train.shard_index import SUBSET, index_of, keep, walk
from train.triplets import (
    BAD,
    CHAT,
    GOOD,
    METADATA,
    PICTURE,
    PROMPT,
    REFLECTION,
)

if TYPE_CHECKING:
    from webdataset.writer import TarWriter

PARTS = "parts"
REPORT = "report"
SIDE = 16  # of the grid whose 256 brightness differences are a picture's fingerprint


@dataclass(frozen=True, slots=True)
class SampleReport:
    """The facts of a sample without its pictures.

    `digest` is that of its content, `prints` the fingerprints of both pictures (hexadecimal),
    `difficulty` that of its prompt ("": unknown).
    """

    key: str
    prompt: str
    reflection: str
    digest: str
    prints: tuple[str, str]
    difficulty: str = ""

    @property
    def said(self) -> int:
        """A 64-bit number, equal for equal prompts and reflections."""
        return digest(f"{self.prompt} {self.reflection}")


@dataclass(frozen=True, slots=True)
class Report:
    """The JSON next to a shard, or in a part."""

    samples: tuple[SampleReport, ...]
    items: int
    rejects: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    subset: str = ""
    difficulty: Mapping[str, int] = field(default_factory=dict)
    sha256: str = ""  # of the shard; "" if no pair is left and there is no shard
    bytes: int = 0


def shard_name(shard: int) -> str:
    return f"genref_{shard:06d}"


def part_file(folder: Path, shard: int, position: int) -> Path:
    return folder / PARTS / f"{shard:06d}-{position:05d}.tar"


@dataclass(frozen=True, slots=True)
class StoreStage:
    """Stage: writes a slice's pairs as a part; the slice continues without them."""

    folder: Path
    source: str
    subset: str
    image_format: str

    def __call__(self, work: Slice) -> Slice:
        report = Report(
            (*map(sample_of, work.pairs), *map(sample_of_chat, work.chats)),
            len(work.items),
            work.rejects,
            work.counts,
            self.source,
            self.subset,
        )
        buffer = io.BytesIO()
        with _writer(buffer) as tar:
            tar.write({"__key__": REPORT, "json": _json(asdict(report))})
            for pair in work.pairs:
                tar.write({"__key__": pair.key, **self._files(pair)})
            for chat in work.chats:
                picture = {f"{PICTURE}.{self.image_format}": chat.image} if chat.image else {}
                tar.write({"__key__": chat.key, CHAT: chat.told.encode(), **picture})
        files.replace_file(part_file(self.folder, work.shard, work.position), buffer.getvalue())
        return Slice(work.shard, work.position, ())

    def _files(self, pair: Pair) -> dict[str, bytes]:
        metadata = {
            **pair.metadata,
            "source": self.source,
            "good": _of(pair.good),
            "bad": _of(pair.bad),
        }
        return {
            f"{GOOD}.{self.image_format}": pair.good.data,
            f"{BAD}.{self.image_format}": pair.bad.data,
            REFLECTION: pair.reflection.encode(),
            PROMPT: pair.prompt.encode(),
            SUBSET: self.subset.encode(),
            METADATA: _json(metadata),
        }


def assemble(folder: Path, shard: int, parts: int, near_bits: int | None) -> Report:
    """Joins the parts into their shard and deletes them; if the shard exists, deletes leftovers."""
    if (done := finished(folder, shard)) is not None:
        forget_parts(folder, shard)
        return done
    files_of_parts = [part_file(folder, shard, position) for position in range(parts)]
    reports = [read_part(file) for file in files_of_parts]
    kept, repeated = without_repeats([s for r in reports for s in r.samples], near_bits)
    whole = Report(
        samples=(),
        items=sum(report.items for report in reports),
        rejects=_sum([report.rejects for report in reports]),
        counts=_sum([report.counts for report in reports]),
        source=reports[0].source,
        subset=reports[0].subset,
    )
    report = _write_shard(folder, shard, files_of_parts, kept, whole, repeated)
    forget_parts(folder, shard)
    return report


def _write_shard(
    folder: Path,
    shard: int,
    parts: Sequence[Path],
    kept: Sequence[SampleReport],
    about: Report,
    left_out: Mapping[str, int],
) -> Report:
    """Writes the kept samples of the parts as a shard, with its index and report."""
    name, made = folder / f"{shard_name(shard)}.tar", _whole(folder, shard)
    sha256, size = "", 0
    if kept:
        with files.replacing(made) as stream:
            _join(stream, parts, {sample.key for sample in kept})
        sha256, size = sha256_of(made), made.stat().st_size
    else:
        name.unlink(missing_ok=True)
    report = replace(
        about,
        samples=tuple(kept),
        rejects=_sum([about.rejects, left_out]),
        difficulty=_sum([Counter(sample.difficulty for sample in kept if sample.difficulty)]),
        sha256=sha256,
        bytes=size,
    )
    # The report first: `recover` needs it after an interruption.
    files.replace_file(name.with_suffix(".json"), _json(asdict(report)) + b"\n")
    if kept:
        _put(made, name)
    return report


def _whole(folder: Path, shard: int) -> Path:
    """The path of the shard while it is being written."""
    return folder / PARTS / f"{shard:06d}-whole.tar"


def _put(made: Path, name: Path) -> None:
    with files.writing(name):
        made.replace(name)
    keep(name, walk(name))


def recover(folder: Path, shard: int) -> None:
    """Moves a shard into place that an interrupted run had completed, with its report."""
    name, made = folder / f"{shard_name(shard)}.tar", _whole(folder, shard)
    report = _written(name)
    if report and made.is_file() and sha256_of(made) == report.sha256:
        _put(made, name)
    elif report and name.is_file():
        index_of(name)


def thin(folder: Path, shard: int, without: Mapping[str, str]) -> None:
    """Removes samples from a finished shard by key, and counts them by reason.

    Calling it again, as in a repeated task, changes nothing.
    """
    recover(folder, shard)
    report = finished(folder, shard)
    assert report is not None
    reasons = Counter(without[s.key] for s in report.samples if s.key in without)
    if reasons:
        kept = tuple(s for s in report.samples if s.key not in without)
        name = folder / f"{shard_name(shard)}.tar"
        _write_shard(folder, shard, [name], kept, report, reasons)


def forget_parts(folder: Path, shard: int) -> None:
    for part in (folder / PARTS).glob(f"{shard:06d}-*.tar"):
        with files.writing(part):
            part.unlink(missing_ok=True)


def finished(folder: Path, shard: int) -> Report | None:
    """The report of a complete shard, otherwise None."""
    name = folder / f"{shard_name(shard)}.tar"
    report = _written(name)
    size = name.stat().st_size if name.is_file() else 0
    return report if report and size == report.bytes else None


def _written(name: Path) -> Report | None:
    """The report next to a shard or to its future path; None if there is none."""
    try:
        return _report(json.loads(name.with_suffix(".json").read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_part(file: Path) -> Report:
    """A part's content; InputError if it is damaged."""
    try:
        with tarfile.open(file) as tar:
            stream = tar.extractfile(f"{REPORT}.json")
            return _report(json.loads(stream.read() if stream else b""))
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is damaged ({error}). Delete it and start again; everything else is kept."
        ) from error


def without_repeats(
    samples: Sequence[SampleReport], near_bits: int | None
) -> tuple[list[SampleReport], Counter[str]]:
    """The samples without repeats and near repeats, and counts of these.

    Two pairs nearly repeat each other if their texts are equal and both fingerprints, good with
    good and bad with bad, differ in at most `near_bits` of 256 bits (None: only equal pairs count).
    Pairs with different texts are kept: the texts may describe the small difference.
    """
    kept: list[SampleReport] = []
    prints: dict[int, list[tuple[int, int]]] = {}
    digests: set[str] = set()
    repeated: Counter[str] = Counter()
    for sample in samples:
        good, bad = (int(text, 16) for text in sample.prints)
        alike = prints.setdefault(sample.said, [])
        if sample.digest in digests:
            repeated["repeated"] += 1
        elif near_bits is not None and any(
            (good ^ g).bit_count() <= near_bits and (bad ^ b).bit_count() <= near_bits
            for g, b in alike
        ):
            repeated["nearly repeated"] += 1
        else:
            kept.append(sample)
            alike.append((good, bad))
            digests.add(sample.digest)
    return kept, repeated


def sample_of(pair: Pair) -> SampleReport:
    content = (pair.prompt.encode(), pair.good.data, pair.bad.data)
    whole = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content))
    prints = fingerprint(pair.good.image), fingerprint(pair.bad.image)
    difficulty = pair.metadata.get("difficulty", "")
    return SampleReport(
        pair.key, pair.prompt, pair.reflection, whole.hexdigest(), prints, difficulty
    )


def sample_of_chat(chat: ChatSample) -> SampleReport:
    """A question's sample. Questions may share a picture, so only equal ones are repeats."""
    whole = hashlib.sha256(chat.told.encode() + chat.image).hexdigest()
    return SampleReport(chat.key, chat.prompt, "", whole, (whole, whole))


def fingerprint(image: Image.Image) -> str:
    """Whether each cell of a grid is brighter than its right neighbour: 256 bits, hexadecimal.

    It is nearly invariant to scaling, compression and brightness.
    """
    grid = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    return np.packbits(grid[:, :-1] > grid[:, 1:]).tobytes().hex()


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _join(stream: BinaryIO, parts: Sequence[Path], keys: set[str]) -> None:
    with _writer(stream) as out:
        for part in parts:
            for key, members in _samples(part):
                if key in keys:
                    out.write({"__key__": key, **members})


def _samples(part: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a part one by one; files of one key are adjacent."""
    with tarfile.open(part) as tar:
        key, members = "", {}
        for member in tar:
            stem, _, name = member.name.partition(".")
            if stem != key and members:
                yield key, members
                members = {}
            key = stem
            stream = tar.extractfile(member)
            members[name] = stream.read() if stream else b""
        if members:
            yield key, members


def _writer(stream: BinaryIO) -> TarWriter:
    """A tar writer whose bytes depend only on the content."""
    from webdataset.writer import TarWriter  # imports torch

    return TarWriter(stream, user="", group="", mode=0o644, mtime=0, encoder=False)


def _of(picture: PaintedPicture) -> dict[str, Any]:
    metadata = {
        "prompt": picture.prompt,
        "seed": picture.seed,
        "marks": dict(picture.marks),
        "passed": picture.passed,
        "unmet": list(picture.unmet),
    }
    return {name: value for name, value in metadata.items() if value not in (None, "", {}, [])}


def _report(metadata: dict[str, Any]) -> Report:
    samples = tuple(
        SampleReport(**{**sample, "prints": tuple(sample["prints"])})
        for sample in metadata["samples"]
    )
    return Report(**{**metadata, "samples": samples})


def _json(record: Any) -> bytes:
    return json.dumps(record, sort_keys=True).encode()


def _sum(counters: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(sorted(total.items()))
