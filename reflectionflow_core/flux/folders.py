"""Model folders in the hub's layout: their parts, and whether a download is complete.

Independent of models and of the libraries that build them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..record import InputError
from ..texts import parse_json, user_path

SAFETENSORS = (".safetensors", ".sft")  # file extensions by format
VARIANTS = ("fp16", "bf16")  # in names of weight files, used where a folder has no others
_PICKLED = (
    "was saved by torch (.pt, .ckpt, .bin), which may run code. Give the weights as .safetensors."
)
_PAGE = "is a web page. Download it again, with the link that says download."
OTHER_FORMATS = (
    (b"pk\x03\x04", _PICKLED),
    (b"\x80\x02\x8a\x0a", _PICKLED),
    (b"gguf", "is a GGUF file. Give the weights as .safetensors."),
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights. Run: git lfs pull"),
    *((start, _PAGE) for start in (b"<!doctype", b"<html", b"<?xml")),
)  # by first bytes, in small letters
PEFT_FILE, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def local_folder(source: str | Path) -> Path | None:
    """The folder named by `source`, existing or not; None for a hub ID, owner/name."""
    folder = user_path(source)
    owner, _, name = str(source).partition("/")
    is_path = owner in (".", "..") or owner.startswith("~") or ":" in owner  # a Windows drive
    may_be_id = owner and name and "/" not in name and not is_path
    return None if may_be_id and not folder.exists() else folder


def weight_files(part: Path) -> Iterator[Path]:
    """The weight files that a folder should have, in one variant."""
    indices = _files(part, "*.safetensors.index.json")
    if indices:
        shards = read_json(indices[0]).get("weight_map")
        names = list(shards.values()) if isinstance(shards, dict) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"{indices[0]} names no weight files. Download it again.")
        yield from (part / name for name in sorted(set(names)))
    else:
        found = _files(part, "*.safetensors")
        plain = [file for file in found if not any(f".{v}" in file.name for v in VARIANTS)]
        yield from plain or found or [part / "*.safetensors"]


def _files(part: Path, pattern: str) -> list[Path]:
    """The files in order, without hidden ones: macOS puts a ._NAME beside each on some drives."""
    return sorted(file for file in part.glob(pattern) if not file.name.startswith("."))


def lora_files(lora: Path) -> list[Path]:
    """A LoRA's file or folder, and PEFT's settings next to its file."""
    settings = lora.parent / PEFT_SETTINGS
    return [lora, settings] if lora.name == PEFT_FILE and settings.is_file() else [lora]


def check_weights(file: Path) -> None:
    """InputError for a weight file that is missing or shorter than its header says."""
    if not file.is_file():
        raise InputError(
            f"The weight file {file} is missing. Download the folder again, or copy it whole."
        )
    try:
        with safe_open(file, framework="pt"):  # compares header and file length
            pass
    except (SafetensorError, OSError) as error:
        if other := other_format(file):
            raise InputError(f"The weight file {file} {other}") from error
        raise InputError(
            f"The weight file {file} is damaged ({first_line(error)}) Download it again."
        ) from error


def other_format(file: Path) -> str:
    """What a file that is not safetensors is instead, and what to do; "" if that is unknown."""
    try:
        with file.open("rb") as stream:
            head = stream.read(64).lower()
    except OSError:
        return ""
    return next((text for magic, text in OTHER_FORMATS if head.startswith(magic)), "")


def read_json(file: Path) -> dict:
    """The object in a JSON file; InputError if it cannot be read."""
    try:
        found = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON. Download it again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} is JSON, but not an object. Download it again.")
    return found


def first_line(error: Exception) -> str:
    """The first line of an error message, as a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."


def listed(names: Iterable[str], shown: int = 3) -> str:
    """The first names in alphabetical order, and the number of others."""
    ordered = sorted(names)
    rest = len(ordered) - shown
    return ", ".join(ordered[:shown]) + (f" and {rest} more" if rest > 0 else "")
