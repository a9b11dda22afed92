"""The published reward model's class beside our verifier, for `upstream_parity.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import MagicMock, patch

import torch
import transformers.trainer
from core.tiny_vlm import picture, save_vlm
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from reflectionflow_core.verifiers.reward import RewardVerifier, load_reward
from reflectionflow_core.verifiers.reward_forward import encode_rows
from reflectionflow_core.verifiers.reward_template import SLOT

# Names that its module imports for its training only, and newer libraries no longer have.
GONE = ("DistributedTensorGatherer", "SequentialDistributedSampler", "nested_concat")
SIZES = ((56, 56), (84, 56), (112, 140), (28, 28), (200, 40), (300, 300))
PROMPT = "a red circle"
MAX_PIXELS, MEAN, STD = 84 * 84, 0.3, 2.0
LORA: dict[str, Any] = {"lora_alpha": 6, "lora_r": 3, "use_rslora": False}


def reward_differences(checkout: Path, load: Callable[[Path], Any]) -> list[float]:
    """How far the scores lie apart, a picture at a time; `load` makes a module of a file."""
    with TemporaryDirectory() as folder, torch.no_grad():
        base, trained = save_vlm(Path(folder) / "base"), Path(folder) / "verifier"
        template = load(checkout / "reward_modeling" / "prompt_template.py").build_prompt(
            SLOT, "VQ", "detailed_special"
        )
        model = _published_model(checkout, load, base)
        _save(model, trained, template)
        ours = load_reward(trained, base, dtype="fp32", device="cpu")
        return [_difference(model, ours, template, size) for size in SIZES]


def _difference(model: Any, ours: RewardVerifier, template: str, size: tuple[int, int]) -> float:
    image = picture("red", size)
    batch = encode_rows(ours.processor, template, [PROMPT], [image], MAX_PIXELS)
    batch.pop("mm_token_type_ids", None)  # younger than the published code
    model.base_model.model.special_token_ids = [ours.token]
    # For this call only: with it, transformers would resize another embedding than the model's.
    words = property(lambda self: self.language_model.embed_tokens)
    with patch.object(Qwen2_5_VLModel, "embed_tokens", words, create=True):
        theirs = (float(model(return_dict=True, **batch)["logits"]) - MEAN) / STD
    return abs(ours.scores(PROMPT, [image])[0] - theirs)


def _published_model(checkout: Path, load: Callable[[Path], Any], base: Path) -> Any:
    """A random model of its class with LoRA, as its training leaves it."""
    with ExitStack() as stack:
        stubs = {"reward_modeling": MagicMock(), "reward_modeling.utils": MagicMock()}
        stack.enter_context(patch.dict("sys.modules", stubs))
        for name in GONE:
            stand_in = patch.object(transformers.trainer, name, MagicMock(), create=True)
            stack.enter_context(stand_in)
        published = load(checkout / "reward_modeling" / "trainer.py").Qwen2VLRewardModelBT
    config: Any = AutoConfig.from_pretrained(base)
    config.hidden_size, config.pad_token_id = config.text_config.hidden_size, 0
    torch.manual_seed(0)
    model = _as_of_2025(published).from_pretrained(
        base, config=config, output_dim=1, reward_token="special", special_token_ids=[0]
    )
    model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 1)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "language_model" in name
    ]
    adapter = LoraConfig(
        r=LORA["lora_r"],
        lora_alpha=LORA["lora_alpha"],
        target_modules=linear,
        init_lora_weights=False,
    )
    return get_peft_model(model, adapter).eval()


def _as_of_2025(published: Any) -> Any:
    """The class with its parts where the transformers of its time had them."""

    class Visual:
        def __init__(self, tower: Any) -> None:
            self.tower, self.dtype = tower, tower.dtype

        def __call__(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
            return self.tower(pixels, grid_thw=grid_thw).pooler_output

    class Model(published):
        @property
        def visual(self) -> Visual:
            return Visual(self.model.visual)

    return Model


def _save(model: Any, folder: Path, template: str) -> None:
    checkpoint = folder / "checkpoint-10080"
    checkpoint.mkdir(parents=True)
    torch.save(model.state_dict(), checkpoint / "model.pth")
    settings = {
        "data_config": {"max_frame_pixels": MAX_PIXELS, "prompt_template_type": "detailed_special"},
        "model_config": {"use_special_tokens": True, "output_dim": 1, "reward_token": "special"},
        "peft_lora_config": LORA,
        "inference_config": {"VQ_mean": MEAN, "VQ_std": STD},
    }
    (folder / "model_config.json").write_text(json.dumps(settings))
    (folder / "template.txt").write_text(template)
