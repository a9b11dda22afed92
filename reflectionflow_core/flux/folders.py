"""Model folders as the hub lays them out: what is in one, and whether its download is complete.

Knows neither models nor the libraries that build them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ..record import InputError
from ..texts import parse_json

SAFETENSORS = (".safetensors", ".sft")  # endings of one format
PEFT_FILE, PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def local_folder(source: str | Path) -> Path | None:
    """The folder that `source` names, existing or not; None where it is a hub id, owner/name."""
    folder = Path(source).expanduser()
    owner, _, name = str(source).partition("/")
    may_be_id = owner and name and "/" not in name and owner not in (".", "..", "~")
    return None if may_be_id and not folder.exists() else folder


def weight_files(part: Path) -> Iterator[Path]:
    """The files that should hold the weights of a folder."""
    indices = sorted(part.glob("*.safetensors.index.json"))
    if indices:
        shards: dict[str, str] = read_json(indices[0]).get("weight_map", {})
        yield from (part / name for name in sorted(set(shards.values())))
    else:
        found = sorted(part.glob("*.safetensors"))
        yield from found or [part / "*.safetensors"]


def lora_files(lora: Path) -> list[Path]:
    """A LoRA's file or folder, and the settings that PEFT saved beside its file."""
    settings = lora.parent / PEFT_SETTINGS
    return [lora, settings] if lora.name == PEFT_FILE and settings.is_file() else [lora]


def check_weights(file: Path) -> None:
    """Raises InputError for a weight file that is missing or shorter than its header says."""
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
    """The object in a JSON file; raises InputError where it cannot be read."""
    try:
        found = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON. Download it again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} is JSON, but not an object. Download it again.")
    return found


def first_line(error: Exception) -> str:
    """The first line of an error's message, as a sentence."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."


def listed(names: Iterable[str], shown: int = 3) -> str:
    """The first names in alphabetical order, and how many more there are."""
    ordered = sorted(names)
    rest = len(ordered) - shown
    return ", ".join(ordered[:shown]) + (f" and {rest} more" if rest > 0 else "")
