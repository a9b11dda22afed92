"""CLIP, and CLIP models trained on human preferences (PickScore, HPS v2).

The score is the similarity of two vectors: fast, but blind to counts and positions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from ..flux.folders import first_line, local_folder, read_json
from ..flux.placement import Placement, Resident, device_named
from ..pictures import to_rgb
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from ..vlm.folder import load_model, resolved

FOLDER = "Give the folder of a CLIP, PickScore or HPS v2 in transformers format"


def load_clip_score(
    source: str | Path,
    processor: str | Path | None = None,
    *,
    dtype: str = "fp32",
    device: str | torch.device | None = None,
    batch_size: int = 16,
    placement: Placement | None = None,
) -> ClipVerifier:
    """A verifier with the CLIPModel in a folder or at a hub ID; `processor` gives its processor if
    missing.

    InputError if the model is missing, damaged or not a CLIP.
    """
    if dtype == "nf4":
        raise InputError("CLIP cannot be loaded in nf4. Choose fp32 or bf16.")
    name, local = resolved(source, FOLDER)
    if local and (kind := read_json(Path(name) / "config.json")["model_type"]) != "clip":
        raise InputError(f"{source} holds a {kind}, not a CLIP. {FOLDER}.")
    target = device_named(device)
    image_processor, tokenizer = _processor(processor or source)
    model = load_model(CLIPModel, source, dtype, target, give=FOLDER)
    return ClipVerifier(
        model, image_processor, tokenizer, placement or Resident(target), batch_size
    )


def _processor(source: str | Path) -> tuple[Any, Any]:
    folder = local_folder(source)
    name = str(folder or source)
    options: dict[str, Any] = {"local_files_only": bool(folder), "trust_remote_code": False}
    files = ("tokenizer.json", "vocab.json")
    if folder and not any((folder / file).is_file() for file in files):
        raise InputError(
            f"{source} has no tokenizer ({' or '.join(files)}). Download the folder again, or give "
            "the folder of the CLIP that it was made from as its processor."
        )
    try:
        image_processor = AutoImageProcessor.from_pretrained(name, **options)
        return image_processor, AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"The processor in {source} could not be loaded: {first_line(error)} {FOLDER}, or give "
            "the folder of the CLIP that it was made from as its processor."
        ) from error


class ClipVerifier:
    """Scores by cosine similarity times the model's scale (about 100); comparable per model."""

    calls = 1

    def __init__(
        self,
        model: Any,
        image_processor: Any,
        tokenizer: Any,
        placement: Placement,
        batch_size: int = 16,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"The batch size is {batch_size}. Give a number from 1.")
        self.model, self.image_processor, self.tokenizer = model, image_processor, tokenizer
        self.placement, self.batch_size = placement, batch_size
        self.longest: int = model.config.text_config.max_position_embeddings  # 77 tokens

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        text = self._text(prompt)
        verdicts: list[Verdict] = []
        for start in range(0, len(images), self.batch_size):
            progress.check()
            scores = self._scores(text, images[start : start + self.batch_size])
            verdicts += map(Verdict.of_score, scores)
            progress.report("verify", len(verdicts), len(images))
        return verdicts

    def _text(self, prompt: str) -> dict[str, torch.Tensor]:
        count = len(self.tokenizer(prompt, verbose=False)["input_ids"])
        if count > self.longest:
            warnings.warn(
                f"CLIP reads only the first {self.longest} of the prompt's {count} tokens. Put "
                "what matters first, or use another verifier.",
                stacklevel=3,
            )
        tokens = self.tokenizer(
            prompt, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}

    def _scores(self, text: dict[str, torch.Tensor], images: Sequence[Image]) -> list[float]:
        pictures = [to_rgb(image) for image in images]
        pixels = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        device = self.placement.device
        with torch.no_grad(), self.placement.on_device(self.model):
            output = self.model(
                **{name: tensor.to(device) for name, tensor in text.items()},
                pixel_values=pixels.to(device, self.model.dtype),
            )
        return output.logits_per_image[:, 0].float().tolist()  # (pictures, texts)
