"""Reads the published reward checkpoint into current transformers modules and merges its LoRA.

Older libraries saved it in one of two forms: `model.pth`, the whole state of a PeftModel, or
`adapter_model.safetensors` with `non_lora_state_dict.pth`. PEFT can load neither, because module
names have changed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..flux.folders import PEFT_SETTINGS, check_weights, first_line, listed, read_json
from ..flux.lora_settings import AdapterSettings, adapter_settings, number
from ..record import InputError
from ..texts import no_folder, user_path

HEAD = "rm_head.weight"
EMBEDDING = "language_model.embed_tokens.weight"
WHOLE, ADAPTER, TRAINED = "model.pth", "adapter_model.safetensors", "non_lora_state_dict.pth"
SETTINGS = "model_config.json"
TEMPLATE = "template.txt"
# LoRA factors: "lora_A" of a linear layer, "lora_embedding_A" of an embedding.
LORA_FACTOR = re.compile(r"\.(lora_(?:embedding_)?[AB])(?:\.default)?(?:\.weight)?$")
# Prefixes in older and newer releases, and in the current model.
PEFT_PREFIX = re.compile(r"^(?:base_model\.model\.)+")
RENAMES = (
    (PEFT_PREFIX, ""),
    (re.compile(r"\.base_layer\."), "."),
    (re.compile(r"^model\.(language_model|visual)\."), r"\1."),
    (re.compile(r"^model\.(layers|embed_tokens|norm)\b"), r"language_model.\1"),
)

State = dict[str, Tensor]
ALPHA = 32  # upstream's default


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """The fields of upstream's model_config.json, with upstream's defaults.

    Pictures have at most `max_pixels` pixels; a score is (reward - `mean`) / `std`.
    """

    max_pixels: int = 240 * 320
    lora: AdapterSettings = field(default_factory=lambda: AdapterSettings(alpha=ALPHA))
    mean: float = 0.0
    std: float = 1.0


@dataclass(slots=True)
class MergedLora:
    """The LoRA of one weight: its factors by LORA_FACTOR names, and its path in PEFT."""

    path: str
    factors: State = field(default_factory=dict)


def find_checkpoint(source: str | Path) -> Path:
    """The folder with the weights: `source` or its latest checkpoint-N; otherwise InputError."""
    folder = user_path(source)
    if not folder.is_dir():
        raise no_folder(folder, "Give the folder of the Image-Verifier.")
    latest = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    for candidate in (folder, *latest):
        if (candidate / WHOLE).is_file() or (candidate / ADAPTER).is_file():
            return candidate
    raise InputError(
        f"{folder} holds neither {WHOLE} nor {ADAPTER}, nor a checkpoint-N that does. "
        "Download the Image-Verifier again."
    )


def beside(checkpoint: Path, name: str) -> Path:
    """The file of that name in the checkpoint's folder or in its parent."""
    own = checkpoint / name
    return own if own.is_file() else checkpoint.parent / name


def read_settings(checkpoint: Path, given: str | Path | None) -> RewardSettings:
    """Settings from the file `given`, from the file at or above the checkpoint, or the defaults.

    The LoRA's scale may also be read from PEFT's adapter_config.json. InputError for settings that
    are not numbers, or for a LoRA that cannot be merged.
    """
    found = user_path(given) if given else beside(checkpoint, SETTINGS)
    if given and not found.is_file():
        raise InputError(
            f"File {given} does not exist. Give the model_config.json of the verifier."
        )
    config = read_json(found) if found.is_file() else {}
    model, data, scores, lora = (
        _section(config, name, found)
        for name in ("model_config", "data_config", "inference_config", "peft_lora_config")
    )
    if model.get("use_special_tokens") is False or model.get("output_dim", 1) != 1:
        raise InputError(
            f"{found} describes a reward model without the special token or with several scores. "
            "Give the model_config.json of the published Image-Verifier."
        )
    default, where = RewardSettings(), str(found)
    return RewardSettings(
        max_pixels=int(_number(data, "max_frame_pixels", default.max_pixels, where)),
        lora=_adapter(lora, checkpoint, where),
        mean=_number(scores, "VQ_mean", default.mean, where),
        std=_number(scores, "VQ_std", default.std, where),
    )


def _section(config: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, dict):
        raise InputError(f"{name} in {file} is not an object. Download the file again.")
    return section


def _number(section: Mapping[str, Any], name: str, default: float, where: str) -> float:
    return number(section.get(name, default), name, where)


def _adapter(upstreams: Mapping[str, Any], checkpoint: Path, where: str) -> AdapterSettings:
    """The LoRA's settings: upstream's own, or else PEFT's next to the weights."""
    peft = checkpoint / PEFT_SETTINGS
    if upstreams or not peft.is_file():
        read = ("lora_alpha", "use_rslora")
        said = {name: value for name, value in upstreams.items() if name in read}
        return adapter_settings(said, where, ALPHA)
    return adapter_settings(read_json(peft), str(peft), ALPHA)


def load_checkpoint(
    model: Any, checkpoint: Path, settings: RewardSettings, needed: Iterable[str] = ()
) -> Tensor:
    """Copies the checkpoint's weights and merged LoRA into `model`; returns the head (1, hidden).

    `model` is Qwen2.5-VL without language head; the `needed` tensors are not initialised yet.
    InputError names tensors that do not fit; language heads are skipped.
    """
    whole = (checkpoint / WHOLE).is_file()
    found = _read(checkpoint, whole)
    plain = {_todays_name(k): v for k, v in found.items() if not LORA_FACTOR.search(k)}
    loras: dict[str, MergedLora] = {}
    for name, tensor in found.items():
        if part := LORA_FACTOR.search(name):
            path = PEFT_PREFIX.sub("", name[: part.start()])
            lora = loras.setdefault(_todays_name(f"{path}.weight"), MergedLora(path))
            lora.factors[part[1]] = tensor
    for name in ("lm_head.weight", "lm_head.bias"):
        plain.pop(name, None)
        loras.pop(name, None)
    head = plain.pop(HEAD, None)
    if head is None or head.shape[0] != 1:
        raise InputError(
            f"{checkpoint} has no {HEAD} with one row. Give a checkpoint of the Image-Verifier."
        )
    head = _merged(head, loras.pop(HEAD, None), settings)

    state: State = model.state_dict()
    _refuse_if_any(checkpoint, "does not know", {*plain, *loras} - set(state))
    _refuse_if_any(checkpoint, "has no weights for", set(state if whole else needed) - set(plain))
    _refuse_if_any(checkpoint, "has another shape for", _misshapen(plain, state))
    for name in {*plain, *loras}:
        merged = _merged(plain.get(name, state[name]), loras.get(name), settings)
        state[name].copy_(merged)  # a view of the model's memory
    return head


def _read(checkpoint: Path, whole: bool) -> State:
    if whole:
        return _unpickled(checkpoint / WHOLE)
    check_weights(checkpoint / ADAPTER)
    return {**_unpickled(checkpoint / TRAINED), **load_file(checkpoint / ADAPTER)}


def _unpickled(file: Path) -> State:
    if not file.is_file():
        raise InputError(f"The weight file {file} is missing. Download the checkpoint again.")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(
            f"{file} is damaged or holds more than weights; no code in it was run. "
            f"({first_line(error)}) Download it again from its authors."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{file} holds no weights. Download the checkpoint again.")
    return found


def _todays_name(name: str) -> str:
    for old, new in RENAMES:
        name = old.sub(new, name)
    return name


def _merged(weight: Tensor, lora: MergedLora | None, settings: RewardSettings) -> Tensor:
    """weight + scale * B A in fp32; for an embedding the change is transposed."""
    if not lora:
        return weight
    kind = "lora_embedding_" if "lora_embedding_A" in lora.factors else "lora_"
    down, up = (lora.factors.get(f"{kind}{side}") for side in "AB")
    if down is None or up is None:
        raise InputError("A LoRA lacks lora_A or lora_B. Download the checkpoint again.")
    rank = down.shape[0]
    scale = settings.lora.alpha_of(lora.path, rank) / rank
    change = up.float() @ down.float()
    change = change.T if kind == "lora_embedding_" else change
    if change.shape != weight.shape:
        raise InputError(
            f"A LoRA for {tuple(change.shape)} does not fit a weight of {tuple(weight.shape)}. "
            "Give the model that the checkpoint was trained from, Qwen2.5-VL-3B-Instruct."
        )
    return weight.float() + scale * change


def _misshapen(plain: State, state: State) -> set[str]:
    return {k for k, v in plain.items() if k in state and v.shape != state[k].shape}


def _refuse_if_any(checkpoint: Path, complaint: str, names: Iterable[str]) -> None:
    if wrong := list(names):
        side = "The model" if complaint == "does not know" else str(checkpoint)
        raise InputError(
            f"{side} {complaint} {listed(wrong)}. Give the Image-Verifier together with the model "
            "that it was trained from, Qwen2.5-VL-3B-Instruct."
        )


def _step(folder: Path) -> int:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
