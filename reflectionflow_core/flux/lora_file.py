"""Reads any LoRA file of FLUX into one form: two factors for each linear layer of diffusers' FLUX.

The values equal those of diffusers or PEFT for the same file. The scale is taken from an alpha next
to the weights, otherwise from PEFT's settings, otherwise from the layer's rank, as in ComfyUI and
kohya's scripts. (For a file with PEFT's names and only some alphas, diffusers uses alphas of other
layers.) What would be computed differently than it was trained, such as DoRA, is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..record import InputError
from ..texts import user_path
from .folders import PEFT_FILE, first_line, listed, lora_files, other_format
from .lora_names import NamedLora, Sorted, sort_keys
from .lora_settings import AdapterSettings, adapter_settings, number, of_transformer, parsed

HEADER_SETTINGS = "lora_adapter_metadata"  # diffusers' key in a file's header
# 8-bit floats support few operations; bfloat16 represents all their values.
SMALL = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, *SMALL)

Shapes = Mapping[
    str, tuple[int, int]
]  # (outputs, inputs) of linear layers, by diffusers' dotted path
Factors = tuple[Tensor, Tensor, float]  # (rank, inputs), (outputs, rank) and alpha


@dataclass(frozen=True, slots=True)
class StoredLora:
    """A LoRA as read: its factors by diffusers' dotted paths, and the file's header."""

    file: Path
    factors: dict[str, Factors]
    header: dict[str, str]


def read_lora(path: str | Path, shapes: Shapes, name: str) -> StoredLora:
    """The LoRA of a file, or of a folder with a file called `name` or PEFT's, for all of `shapes`.

    8-bit floats are returned as bfloat16, which represents them exactly, other weights as stored.
    InputError for a file that is damaged, does not fit `shapes` exactly, or cannot be run.
    """
    file = _find(user_path(path), name)
    tensors, header = _read(file)
    found = sort_keys(tensors, shapes)
    _check(file, found, tensors, shapes)
    settings = _settings(file, header)
    factors: dict[str, Factors] = {}
    for covered, lora in found.loras.items():
        parts = [shapes[path] for path in covered]
        whole = _factors(file, lora, tensors, parts, settings)
        factors |= dict(zip(covered, _split(*whole, [rows for rows, _ in parts]), strict=True))
    if not any(alpha for _, _, alpha in factors.values()):
        raise InputError(
            f"The LoRA in {file} changes nothing, since its alpha is 0. "
            "Give one that was saved with the alpha of its training."
        )
    return StoredLora(file, factors, header)


def _find(path: Path, name: str) -> Path:
    candidates = [path / name, path / PEFT_FILE] if path.is_dir() else [path]
    for file in candidates:
        if file.is_file():
            return file
    raise InputError(
        f"There is no corrector LoRA at {candidates[0]}. "
        f"Give a .safetensors file, or a folder that holds {name}."
    )


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as stored:
            names = stored.keys()
            return {name: stored.get_tensor(name) for name in names}, stored.metadata() or {}
    except (SafetensorError, OSError) as error:
        if other := other_format(file):
            raise InputError(f"{file} {other}") from error
        raise InputError(
            f"{file} cannot be read as safetensors ({error}). Download it again."
        ) from error


def _check(file: Path, found: Sorted, keys: Iterable[str], shapes: Shapes) -> None:
    """InputError unless the keys are those of a LoRA on exactly these `shapes`."""
    if not found.loras:
        raise InputError(
            f"{file} holds no corrector LoRA for this FLUX: none of its keys match "
            f"({listed(keys) or 'it has none'}). Give the file that was trained as a corrector."
        )
    special = {
        "magnitude": "DoRA, with magnitudes",
        "bias": "lora_bias, with biases",
        "other": "another adapter, such as LoHa or LoKr",
    }
    for part, kind in special.items():
        if given := [lora.keys[part] for lora in found.loras.values() if part in lora.keys]:
            raise InputError(
                f"{file} was trained as {kind} ({listed(given)}), which this version does not run. "
                "Give one that was trained as a plain LoRA."
            )
    if found.unknown:
        raise InputError(
            f"{file} has keys beside those of a corrector for this FLUX: {listed(found.unknown)}. "
            "Give a LoRA that was trained as a corrector on a FLUX of this size."
        )
    paths = list(chain.from_iterable(found.loras))
    if again := found.twice or [path for path in set(paths) if paths.count(path) > 1]:
        raise InputError(
            f"{file} holds a LoRA of the same layer twice: {listed(again)}. "
            "Give a file with one LoRA."
        )
    if missing := [*_halves(found), *(set(shapes) - set(paths))]:
        raise InputError(
            f"{file} is incomplete: it lacks {listed(missing)}. "
            "Download it again, or give a corrector LoRA that was trained on a FLUX of this size."
        )


def _halves(found: Sorted) -> list[str]:
    """The factors that are missing although the other one, or an alpha, is present."""
    return [
        f"the {part} factor of {lora.path}"
        for lora in found.loras.values()
        for part in ("down", "up")
        if part not in lora.keys
    ]


def _settings(file: Path, header: Mapping[str, str]) -> AdapterSettings:
    if HEADER_SETTINGS in header:
        where = f"the header of {file}"
        return adapter_settings(of_transformer(parsed(header[HEADER_SETTINGS], where)), where)
    for beside in lora_files(file)[1:]:
        try:
            text = beside.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{beside} cannot be read ({first_line(error)}) Download it again."
            ) from error
        return adapter_settings(parsed(text, str(beside)), str(beside))
    return AdapterSettings()


def _factors(
    file: Path,
    lora: NamedLora,
    tensors: Mapping[str, Tensor],
    shapes: list[tuple[int, int]],
    settings: AdapterSettings,
) -> Factors:
    """The checked factors of one layer in the file, which covers layers of these `shapes`."""
    down, up = tensors[lora.keys["down"]], tensors[lora.keys["up"]]
    given = tensors[lora.keys["alpha"]] if "alpha" in lora.keys else None
    rank = len(down) if down.ndim else 0
    out, wide = sum(rows for rows, _ in shapes), shapes[0][1]
    one_alpha = given is None or given.numel() == 1
    if rank == 0 or down.shape != (rank, wide) or up.shape != (out, rank) or not one_alpha:
        alpha = "" if given is None else f" and alpha {tuple(given.shape)}"
        raise InputError(
            f"The LoRA of {lora.path} in {file} has shapes A {tuple(down.shape)}, B "
            f"{tuple(up.shape)}{alpha}, expected (rank, {wide}), ({out}, rank) and one alpha. "
            "Give a corrector LoRA that was trained on a FLUX of this size."
        )
    down, up = (_usable(file, lora, part) for part in (down, up))
    if given is None:
        return down, up, settings.alpha_of(lora.path, rank)
    if settings.rank_stabilised:
        raise InputError(
            f"{file} has an alpha beside its weights ({lora.keys['alpha']}) and use_rslora in "
            "its settings, which give different scales. Give a file with one of the two."
        )
    return down, up, _alpha(file, lora, given)


def _alpha(file: Path, lora: NamedLora, given: Tensor) -> float:
    if given.dtype in (torch.bool, torch.complex64, torch.complex128):
        _usable(file, lora, given)
    return number(float(given.item()), lora.keys["alpha"], str(file))


def _usable(file: Path, lora: NamedLora, tensor: Tensor) -> Tensor:
    if tensor.dtype not in FLOATS:
        raise InputError(
            f"The LoRA of {lora.path} in {file} is stored as {str(tensor.dtype)[6:]}. "
            "Give a file in fp32, bf16, fp16 or fp8."
        )
    tensor = tensor.to(torch.bfloat16) if tensor.dtype in SMALL else tensor
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(
            f"The LoRA of {lora.path} in {file} holds values that are not finite. "
            "Download it again, or give an earlier checkpoint of the training."
        )
    return tensor


def _split(down: Tensor, up: Tensor, alpha: float, rows: list[int]) -> list[Factors]:
    """The factors for each part of a fused layer's outputs; all have the whole layer's scale.

    Fused LoRAs may be block-diagonal in `up`, so that each part only needs a share of the rank.
    """
    ups, share, rest = up.split(rows), *divmod(len(down), len(rows))
    if len(rows) == 1 or rest or not _is_diagonal(ups, share):
        return [(down, part, alpha) for part in ups]
    pairs = zip(down.split(share), ups, strict=True)
    return [
        (own, part[:, i * share : (i + 1) * share], alpha / len(rows))
        for i, (own, part) in enumerate(pairs)
    ]


def _is_diagonal(ups: Iterable[Tensor], share: int) -> bool:
    return all(
        not part[:, : i * share].any() and not part[:, (i + 1) * share :].any()
        for i, part in enumerate(ups)
    )
