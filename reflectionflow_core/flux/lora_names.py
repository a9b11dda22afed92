"""Names of a FLUX LoRA's tensors in different programs, and the linear layers they belong to.

Known are the names of PEFT, diffusers (current and former), ComfyUI and kohya's sd-scripts, for
diffusers' FLUX and for Black Forest Labs', which fuses query, key and value into one layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# A factor's name may be followed by an adapter's name and by "weight".
_END = r"(?:\.(?!weight$|bias$)[\w-]+)?(?:\.weight)?$"
PARTS = {
    "down": re.compile(rf"\.(?:lora_A|lora_down|lora\.down|lora_linear_layer\.down){_END}"),
    "up": re.compile(rf"\.(?:lora_B|lora_up|lora\.up|lora_linear_layer\.up){_END}"),
    "alpha": re.compile(r"\.alpha$"),
    "magnitude": re.compile(r"\.(?:dora_scale|lora_magnitude_vector)(?:\.[\w.-]+)?$"),
    "bias": re.compile(r"\.(?:lora_B|lora_up|lora\.up)(?:\.[\w-]+)?\.bias$"),
    "other": re.compile(r"\.(?:lora_mid|lokr_\w+|hada_\w+|oft_\w+|diff|diff_b)(?:\.\w+)*$"),
}
# Prefixes of a path, or names inside it if a module was wrapped.
_DOTTED = r"base_model|model|module|diffusion_model|transformer|unet"
PREFIX = re.compile(rf"^(?:(?:{_DOTTED})\.)*(?:lora_unet_|lora_transformer_|lycoris_)?")
WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
QUERY_KEY_VALUE = ("attn.to_q", "attn.to_k", "attn.to_v")
# Black Forest Labs' layer of a block, and diffusers' layers in it, in the order of its outputs.
DOUBLE_FUSED = {
    "img_mod.lin": ("norm1.linear",),
    "img_attn.qkv": QUERY_KEY_VALUE,
    "img_attn.proj": ("attn.to_out.0",),
    "img_mlp.2": ("ff.net.2",),
}
SINGLE_FUSED = {
    "modulation.lin": ("norm.linear",),
    "linear1": (*QUERY_KEY_VALUE, "proj_mlp"),
    "linear2": ("proj_out",),
}
_BLOCK = re.compile(r"^(single_)?transformer_blocks\.(\d+)\.")


@dataclass(slots=True)
class NamedLora:
    """One layer's LoRA as named in a file."""

    path: str  # as in the file, without its prefix
    keys: dict[str, str] = field(default_factory=dict)  # keys in the file, by name in PARTS


@dataclass(slots=True)
class Sorted:
    """A file's keys: those of known layers by the diffusers paths they cover, and others."""

    loras: dict[tuple[str, ...], NamedLora] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)


def sort_keys(keys: Iterable[str], paths: Iterable[str]) -> Sorted:
    """A LoRA file's keys by the layers at `paths` of diffusers' FLUX, in any naming."""
    known, found = _linears(paths), Sorted()
    for key in sorted(keys):
        part, before = _split(key)
        path = PREFIX.sub("", WRAPPERS.sub("", before), count=1)
        covered = known.get(_flat(path))
        if not part or covered is None:
            found.unknown.append(key)
            continue
        lora = found.loras.setdefault(covered, NamedLora(path))
        if part in lora.keys:
            found.twice += [lora.keys[part], key]
        lora.keys[part] = key
    return found


def _split(key: str) -> tuple[str | None, str]:
    """The part in PARTS that a key belongs to, and the text before it."""
    for part, pattern in PARTS.items():
        if match := pattern.search(key):
            return part, key[: match.start()]
    return None, key


def _linears(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """All names of a layer, flat, with the paths that it covers."""
    present = list(paths)
    names = {_flat(path): (path,) for path in present}
    if "x_embedder" in present:
        names["img_in"] = ("x_embedder",)
    for single, index in {match.groups() for path in present if (match := _BLOCK.match(path))}:
        kind = "single" if single else "double"
        before = f"{single or ''}transformer_blocks.{index}."
        for fused, targets in (SINGLE_FUSED if single else DOUBLE_FUSED).items():
            covered = tuple(before + target for target in targets)
            if set(covered) <= set(present):
                names[_flat(f"{kind}_blocks.{index}.{fused}")] = covered
    return names


def _flat(path: str) -> str:
    return path.replace(".", "_")  # kohya's naming
