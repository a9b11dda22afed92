"""Names, shapes and types of the tensors in checkpoints that people load; weights nowhere.

`NAME.json` holds {pattern: [type, shape]}, where {a..b} in a pattern stands for each number from a
to b. make.py has made them from the models' published configurations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}  # names are those of safetensors
Key = tuple[str, tuple[int, ...]]  # type and shape
Keys = Mapping[str, Key]


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.json"))


@cache
def keys(name: str) -> Keys:
    """Every tensor of a checkpoint."""
    patterns = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return {
        key: (kind, tuple(shape))
        for pattern, (kind, shape) in patterns.items()
        for key in expanded(pattern)
    }


def as_type(keys: Keys, kind: str) -> Keys:
    """The same tensors in another type, as the fp8 files have all of theirs."""
    return {name: (kind, shape) for name, (_, shape) in keys.items()}


def expanded(pattern: str) -> Iterator[str]:
    """The names that a pattern stands for."""
    found = RANGE.search(pattern)
    if not found:
        yield pattern
        return
    for number in range(int(found[1]), int(found[2]) + 1):
        yield from expanded(f"{pattern[: found.start()]}{number}{pattern[found.end() :]}")


def collapsed(keys: Keys) -> dict[str, Key]:
    """The patterns of `keys`: numbers that follow each other in one place become a range."""
    patterns = dict(keys)
    deepest = max((name.count(".") for name in patterns), default=0)
    for position in range(deepest + 1):
        patterns = _collapsed_at(position, patterns)
    return patterns


def _collapsed_at(position: int, patterns: Mapping[str, Key]) -> dict[str, Key]:
    groups: dict[tuple[str, Key], list[int]] = {}
    found: dict[str, Key] = {}
    for name, key in patterns.items():
        parts = re.split(r"(?<!\.)\.(?!\.)", name)  # not at the dots of a range
        if position < len(parts) and parts[position].isdigit():
            number, parts[position] = int(parts[position]), "{}"
            groups.setdefault((".".join(parts), key), []).append(number)
        else:
            found[name] = key
    for (name, key), numbers in groups.items():
        for first, last in _runs(sorted(numbers)):
            shown = str(first) if first == last else f"{{{first}..{last}}}"
            found[name.replace("{}", shown, 1)] = key
    return found


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def header(keys: Keys) -> tuple[bytes, int]:
    """The beginning of a safetensors file of these tensors, and the file's whole length."""
    described, end = {}, 0
    for name, (kind, shape) in keys.items():
        size = BYTES[kind]
        for side in shape:
            size *= side
        described[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + end


def write_hollow(file: Path, keys: Keys) -> Path:
    """A safetensors file of true length whose tensors are a hole: it takes no place on the disk."""
    beginning, length = header(keys)
    with file.open("wb") as stream:
        stream.write(beginning)
        stream.truncate(length)
    return file
