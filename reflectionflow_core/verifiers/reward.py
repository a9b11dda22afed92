"""The published Image-Verifier (paper §3.2): Qwen2.5-VL-3B with one number at a token of its own.

It ranks pictures of one prompt; a score has no zero and no pass mark.
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
from ..flux.placement import Placement, make_placement
from ..protocols import SILENT, Progress
from ..record import InputError, Verdict
from ..vlm.folder import load_model, load_processor, located
from ..vlm.prompts import control_tokens, harmless, placed
from .reward_folder import (
    EMBEDDING,
    RewardSettings,
    find_checkpoint,
    load_checkpoint,
    read_settings,
)

TOKEN = "<|VQ_reward|>"
SLOT = "{text_prompt}"
MIN_PIXELS = 56 * 56


def load_reward(
    source: str | Path,
    base: str | Path,
    template: str | Path,
    *,
    settings: str | Path | None = None,
    dtype: str = "bf16",
    device: str | torch.device | None = None,
    batch_size: int = 4,
    placement: Placement | None = None,
) -> RewardVerifier:
    """The Image-Verifier from its folder, on `base`, the model that it was trained from.

    `template` is a text file: the words around a prompt, with {text_prompt} where the prompt goes
    and <|VQ_reward|> where the score is read (in upstream's reward_modeling/prompt_template.py,
    DETAILED_PROMPT_WITH_SPECIAL_TOKEN). `settings` is its model_config.json, where that lies
    elsewhere; without one, `RewardSettings` holds. Raises InputError for what cannot be used.
    """
    if dtype == "nf4":
        raise InputError("The reward's LoRA cannot be merged into nf4. Choose bf16 or fp32.")
    words = read_template(template)
    checkpoint = find_checkpoint(source)
    found = read_settings(checkpoint, settings)
    place, local = located(base)
    if local and read_json(Path(place) / "config.json")["model_type"] != "qwen2_5_vl":
        raise InputError(f"{base} is no Qwen2.5-VL. Give the folder of Qwen2.5-VL-3B-Instruct.")
    processor = load_processor(base)
    if (checkpoint / "tokenizer").is_dir():
        processor.tokenizer = AutoTokenizer.from_pretrained(
            checkpoint / "tokenizer", local_files_only=True, trust_remote_code=False
        )
    processor.tokenizer.add_tokens([AddedToken(TOKEN, special=True)], special_tokens=True)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = load_model(AutoModel, base, dtype, target)
    grown = len(processor.tokenizer) > model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    head = load_checkpoint(model, checkpoint, found, [EMBEDDING] if grown else [])
    placement = placement or make_placement("resident", target, {}, ())
    return RewardVerifier(model, processor, head, words, placement, found, batch_size)


def read_template(file: str | Path) -> str:
    """The words around a prompt; InputError where a slot is missing or there twice."""
    path = Path(file).expanduser()
    try:
        words = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"There is no text in {path}. Give a file with the words that the reward was trained "
            f"with: DETAILED_PROMPT_WITH_SPECIAL_TOKEN of upstream's prompt_template.py."
        ) from error
    for slot in (SLOT, TOKEN):
        if words.count(slot) != 1:
            raise InputError(
                f"{path} has {slot} {words.count(slot)} times. Put it once: {SLOT} where the "
                f"prompt goes, {TOKEN} where the score is read."
            )
    return words


class RewardVerifier:
    """Scores by the reward model; higher is better, and only within one prompt."""

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
            verdicts += [Verdict(score) for score in self.scores(prompt, batch)]
            progress.report("verify", len(verdicts), len(images))
        return verdicts

    def scores(self, prompt: str, images: Sequence[Image]) -> list[float]:
        """One score for each picture, all in one batch."""
        batch = self._encoded(prompt, images)
        ids = batch["input_ids"]
        # It was trained with the positions of plain text, pictures or not; Qwen's own differ.
        positions = torch.arange(ids.shape[1]).expand(3, *ids.shape)
        device = self.placement.device
        with torch.no_grad(), self.placement.on_device(self.model):
            hidden = self.model(
                **placed(batch, device, self.model.dtype),
                position_ids=positions.to(device),
                use_cache=False,
            ).last_hidden_state
        at_token = hidden.cpu().float()[ids == self.token]  # one in every row, in their order
        rewards = (at_token @ self.head.float().T)[:, 0]
        return ((rewards - self.settings.mean) / self.settings.std).tolist()

    def _encoded(self, prompt: str, images: Sequence[Image]) -> dict[str, Tensor]:
        # A token of the prompt's own would be read as a second score.
        text = self.template.replace(SLOT, harmless(prompt, control_tokens(self.processor)))
        parts = [{"type": "image"}, {"type": "text", "text": text}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )
        return dict(
            self.processor(
                text=[chat] * len(images),
                images=[[image.convert("RGB")] for image in images],
                size={"shortest_edge": MIN_PIXELS, "longest_edge": self.settings.max_pixels},
                padding=True,
                padding_side="right",
                return_tensors="pt",
            )
        )
