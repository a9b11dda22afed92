"""Loads FLUX from a diffusers folder or a hub id, and says clearly what is wrong with one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from ..record import InputError
from .model import Flux
from .placement import PLANS, make_placement

if TYPE_CHECKING:
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WITH_WEIGHTS = ("transformer", "vae", "text_encoder", "text_encoder_2")
# Files of which a part without weights needs one. transformers makes an empty tokenizer without.
WORDS = ("tokenizer.json", "vocab.json", "spiece.model")
WITHOUT_WEIGHTS = {
    "tokenizer": WORDS,
    "tokenizer_2": WORDS,
    "scheduler": ("scheduler_config.json",),
}


def load_flux(
    source: str | Path,
    *,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    plan: str = "auto",
) -> Flux:
    """FLUX from a folder (never touches the network) or from the hub by an id such as owner/name.

    Plans for GPU memory, in bf16: "resident" holds everything (about 40 GB, more with batches),
    "phased" one heavy part at a time (about 30 GB), "streamed" single blocks of the transformer
    (12 to 16 GB); "auto" takes the first one that fits into what is free.
    """
    if dtype not in DTYPES:
        raise InputError(f"There is no dtype named {dtype!r}. Choose one of: {', '.join(DTYPES)}.")
    if plan not in PLANS:
        raise InputError(f"There is no plan named {plan!r}. Choose one of: {', '.join(PLANS)}.")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    flux = Flux.from_pipeline(_pipeline(source, DTYPES[dtype]))
    transformer = flux.transformer
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    flux.placement = make_placement(plan, place, flux.modules, blocks)
    return flux


def _pipeline(source: str | Path, dtype: torch.dtype) -> FluxPipeline:
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

    folder = Path(source).expanduser()
    local = folder.exists() or not _may_be_hub_id(str(source))
    if local:
        _check_folder(folder)
    try:
        with warnings.catch_warnings():
            # Newer releases of diffusers call it dtype; the older name works in all of them.
            warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated")
            return FluxPipeline.from_pretrained(
                str(folder if local else source), torch_dtype=dtype, local_files_only=local
            )
    except OSError as error:
        raise InputError(
            f"FLUX could not be loaded from {source}: {_first_line(error)} Give a diffusers folder "
            "of FLUX.1, or the id of one on the Hugging Face hub that you have access to."
        ) from error


def _may_be_hub_id(source: str) -> bool:
    owner, _, name = source.partition("/")
    return bool(owner and name) and "/" not in name and owner not in (".", "..", "~")


def _check_folder(folder: Path) -> None:
    index = folder / "model_index.json"
    if not folder.is_dir():
        raise InputError(
            f"There is no folder {folder}. Give a folder in the diffusers layout, or a hub id."
        )
    if not index.is_file():
        raise InputError(
            f"{folder} has no model_index.json. Give a folder in the diffusers layout, "
            "the one that holds transformer, vae, text_encoder and text_encoder_2."
        )
    kind = _read_json(index).get("_class_name")
    if kind != "FluxPipeline":
        raise InputError(f"{folder} holds a {kind}, not a FluxPipeline. Give a FLUX.1 folder.")
    for part, names in WITHOUT_WEIGHTS.items():
        if not any((folder / part / name).is_file() for name in names):
            raise InputError(
                f"{folder} has no {part} ({' or '.join(names)}). Download the folder again."
            )
    for part in WITH_WEIGHTS:
        for file in _weight_files(folder / part):
            _check_weights(file)


def _weight_files(part: Path) -> Iterator[Path]:
    """The files that a part's weights should be in."""
    indices = sorted(part.glob("*.safetensors.index.json"))
    if indices:
        shards: dict[str, str] = _read_json(indices[0]).get("weight_map", {})
        yield from (part / name for name in sorted(set(shards.values())))
    else:
        found = sorted(part.glob("*.safetensors"))
        yield from found or [part / "*.safetensors"]


def _check_weights(file: Path) -> None:
    if not file.is_file():
        raise InputError(
            f"The weight file {file} is missing. Download the folder again, or copy it whole."
        )
    try:
        with safe_open(file, framework="pt"):  # compares the header with the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"The weight file {file} is damaged ({_first_line(error)}) Download it again."
        ) from error


def _read_json(file: Path) -> dict:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON. Download it again.") from error


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."
