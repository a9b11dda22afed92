"""Loads a transformers model and its processor from a folder or by a hub ID.

Code that comes with a model is never run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor
from transformers.processing_utils import ProcessorMixin

from ..flux.folders import check_weights, first_line, listed, local_folder, read_json, weight_files
from ..flux.placement import is_out_of_memory
from ..record import InputError
from ..settings import check_choice
from ..texts import no_folder

DTYPES = ("bf16", "fp32", "nf4")
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32, "nf4": torch.bfloat16}
GIVE = "Give the folder of a vision-language model such as Qwen2.5-VL or Qwen3-VL"
# If all are missing, transformers builds an empty tokenizer.
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "vocab.txt")


def load_model(
    auto: Any,
    source: str | Path,
    dtype: str,
    device: torch.device,
    *,
    give: str = GIVE,
    **options: Any,
) -> Any:
    """The model of an Auto class of transformers, with all its weights.

    InputError if the folder is missing, damaged or of another kind; `give` is the advice in that
    error.
    """
    check_choice("dtype", dtype, DTYPES)
    if dtype == "nf4":
        options |= _nf4(device)
    name, local = resolved(source, give)
    try:
        model, found = auto.from_pretrained(
            name,
            dtype=PRECISIONS[dtype],
            local_files_only=local,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"{source} could not be loaded: {first_line(error)} {give}, or its id on the hub."
        ) from error
    if missing := found["missing_keys"]:
        raise InputError(
            f"The weights in {source} lack {listed(missing)}. Download the folder again, or give "
            "one whose config.json belongs to its weights."
        )
    return model.eval().requires_grad_(False)


def resolved(source: str | Path, give: str = GIVE) -> tuple[str, bool]:
    """`source` as a name for transformers, and whether it is a folder on this machine.

    InputError for a folder that is missing or damaged.
    """
    folder = local_folder(source)
    if folder is None:
        return str(source), False
    if not folder.is_dir():
        raise no_folder(folder, f"{give}, or its id on the hub.")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json. {give}, the one that holds config.json.")
    if "model_type" not in read_json(folder / "config.json"):
        raise InputError(f"{folder}/config.json names no model_type. {give}.")
    for file in weight_files(folder):
        check_weights(file)
    return str(folder), True


def load_processor(source: str | Path) -> Any:
    """The processor of a model; Qwen's without its video part if torchvision is missing.

    InputError if it is missing, damaged or has no chat template.
    """
    name, local = resolved(source)
    if local and not any((Path(name) / file).is_file() for file in TOKENIZERS):
        raise InputError(f"{source} has no tokenizer ({TOKENIZERS[0]}). Download the folder again.")
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        qwen = None if importlib.util.find_spec("torchvision") else _qwen_processor(name, options)
        processor = (qwen or AutoProcessor).from_pretrained(name, **options)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        if "torchvision" in str(error).lower():
            raise InputError(
                f"The processor in {source} needs the package torchvision, which is not installed. "
                "Install the torchvision that belongs to your torch, or choose Qwen2.5-VL, "
                "Qwen3-VL or another family that does without."
            ) from error
        if isinstance(error, ImportError):
            advice = "Install what it asks for, or choose Qwen2.5-VL or Qwen3-VL."
        elif "does not recognize" in str(error):
            advice = "Install a newer transformers, or choose Qwen2.5-VL or Qwen3-VL."
        elif not local:
            advice = "Check the hub id and the connection, or give a folder."
        else:
            advice = "Download its tokenizer, chat template and preprocessor_config.json again."
        raise InputError(
            f"The processor in {source} could not be loaded: {first_line(error)} {advice}"
        ) from error
    if not isinstance(processor, ProcessorMixin) or not _chat_template(processor):
        raise InputError(
            f"{source} has no chat template, so it cannot be asked questions. {GIVE} "
            "that was trained on instructions."
        )
    return processor


def _chat_template(processor: ProcessorMixin) -> Any:
    return processor.chat_template or vars(processor)["tokenizer"].chat_template


def _nf4(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda" or not importlib.util.find_spec("bitsandbytes"):
        raise InputError(
            "nf4 needs an NVIDIA GPU and the package bitsandbytes. "
            "Install it with `pip install bitsandbytes`, or choose bf16."
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _qwen_processor(name: str, options: dict[str, Any]) -> Any:
    """Qwen's processor for pictures and texts, or None if the model is not a Qwen."""
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    kinds: dict[str, Any] = {
        "qwen2_vl": Qwen2_5_VLProcessor,  # differs for videos only
        "qwen2_5_vl": Qwen2_5_VLProcessor,
        "qwen3_vl": Qwen3VLProcessor,
        "qwen3_vl_moe": Qwen3VLProcessor,
    }
    original = kinds.get(AutoConfig.from_pretrained(name, **options).model_type)
    return None if original is None else without_videos(original)


def without_videos(original: Any) -> Any:
    """A processor class without its video part, which needs torchvision."""

    class WithoutVideos(original):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # Saved folders contain this name and may be loaded with torchvision installed.
    WithoutVideos.__name__, WithoutVideos.__module__ = original.__name__, original.__module__
    return WithoutVideos
