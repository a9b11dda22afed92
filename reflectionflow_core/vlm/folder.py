"""A vision-language model of transformers from a folder or a hub id: weights and processor.

Knows nothing of questions. Code that comes with a model is never run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor
from transformers.processing_utils import ProcessorMixin

from ..flux.folders import check_weights, first_line, may_be_hub_id, read_json, weight_files
from ..record import InputError

DTYPES = ("bf16", "fp32", "nf4")
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32, "nf4": torch.bfloat16}
GIVE = "Give the folder of a vision-language model such as Qwen2.5-VL or Qwen3-VL"
# transformers makes an empty tokenizer where all of these are missing.
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "vocab.txt")
NAMED = 5  # tensors that an error lists; the rest is counted


def load_model(
    auto: Any,
    source: str | Path,
    dtype: str,
    device: torch.device,
    *,
    give: str = GIVE,
    **options: Any,
) -> Any:
    """The model that `auto` (an Auto class of transformers) builds; every weight has arrived.

    Raises InputError where the folder is missing, damaged or of another kind of model; `give` is
    what it tells the user to give.
    """
    if dtype not in DTYPES:
        raise InputError(f"There is no dtype named {dtype!r}. Choose one of: {', '.join(DTYPES)}.")
    if dtype == "nf4":
        options |= _nf4(device)
    place, local = located(source, give)
    try:
        model, found = auto.from_pretrained(
            place,
            dtype=PRECISIONS[dtype],
            local_files_only=local,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise InputError(
            f"{source} could not be loaded: {first_line(error)} {give}, or its id on the hub."
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"The weights in {source} lack {listed(missing)}. Download the folder again, or give "
            "one whose config.json belongs to its weights."
        )
    return model.eval().requires_grad_(False)


def located(source: str | Path, give: str = GIVE) -> tuple[str, bool]:
    """What transformers shall be given for `source`, and whether it lies on this machine."""
    folder = Path(source).expanduser()
    local = folder.exists() or not may_be_hub_id(str(source))
    if not local:
        return str(source), False
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. {give}, or its id on the hub.")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json. {give}, the one that holds config.json.")
    if "model_type" not in read_json(folder / "config.json"):
        raise InputError(f"{folder}/config.json names no model_type. {give}.")
    for file in weight_files(folder):
        check_weights(file)
    return str(folder), True


def load_processor(source: str | Path) -> Any:
    """The processor beside a model; Qwen's without its part for films where torchvision lacks."""
    place, local = located(source)
    if local and not any((Path(place) / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{source} has no tokenizer ({TOKENIZERS[0]}). Download the folder again.")
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        if importlib.util.find_spec("torchvision") or not (kind := _qwen_processor(place, options)):
            processor = AutoProcessor.from_pretrained(place, **options)
        else:
            processor = kind.from_pretrained(place, **options)
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        if isinstance(error, ImportError) or "torchvision" in str(error):
            advice = "Install what it asks for, or choose Qwen2.5-VL or Qwen3-VL."
        else:
            advice = "Download its tokenizer, chat template and preprocessor_config.json again."
        raise InputError(
            f"The processor in {source} could not be loaded: {first_line(error)} {advice}"
        ) from error
    if not isinstance(processor, ProcessorMixin) or not _chat_template(processor):
        raise InputError(
            f"{source} has no chat template, so nobody can ask it anything. {GIVE} "
            "that was trained on instructions."
        )
    return processor


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


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


def _qwen_processor(place: str, options: dict[str, Any]) -> Any:
    """Qwen's processor for pictures and texts, or None where the model is none of Qwen's.

    The original asks for a part that reads films, and that part for torchvision.
    """
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    kinds: dict[str, Any] = {
        "qwen2_vl": Qwen2_5_VLProcessor,  # which differs in films only
        "qwen2_5_vl": Qwen2_5_VLProcessor,
        "qwen3_vl": Qwen3VLProcessor,
        "qwen3_vl_moe": Qwen3VLProcessor,
    }
    original = kinds.get(AutoConfig.from_pretrained(place, **options).model_type)
    if original is None:
        return None

    class WithoutFilms(original):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # The name is written into folders that it saves; elsewhere there may be torchvision.
    WithoutFilms.__name__ = original.__name__
    return WithoutFilms
