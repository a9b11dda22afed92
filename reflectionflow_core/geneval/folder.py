"""GenEval's folder of pictures: NNNNN/metadata.jsonl with the prompt, NNNNN/samples/*.png.

The official program uses the same layout.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..archive import files
from ..identity import digest
from ..pictures import PictureError, read_picture
from ..record import InputError
from ..report.words import counted
from ..texts import TextError, checked_text, decode_text, no_folder, parse_json

METADATA = "metadata.jsonl"
SAMPLES = "samples"
_SAMPLE = re.compile(r"\d+\.png")


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture of the prompt in folder `index`; `metadata` is that folder's."""

    index: int
    file: Path
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedSample:
    """A picture with its bytes, for a worker on any machine."""

    index: int  # index of its prompt
    file: Path
    png: bytes
    metadata: Mapping[str, Any]


def load_sample(sample: Sample) -> LoadedSample:
    with files.reading(sample.file):
        return LoadedSample(sample.index, sample.file, sample.file.read_bytes(), sample.metadata)


def read_prompts(file: Path) -> list[dict[str, Any]]:
    """The lines of a file such as GenEval's evaluation_metadata.jsonl, each with a "prompt"."""
    lines = _text(file).split("\n")
    found = [
        _metadata(line, f"{file}, line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]
    if not found:
        raise InputError(f"{file} has no prompts. Give one line with a prompt per picture.")
    return found


def sample_path(folder: Path, index: int, sample: int) -> Path:
    return prompt_folder(folder, index) / SAMPLES / f"{sample:04}.png"


def prompt_folder(folder: Path, index: int) -> Path:
    return folder / f"{index:05}"


def begin_prompt(folder: Path, index: int, metadata: Mapping[str, Any]) -> None:
    """Creates the folder of a prompt, with its metadata."""
    own = prompt_folder(folder, index)
    files.make_folder(own / SAMPLES)
    files.replace_file(own / METADATA, json.dumps(metadata).encode() + b"\n")


def samples_in(folder: Path) -> list[Sample]:
    """All pictures of the folder by prompt; InputError if there are none."""
    if not folder.is_dir():
        raise no_folder(folder, "Give a folder with pictures after --images.")
    found = [
        sample
        for own in sorted(folder.iterdir(), key=lambda own: own.name)
        if own.name.isdecimal() and own.is_dir()
        for sample in _samples_of(own)
    ]
    if not found:
        raise InputError(
            f"{folder} contains no pictures in GenEval's layout: 00000/{METADATA} and "
            f"00000/{SAMPLES}/0000.png, and so on. Paint some with --generate."
        )
    return found


def _samples_of(own: Path) -> list[Sample]:
    with files.reading(own):
        metadata = _metadata(_text(own / METADATA), own / METADATA)
        pictures = sorted((own / SAMPLES).iterdir())
    return [
        Sample(int(own.name), picture, metadata)
        for picture in pictures
        if picture.is_file() and _SAMPLE.fullmatch(picture.name)
    ]


def _text(file: Path) -> str:
    with files.reading(file):
        data = file.read_bytes()
    try:
        return decode_text(data)
    except TextError as error:
        raise InputError(f"{file} cannot be used: {error.reason}. Save it as UTF-8.") from error


def _metadata(text: str, where: object) -> dict[str, Any]:
    try:
        metadata = parse_json(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({error}). Give one object per line.") from error
    prompt = metadata.get("prompt") if isinstance(metadata, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f'{where} has no "prompt". Give lines such as GenEval\'s.')
    try:
        checked_text(prompt)
    except TextError as error:
        raise InputError(
            f"The prompt of {where} cannot be used: {error.reason}. Correct it."
        ) from error
    return metadata


def decoded(png: bytes, name: object) -> Image.Image:
    """The picture, upright and in RGB; raises InputError."""
    try:
        return read_picture(png)
    except PictureError as error:
        raise InputError(
            f"{name} cannot be used: {error.reason}. Paint it again, or remove it."
        ) from error


def usable(samples: Sequence[Sample]) -> tuple[list[Sample], dict[str, str]]:
    """The samples with readable pictures, and why others are unreadable, by file.

    InputError if there are none.
    """
    kept: list[Sample] = []
    unreadable: dict[str, str] = {}
    for sample in samples:
        try:
            read_picture(load_sample(sample).png)
            kept.append(sample)
        except PictureError as error:
            unreadable[str(sample.file)] = error.reason
    if not kept:
        raise InputError(f"{unreadable_text(unreadable)} Paint them again.")
    return kept, unreadable


def unreadable_text(unreadable: Mapping[str, str]) -> str:
    """A sentence with the number of skipped pictures and the first one; "" if there are none."""
    if not unreadable:
        return ""
    file, reason = next(iter(unreadable.items()))
    few = counted(len(unreadable), "picture")
    return f"Left out of all figures: {few} that cannot be used, such as {file} ({reason})."


def prompts_of(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Every prompt once, as written into results."""
    known = {sample.index: sample.metadata for sample in samples}
    return [
        {"index": index, "prompt": metadata["prompt"], "tag": metadata.get("tag", "")}
        for index, metadata in known.items()
    ]


def digest_of(samples: Sequence[Sample]) -> str:
    """A digest that identifies the pictures, independent of their folder."""
    combined = hashlib.sha256()
    for sample in samples:
        combined.update(f"{sample.index} {sample.file.name} {digest(sample.file)}\n".encode())
    return combined.hexdigest()[:16]


def samples_per_prompt(samples: Sequence[Sample]) -> str:
    """The number of pictures per prompt: "4", or "2 to 4"."""
    counts = Counter(sample.index for sample in samples)
    few, many = min(counts.values()), max(counts.values())
    return f"{few}" if few == many else f"{few} to {many}"
