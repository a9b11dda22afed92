"""The corrector's LoRA, which by default applies only to condition tokens; see Mode.

It is a module next to the transformer, never merged and never registered with peft: an ordinary
loader would apply it to all tokens and spoil the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.nn.functional import linear

from ..record import InputError
from .folders import SAFETENSORS, listed
from .lora_file import read_lora

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

FILE_NAME = "pytorch_lora_weights.safetensors"
PREFIX = "transformer."
# The linear layers that the released corrector was trained on, without ff.net.0.
ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v")
DOUBLE_TARGETS = ("norm1.linear", *ATTENTION, "attn.to_out.0", "ff.net.2")
SINGLE_TARGETS = ("norm.linear", "proj_mlp", "proj_out", *ATTENTION)


MODES = {"tokens": ("condition", "all"), "attention": ("union", "independent")}
HEADER_PREFIX = "reflectionflow."  # prefix of a mode's settings in a file's header


@dataclass(frozen=True, slots=True)
class Mode:
    """How a LoRA was trained and must be run; InputError for unknown values.

    `tokens` it is applied to: only the "condition", or "all" as with an ordinary loader.
    `attention`: a "union" over all tokens, or "independent": the condition attends only to itself,
    independent of prompt, noise and time.
    """

    tokens: str = "condition"
    attention: str = "union"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value not in MODES[name]:
                raise InputError(
                    f"A corrector LoRA has no {name} named {value!r}. "
                    f"Choose one of: {', '.join(MODES[name])}."
                )

    @property
    def is_published(self) -> bool:
        """Whether it is the released corrector's mode."""
        return (self.tokens, self.attention) == ("condition", "union")


PUBLISHED = Mode()  # the mode of the released corrector and of files without a mode in their header


class LoraLayer(nn.Module):
    """scale * up(down(x)), computed in the dtype of x."""

    def __init__(self, down: Tensor, up: Tensor, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(down)  # (rank, in)
        self.up = nn.Parameter(up)  # (out, rank)
        self.alpha = alpha

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def forward(self, tokens: Tensor) -> Tensor:
        # Scaled here: a token has 32 numbers instead of 3072.
        narrow = linear(tokens, self.down.to(tokens.dtype)) * (self.alpha / self.rank)
        return linear(narrow, self.up.to(tokens.dtype))


class CorrectorLora(nn.Module):
    """One LoraLayer for each target module of a FLUX transformer, by the module's dotted path."""

    def __init__(self, layers: Mapping[str, LoraLayer], mode: Mode = PUBLISHED) -> None:
        super().__init__()
        self.mode = mode
        # A module's name cannot contain dots.
        self.layers = nn.ModuleDict({_key(path): layer for path, layer in layers.items()})

    @classmethod
    def create(
        cls,
        transformer: FluxTransformer2DModel,
        rank: int = 32,
        alpha: float | None = None,
        mode: Mode = PUBLISHED,
    ) -> CorrectorLora:
        """A new float32 LoRA with output 0, initialised like peft's "gaussian"."""
        if rank < 1:
            raise InputError(f"The rank is {rank}. Give a rank of 1 or more.")
        scale = float(rank if alpha is None else alpha)
        return cls(
            {
                path: LoraLayer(torch.randn(rank, wide) / rank, torch.zeros(out, rank), scale)
                for path, (out, wide) in target_shapes(transformer).items()
            },
            mode,
        )

    def items(self) -> Iterator[tuple[str, LoraLayer]]:
        for key, layer in self.layers.items():
            yield key.replace("/", "."), cast(LoraLayer, layer)

    def at(self, path: str) -> LoraLayer | None:
        key = _key(path)
        return cast(LoraLayer, self.layers[key]) if key in self.layers else None

    def under(self, block: str) -> dict[str, LoraLayer]:
        """The layers of one block, by their path in it."""
        names = SINGLE_TARGETS if block.startswith("single_") else DOUBLE_TARGETS
        found = {name: self.at(f"{block}.{name}") for name in names}
        return {name: layer for name, layer in found.items() if layer is not None}

    def serialised(self) -> bytes:
        """A file in the published format; modes other than PUBLISHED are in the header."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self.items():
            tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.down.detach().cpu().contiguous()
            tensors[f"{PREFIX}{name}.lora_B.weight"] = layer.up.detach().cpu().contiguous()
            if layer.alpha != layer.rank:
                tensors[f"{PREFIX}{name}.alpha"] = torch.tensor(float(layer.alpha))
        return _ordered(serialise(tensors, metadata={"format": "pt", **_header(self.mode)}))

    def save(self, path: str | Path) -> Path:
        """Writes that file to `path`, or as FILE_NAME into a folder."""
        path = Path(path)
        file = path if path.suffix.lower() in SAFETENSORS else path / FILE_NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a training may be killed while saving.
        partial = file.with_suffix(".partial")
        partial.write_bytes(self.serialised())
        return partial.replace(file)


def target_shapes(transformer: FluxTransformer2DModel) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of every linear layer with a LoRA, by dotted path."""
    depths = len(transformer.transformer_blocks), len(transformer.single_transformer_blocks)
    return {path: _shape(transformer.get_submodule(path)) for path in corrector_paths(*depths)}


def corrector_paths(double: int, single: int) -> list[str]:
    """The dotted paths of all linear layers with a LoRA, by numbers of double and single blocks."""
    paths = ["x_embedder"]
    paths += [f"transformer_blocks.{i}.{name}" for i in range(double) for name in DOUBLE_TARGETS]
    for i in range(single):
        paths += [f"single_transformer_blocks.{i}.{name}" for name in SINGLE_TARGETS]
    return paths


def load_corrector_lora(
    path: str | Path,
    transformer: FluxTransformer2DModel,
    dtype: torch.dtype | None = None,
) -> CorrectorLora:
    """The LoRA in a file, or in a folder with FILE_NAME or PEFT's file.

    In `dtype`, or as stored; all usual tensor names and ways of giving the scale are supported, see
    lora_file.py. InputError unless the file has a LoRA for every target of this FLUX and for
    nothing else.
    """
    return read_corrector_lora(path, target_shapes(transformer), dtype)


def read_corrector_lora(
    path: str | Path, shapes: Mapping[str, tuple[int, int]], dtype: torch.dtype | None = None
) -> CorrectorLora:
    """`load_corrector_lora` for a FLUX of which only `target_shapes` are known."""
    stored = read_lora(path, shapes, FILE_NAME)
    layers = {}
    for name in shapes:
        down, up, alpha = stored.factors[name]
        # Copied, so that the file is closed and the tensors are aligned.
        down, up = (part.to(dtype or part.dtype, copy=True) for part in (down, up))
        layers[name] = LoraLayer(down, up, alpha)
    return CorrectorLora(layers, _mode(stored.file, stored.header)).requires_grad_(False)


def _key(path: str) -> str:
    return path.replace(".", "/")


def _shape(layer: nn.Module) -> tuple[int, int]:
    # Not the weight's shape: quantised weights are packed, and peft layers wrap them.
    return cast(int, layer.out_features), cast(int, layer.in_features)


def _ordered(file: bytes) -> bytes:
    """The safetensors file with sorted metadata, so that equal tensors give equal bytes."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def _header(mode: Mode) -> dict[str, str]:
    if mode.is_published:
        return {}
    return {f"{HEADER_PREFIX}{name}": value for name, value in asdict(mode).items()}


def _mode(file: Path, header: Mapping[str, str]) -> Mode:
    settings = {
        key.removeprefix(HEADER_PREFIX): value
        for key, value in header.items()
        if key.startswith(HEADER_PREFIX)
    }
    if unknown := settings.keys() - MODES.keys():
        raise InputError(
            f"{file} was trained in a way that this version does not support "
            f"({listed(unknown)}). Install a newer version of ReflectionFlow."
        )
    return Mode(**settings)
