"""Loads FLUX from a diffusers folder or by a hub ID, and explains faults of a folder.

The transformer may come from a separate file, as fine-tuned ones do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..record import InputError
from ..settings import check_choice
from ..texts import no_folder
from .folders import check_weights, first_line, listed, local_folder, read_json, weight_files
from .model import Flux
from .placement import PLANS, device_named, make_placement
from .single_file import load_transformer

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SCHEDULER = "FlowMatchEulerDiscreteScheduler"
WITH_WEIGHTS = ("transformer", "vae", "text_encoder", "text_encoder_2")
TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
# Parts without weights need one of these files; otherwise transformers builds an empty tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
WITHOUT_WEIGHTS = {
    "tokenizer": TOKENIZER_FILES,
    "tokenizer_2": TOKENIZER_FILES,
    "scheduler": ("scheduler_config.json",),
}


def load_flux(
    source: str | Path,
    *,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    plan: str = "auto",
    texts: bool = True,
    transformer: str | Path | None = None,
) -> Flux:
    """FLUX from a folder (without network) or from the hub by an ID such as owner/name.

    * `transformer`: a .safetensors file that replaces the folder's transformer.
    * `texts`: False omits the text encoders, for callers with encoded texts.
    * `plan`: what is in GPU memory, in bf16. "resident": everything (about 40 GB, more with
      batches);
      "phased": one large module at a time (about 30 GB); "streamed": single blocks of the
      transformer (12
      to 16 GB); "auto": the first that fits into the free memory.

    InputError if it cannot be loaded.
    """
    check_choice("dtype", dtype, DTYPES)
    check_choice("plan", plan, PLANS)
    target = device_named(device)
    flux = Flux.from_pipeline(_pipeline(source, DTYPES[dtype], texts, transformer))
    check_loaded(flux.modules, source)
    network = flux.transformer
    blocks = [*network.transformer_blocks, *network.single_transformer_blocks]
    flux.placement = make_placement(plan, target, flux.modules, blocks)
    return flux


def check_loaded(modules: Mapping[str, nn.Module], source: str | Path) -> None:
    """InputError for weights that the files lack; diffusers leaves them without values."""
    for part, module in modules.items():
        if missing := [name for name, weight in module.named_parameters() if weight.is_meta]:
            raise lacking(part, source, missing)


def load_encoder(cls: Any, part: Path, dtype: torch.dtype, **options: Any) -> nn.Module:
    """A text encoder of transformers from a part of a pipeline's folder.

    InputError for weights that the files lack; transformers fills them with random values.
    """
    model, found = cls.from_pretrained(
        part, dtype=dtype, local_files_only=True, output_loading_info=True, **options
    )
    if missing := sorted(found["missing_keys"]):
        raise lacking(part.name, part.parent, missing)
    return model


def lacking(part: str, source: str | Path, missing: Sequence[str]) -> InputError:
    return InputError(
        f"The weights of the {part} in {source} lack {listed(missing)}. Download the folder again, "
        "or give one whose config.json belongs to its weights."
    )


def _pipeline(
    source: str | Path, dtype: torch.dtype, texts: bool, transformer: str | Path | None
) -> FluxPipeline:
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from transformers import CLIPTextModel, T5EncoderModel

    encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
    folder = local_folder(source)
    if folder is not None:
        _check_folder(folder, texts, with_transformer=transformer is None)
    name, local = str(folder or source), folder is not None
    given: dict[str, Any] = {} if texts else dict.fromkeys(TEXT_PARTS)
    try:
        with warnings.catch_warnings():
            # Newer diffusers call it dtype; the older name works in all versions.
            warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated")
            if transformer is not None:
                given["transformer"] = _transformer(transformer, name, dtype, local)
            if folder is not None and texts:
                loaded = {p: load_encoder(cls, folder / p, dtype) for p, cls in encoders.items()}
                given.update(loaded)
            return FluxPipeline.from_pretrained(
                name, torch_dtype=dtype, local_files_only=local, **given
            )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"FLUX could not be loaded from {source}: {first_line(error)} Give a diffusers "
            "folder of FLUX.1, or a Hugging Face hub ID that you have access to."
        ) from error


def _transformer(
    file: str | Path, source: str, dtype: torch.dtype, local: bool
) -> FluxTransformer2DModel:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    config = FluxTransformer2DModel.load_config(
        source, subfolder="transformer", local_files_only=local
    )
    return load_transformer(file, cast("dict[str, Any]", config), dtype)


def _check_folder(folder: Path, texts: bool, with_transformer: bool) -> None:
    index = folder / "model_index.json"
    if not folder.is_dir():
        raise no_folder(folder, "Give a folder in diffusers format, or a hub ID.")
    if not index.is_file():
        raise InputError(
            f"{folder} has no model_index.json. Give a folder in diffusers format, which "
            "contains transformer, vae, text_encoder and text_encoder_2."
        )
    parts = read_json(index)
    if (kind := parts.get("_class_name")) != "FluxPipeline":
        raise InputError(f"{folder} holds a {kind}, not a FluxPipeline. Give a FLUX.1 folder.")
    sampler = parts.get("scheduler")
    if isinstance(sampler, list) and sampler[1:] != [SCHEDULER]:
        raise InputError(
            f"{index} names the scheduler {sampler[-1]}, whose steps are not FLUX's own. "
            f'Set its "scheduler" to ["diffusers", "{SCHEDULER}"].'
        )
    left_out = {*(() if texts else TEXT_PARTS), *(() if with_transformer else ("transformer",))}
    for part, names in WITHOUT_WEIGHTS.items():
        if part not in left_out and not any((folder / part / name).is_file() for name in names):
            raise InputError(
                f"{folder} has no {part} ({' or '.join(names)}). Download the folder again."
            )
    for part in (part for part in WITH_WEIGHTS if part not in left_out):
        for file in weight_files(folder / part):
            check_weights(file)
