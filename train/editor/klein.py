"""FLUX.2 [klein] for training: its inputs, its velocity, and a LoRA applied to all tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.condition import to_pixels
from reflectionflow_core.flux.folders import local_folder
from reflectionflow_core.flux.text import Text
from reflectionflow_core.pipelines.wording import edit_text
from reflectionflow_core.record import InputError
from train.corrector.samples import SHORTEST, Dropped, SampleRow, Shards, TrainingBatch
from train.corrector.settings import Views
from train.processes import join
from train.triplets import Triplets

PATCH = 16  # pixels per side of a token
REFERENCE = 10  # time coordinate of the input picture
TARGETS = re.compile(
    r".*\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out"
    r"|to_qkv_mlp_proj|to_out)|.*\.ff(_context)?\.linear_(in|out)"
)


def load(model: str, dtype: str, device: str) -> Flux2KleinPipeline:
    """The pipeline on this process's device; InputError if it cannot be loaded."""
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    try:
        source = local_folder(model) or model
        pipeline = Flux2KleinPipeline.from_pretrained(source, torch_dtype=kind)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{model} is not a FLUX.2 [klein] in diffusers format ({error}). Give its folder."
        ) from error
    return prepared(cast(Any, pipeline).to(join(device).device))


def prepared(pipeline: Any) -> Any:
    """The pipeline with frozen weights."""
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    return pipeline


class EditorLora:
    """A PEFT LoRA in the transformer, in float32."""

    def __init__(self, transformer: Any, rank: int, seed: int) -> None:
        names = targets(transformer)
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, target_modules=names, lora_alpha=rank, init_lora_weights="gaussian"
        )
        transformer.add_adapter(config)
        for parameter in transformer.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self.transformer, self.modules = transformer, names

    def serialised(self) -> bytes:
        """A file for diffusers' `load_lora_weights`."""
        state = get_peft_model_state_dict(self.transformer)
        named = {f"transformer.{name}": t.detach().cpu().contiguous() for name, t in state.items()}
        return save(named, {"format": "pt"})


def targets(transformer: nn.Module) -> list[str]:
    """The layers that get a LoRA: attention and feed-forward of all blocks and both streams."""
    named = transformer.named_modules()
    return [n for n, m in named if isinstance(m, nn.Linear) and TARGETS.fullmatch(n)]


class EditorShards(Shards):
    """The corrector's samples, with instructions as a search gives them to an editing model."""

    def __init__(self, pipeline: Any, triplets: Triplets, views: Views) -> None:
        parts: Any = SimpleNamespace(token_pixels=PATCH)
        super().__init__(parts, triplets, views)
        self.pipeline = pipeline

    def text(self, prompt: str, reflection: str, drop: Dropped) -> Text:
        return Text("", "" if drop.text else instruction(prompt, reflection, drop))

    def batch(self, rows: Sequence[SampleRow]) -> TrainingBatch:
        pipeline = self.pipeline
        target, condition = (
            encoded(pipeline, to_pixels([getattr(row, name) for row in rows]))
            for name in ("target", "condition")
        )
        with torch.no_grad():
            texts = [row.text.t5 for row in rows]
            length = self.views.text_length
            text, _ = pipeline.encode_prompt(texts, max_sequence_length=length)
        return TrainingBatch(
            keys=tuple(row.key for row in rows),
            target=pipeline._pack_latents(target),
            grid=(target.shape[2], target.shape[3]),
            condition=pipeline._pack_latents(condition),
            condition_grid=(condition.shape[2], condition.shape[3]),
            text=text.to(target),
            pooled=text.new_zeros(len(rows), 0),
            shown=torch.tensor([row.shown for row in rows], device=target.device),
        )


def instruction(prompt: str, reflection: str, drop: Dropped) -> str:
    """The text after the drops; without the prompt only the reflection."""
    said = "" if drop.reflection or len(reflection.strip()) < SHORTEST else reflection
    return said if drop.prompt else edit_text(prompt, said)


@torch.no_grad()
def encoded(pipeline: Any, pixels: Tensor) -> Tensor:
    """Latents (B, 128, h, w) of pictures (B, 3, H, W) from -1 to 1."""
    vae = pipeline.vae
    return pipeline._encode_vae_image(pixels.to(vae.device, vae.dtype), generator=None)


def velocity(transformer: nn.Module, inputs: FluxInputs) -> Tensor:
    """The velocity of the picture's tokens, (B, n, 128)."""
    assert inputs.condition is not None and inputs.condition_ids is not None
    rows, count = len(inputs.latents), inputs.latents.shape[1]
    places = torch.cat([positions(inputs.image_ids, 0), positions(inputs.condition_ids, REFERENCE)])
    words = torch.zeros(inputs.text.shape[1], 4)
    words[:, 3] = torch.arange(len(words))
    device = inputs.latents.device
    (found,) = transformer(
        hidden_states=torch.cat([inputs.latents, inputs.condition], 1),
        timestep=inputs.timestep.to(inputs.latents),
        guidance=None,
        encoder_hidden_states=inputs.text,
        txt_ids=words.to(device).expand(rows, -1, -1),
        img_ids=places.to(device).expand(rows, -1, -1),
        return_dict=False,
    )
    return found[:, :count]


def positions(ids: Tensor, time: int) -> Tensor:
    """FLUX.1's positions (n, 3) of a grid as FLUX.2's (n, 4): time, row, column, 0."""
    found = torch.zeros(len(ids), 4)
    found[:, 0] = time
    found[:, 1:3] = ids[:, 1:3].cpu() - ids[:, 1:3].cpu().amin(0)
    return found
