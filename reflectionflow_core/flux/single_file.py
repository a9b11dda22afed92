"""FLUX's transformer from a single file, in the format of its authors and ComfyUI.

The file stays memory-mapped: weights take extra memory only during computation, and only if their
type differs. Reads bf16, fp16, fp32 and fp8 with or without scales; of an all-in-one checkpoint
only the transformer. Does not read GGUF and 4-bit weights, text encoders or VAE.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from ..record import InputError
from ..texts import user_path
from .folders import SAFETENSORS, check_weights, listed
from .stored import Stored, keep_as_stored

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "")
FIRST = ("img_in.weight", "x_embedder.weight")  # the authors' name, and diffusers'
# Tensors next to a weight in fp8 files: its scale, and hints for other programs.
SCALES = ("weight_scale", "scale_weight")
HINTS = ("input_scale", "scale_input", "comfy_quant", "scaled_fp8")
# A layer in the file, and the diffusers layers whose rows it contains, in order.
EMBEDDERS = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
    "final_layer.linear": ("proj_out",),
}
DOUBLE = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
SINGLE = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}
CPU = torch.device("cpu")
BLOCKS = ("transformer_blocks", "single_transformer_blocks")
SWAPPED = "final_layer.adaLN_modulation.1."  # shift before scale; diffusers has scale first


Weight = tuple[Tensor, Stored | None]  # None: used as it is


def load_transformer(
    file: str | Path, config: dict[str, Any], dtype: torch.dtype
) -> FluxTransformer2DModel:
    """The transformer of `config` with the file's weights, on the CPU, computing in `dtype`.

    The matrices of its blocks stay as stored (stored.py) until a placement needs them. InputError
    if the file is damaged or does not fit `config`.
    """
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    with torch.device("meta"):
        transformer = cast(FluxTransformer2DModel, FluxTransformer2DModel.from_config(config))
    shapes = {name: tensor.shape for name, tensor in transformer.state_dict().items()}
    weights = read_weights(file, shapes, dtype)
    state = {name: tensor for name, (tensor, _) in weights.items()}
    transformer.load_state_dict(state, assign=True)
    for name, parameter in transformer.named_parameters():
        stored = weights[name][1]
        if stored:
            keep_as_stored(parameter, stored)
    return transformer


def read_weights(
    file: str | Path, shapes: Mapping[str, torch.Size], dtype: torch.dtype
) -> dict[str, Weight]:
    """The file's weights by diffusers' names; `shapes` are those of diffusers' transformer."""
    file = user_path(file)
    if file.suffix.lower() not in SAFETENSORS:
        raise InputError(
            f"{file} is not a .safetensors or .sft file. Give FLUX's transformer in that format."
        )
    if not file.is_file():
        raise InputError(f"There is no file {file}. Check the path of FLUX's transformer.")
    check_weights(file)
    with safe_open(file, framework="pt") as stored:
        return dict(_weights(_Stored(file, stored), shapes, dtype))


class _Stored:
    """The tensors of a file by their original names, without prefix."""

    def __init__(self, file: Path, stored: Any) -> None:
        self.file, self._stored = file, stored
        names = set(stored.keys())
        matching = (p for p in PREFIXES if any(f"{p}{first}" in names for first in FIRST))
        self._prefix = next(matching, "")
        self.names = {
            name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)
        }

    def get(self, name: str) -> Tensor:
        return self._stored.get_tensor(self._prefix + name)

    def weight(self, name: str, dtype: torch.dtype) -> Weight:
        """The mapped tensor, and its conversion for computing in `dtype`."""
        tensor, scale = self.get(name), self._scale(name)
        self._check(name, tensor, scale)
        return tensor, None if scale is None and tensor.dtype == dtype else Stored(dtype, scale)

    def _scale(self, name: str) -> Tensor | None:
        module, _, leaf = name.rpartition(".")
        found = [f"{module}.{scale}" for scale in SCALES if f"{module}.{scale}" in self.names]
        return self.get(found[0]) if found and leaf == "weight" else None

    def _check(self, name: str, tensor: Tensor, scale: Tensor | None) -> None:
        """InputError unless the tensor is floating-point, with at most one scale per row."""
        kind = self._hint(f"{name.rpartition('.')[0]}.comfy_quant") or str(tensor.dtype)
        readable = scale is None or scale.numel() in (1, *tensor.shape[:1])
        known = kind.removeprefix("torch.").startswith(("float", "bfloat"))
        if not (readable and known and tensor.is_floating_point()):
            scaled = "" if scale is None else f" with scales {tuple(scale.shape)}"
            raise InputError(
                f"{self.file} holds {name} as {kind}{scaled}, which is not read here. Give the "
                "file in bf16 or fp8, or paint in ComfyUI."
            )

    def _hint(self, name: str) -> str | None:
        """ComfyUI's note on a weight's format, if there is one."""
        if name not in self.names:
            return None
        try:
            return str(json.loads(bytes(self.get(name).tolist()))["format"])
        except (ValueError, TypeError, KeyError):
            return "an unknown format (its comfy_quant cannot be read)"


def _weights(
    stored: _Stored, expected: Mapping[str, torch.Size], dtype: torch.dtype
) -> Iterator[tuple[str, Weight]]:
    """All tensors of diffusers' transformer; InputError for missing and extra ones."""
    sources = _sources(expected, stored.names)
    known = {
        name
        for name in stored.names
        if name in sources or name.rpartition(".")[2] in (*SCALES, *HINTS)
    }
    _refuse(stored.file, "lacks", sources.keys() - stored.names)
    _refuse(stored.file, "has the unknown", stored.names - known)
    for name, targets in sources.items():
        rows = [expected[target][0] for target in targets]
        tensor, kept = stored.weight(name, dtype)
        if tensor.shape != torch.Size([sum(rows), *expected[targets[0]][1:]]):
            raise InputError(
                f"{stored.file} is of another FLUX: {name} is {tuple(tensor.shape)}, and "
                f"{' with '.join(targets)} should be {(sum(rows), *expected[targets[0]][1:])}. "
                "Give a file of the same kind as the folder."
            )
        for target, part, its in zip(targets, tensor.split(rows), _split(kept, rows), strict=True):
            yield target, _waiting(target, part, its, swapped=name.startswith(SWAPPED))


def _waiting(target: str, tensor: Tensor, stored: Stored | None, swapped: bool) -> Weight:
    """As stored for the matrices of blocks, nearly all weights; converted for the rest."""
    if stored and not (tensor.dim() > 1 and target.startswith(BLOCKS)):
        tensor, stored = stored.restored(tensor, CPU), None
    return torch.cat(tensor.chunk(2)[::-1]) if swapped else tensor, stored


def _split(kept: Stored | None, rows: list[int]) -> list[Stored | None]:
    """The conversion for each part of a tensor; parts have their own rows."""
    if kept is None or kept.scale is None or kept.scale.numel() == 1:
        return [kept] * len(rows)
    return [Stored(kept.dtype, scale) for scale in kept.scale.flatten().split(rows)]


def _sources(expected: Collection[str], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each tensor of the file, the diffusers tensors that it contains."""
    if FIRST[1] in names:
        return {name: (name,) for name in expected}
    sources = {}
    for module, targets in _modules(expected):
        for leaf in ("weight", "bias"):
            if f"{targets[0]}.{leaf}" in expected:
                name = f"{module}.{leaf}"
                old = f"{module}.scale"  # of a norm
                sources[old if old in names else name] = tuple(f"{t}.{leaf}" for t in targets)
    return sources


def _modules(expected: Collection[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from EMBEDDERS.items()
    for theirs, ours, inside in (
        ("double_blocks", "transformer_blocks", DOUBLE),
        ("single_blocks", "single_transformer_blocks", SINGLE),
    ):
        indices = {int(name.split(".")[1]) for name in expected if name.startswith(f"{ours}.")}
        for index in sorted(indices):
            for name, targets in inside.items():
                within = tuple(f"{ours}.{index}.{target}" for target in targets)
                yield f"{theirs}.{index}.{name}", within


def _refuse(file: Path, how: str, names: Collection[str]) -> None:
    if names:
        raise InputError(
            f"{file} is not the transformer of this kind of FLUX: it {how} {listed(names)}. Give a "
            "file of the same kind as the folder; GGUF and 4-bit files are for ComfyUI only."
        )
