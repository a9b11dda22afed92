"""The published Image-Verifier (paper §3.2): Qwen2.5-VL-3B with a scalar head at a special token.

It ranks pictures of one prompt; there is no score threshold for passing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AddedToken, AutoModel, AutoTokenizer

from ..flux.folders import read_json
from ..flux.placement import Placement, Resident, device_named
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from ..texts import TextError, read_text, user_path
from ..vlm.folder import load_model, load_processor, resolved
from ..vlm.prompts import to_device
from .reward_folder import (
    EMBEDDING,
    TEMPLATE,
    RewardSettings,
    beside,
    find_checkpoint,
    load_checkpoint,
    read_settings,
)
from .reward_forward import encode_rows, rewards
from .reward_template import SLOT, TOKEN


def load_reward(
    source: str | Path,
    base: str | Path,
    template: str | Path | None = None,
    *,
    settings: str | Path | None = None,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    batch_size: int = 4,
    placement: Placement | None = None,
) -> RewardVerifier:
    """The Image-Verifier in the folder `source`, on `base`, the model it was trained from.

    * `template`: a text file with {text_prompt} for the prompt and <|VQ_reward|> where the score is
      read. Not needed if the folder has a template.txt, as written by `python -m train.verifier`.
      For
      the published verifier it is DETAILED_PROMPT_WITH_SPECIAL_TOKEN in upstream's
      reward_modeling/prompt_template.py.
    * `settings`: its model_config.json if it is in another folder; default: `RewardSettings`.

    InputError for files that are missing or do not fit together.
    """
    if dtype == "nf4":
        raise InputError("The reward's LoRA cannot be merged into nf4. Choose bf16 or fp32.")
    checkpoint = find_checkpoint(source)
    words = read_template(template or beside(checkpoint, TEMPLATE))
    found = read_settings(checkpoint, settings)
    target = device_named(device)
    model, processor, grown = load_base(base, dtype, target, checkpoint / "tokenizer")
    head = load_checkpoint(model, checkpoint, found, [EMBEDDING] if grown else [])
    where = placement or Resident(target)
    return RewardVerifier(model, processor, head, words, where, found, batch_size)


def load_base(
    base: str | Path, dtype: str, device: torch.device, tokenizer: Path | None = None
) -> tuple[Any, Any, bool]:
    """Qwen2.5-VL without language head and its processor, both with the reward's token.

    Also returns whether the embedding was enlarged for that token, so that the new weights are
    random. The folder `tokenizer`, if it exists, replaces the model's tokenizer.
    """
    name, local = resolved(base)
    if local and read_json(Path(name) / "config.json")["model_type"] != "qwen2_5_vl":
        raise InputError(f"{base} is not a Qwen2.5-VL. Give the folder of Qwen2.5-VL-3B-Instruct.")
    processor = load_processor(base)
    if tokenizer is not None and tokenizer.is_dir():
        processor.tokenizer = AutoTokenizer.from_pretrained(
            tokenizer, local_files_only=True, trust_remote_code=False
        )
    processor.tokenizer.add_tokens([AddedToken(TOKEN, special=True)], special_tokens=True)
    model = load_model(AutoModel, base, dtype, device)
    grown = len(processor.tokenizer) > model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    return model, processor, grown


def read_template(file: str | Path) -> str:
    """The template in a file; InputError unless each placeholder occurs once."""
    path = user_path(file)
    try:
        words = read_text(path)
    except (OSError, TextError) as error:
        raise InputError(
            f"There is no text in {path}. Give a file with the template that the reward model "
            "was trained with: DETAILED_PROMPT_WITH_SPECIAL_TOKEN of upstream's "
            "prompt_template.py."
        ) from error
    return checked_template(words, str(path))


def checked_template(words: str, source: str) -> str:
    """The template itself; InputError unless each placeholder occurs once. `source` names it."""
    for slot in (SLOT, TOKEN):
        if words.count(slot) != 1:
            raise InputError(
                f"{source} has {slot} {words.count(slot)} times. Put it once: {SLOT} where the "
                f"prompt goes, {TOKEN} where the score is read."
            )
    return words


class RewardVerifier:
    """Scores by the reward model: higher is better, comparable for one prompt."""

    calls = 1

    def __init__(
        self,
        model: Any,
        processor: Any,
        head: Tensor,
        template: str,
        placement: Placement,
        settings: RewardSettings,
        batch_size: int = 4,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"The batch size is {batch_size}. Give a number from 1.")
        self.model, self.processor, self.head = model, processor, head  # head: (1, hidden)
        self.template, self.placement, self.settings = template, placement, settings
        self.batch_size = batch_size
        self.token = processor.tokenizer.convert_tokens_to_ids(TOKEN)

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for start in range(0, len(images), self.batch_size):
            progress.check()
            batch = images[start : start + self.batch_size]
            verdicts += map(Verdict.of_score, self.scores(prompt, batch))
            progress.report("verify", len(verdicts), len(images))
        return verdicts

    def scores(self, prompt: str, images: Sequence[Image]) -> list[float]:
        """One score per picture, in one batch."""
        rows = [prompt] * len(images)
        limit, device = self.settings.max_pixels, self.placement.device
        batch = encode_rows(self.processor, self.template, rows, images, limit)
        with torch.no_grad(), self.placement.on_device(self.model):
            read = rewards(
                self.model, self.head, to_device(batch, device, self.model.dtype), self.token
            )
        return ((read.cpu() - self.settings.mean) / self.settings.std).tolist()
