"""Model folders as the hub lays them out: what is in one, and whether it arrived whole.

Knows no model and no library that builds one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..record import InputError


def may_be_hub_id(source: str) -> bool:
    """Whether `source` reads as owner/name."""
    owner, _, name = source.partition("/")
    return bool(owner and name) and "/" not in name and owner not in (".", "..", "~")


def weight_files(part: Path) -> Iterator[Path]:
    """The files that the weights of a folder should be in."""
    indices = sorted(part.glob("*.safetensors.index.json"))
    if indices:
        shards: dict[str, str] = read_json(indices[0]).get("weight_map", {})
        yield from (part / name for name in sorted(set(shards.values())))
    else:
        found = sorted(part.glob("*.safetensors"))
        yield from found or [part / "*.safetensors"]


def check_weights(file: Path) -> None:
    """InputError where a weight file is missing or shorter than its header says."""
    if not file.is_file():
        raise InputError(
            f"The weight file {file} is missing. Download the folder again, or copy it whole."
        )
    try:
        with safe_open(file, framework="pt"):  # compares the header with the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"The weight file {file} is damaged ({first_line(error)}) Download it again."
        ) from error


def read_json(file: Path) -> dict:
    """The object in a JSON file; InputError where there is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON. Download it again.") from error


def first_line(error: Exception) -> str:
    """The first line of what an error says, as a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."
