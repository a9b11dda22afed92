"""LoRA on all tokens, and conditions that attend to themselves only: against the plain reference,
and what is remembered against what is computed anew: `pytest tests/core/test_flux_modes.py`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import corrections
from core.reference_flux import Reference, Rules
from core.tiny_flux import loud_lora, random_inputs, tiny_pipeline, tiny_transformer
from peft import LoraConfig
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from reflectionflow_core.flux import sampling
from reflectionflow_core.flux.branch import FluxInputs, step_constants, velocity
from reflectionflow_core.flux.condition import ConditionSettings
from reflectionflow_core.flux.lora import Mode, load_corrector_lora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import FluxCorrector
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.record import InputError

TOLERANCE = 1e-5
INDEPENDENT = Mode(attention="independent")
MODES = [
    Mode(tokens, attention)
    for tokens in ("condition", "all")
    for attention in ("union", "independent")
]


def rules(mode: Mode) -> Rules:
    return Rules(
        everyone_sees_lora=mode.tokens == "all",
        condition_sees_itself_only=mode.attention == "independent",
    )


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("guidance", [True, False])
@pytest.mark.parametrize(
    ("batch", "image", "condition"), [(1, (4, 4), (2, 2)), (3, (3, 5), (5, 1))]
)
@torch.no_grad()
def test_every_mode_equals_the_reference(mode, guidance, batch, image, condition) -> None:
    transformer = tiny_transformer(guidance)
    lora = loud_lora(transformer, mode=mode)
    inputs = random_inputs(batch, image, condition)
    expected = Reference(transformer, lora, rules(mode)).velocity(inputs)
    assert distance(velocity(transformer, inputs, lora), expected) < TOLERANCE


@pytest.mark.parametrize(("mode", "other"), list(pairwise(MODES)))
@torch.no_grad()
def test_modes_differ_so_the_comparison_notices_a_wrong_one(mode: Mode, other: Mode) -> None:
    transformer = tiny_transformer()
    inputs = random_inputs(batch=2)
    expected = Reference(transformer, loud_lora(transformer), rules(other)).velocity(inputs)
    assert (
        distance(velocity(transformer, inputs, loud_lora(transformer, mode=mode)), expected) > 0.01
    )


@torch.no_grad()
def test_a_lora_on_all_tokens_is_what_an_ordinary_loader_makes_of_it() -> None:
    transformer, stock = tiny_transformer(), tiny_transformer()
    lora, inputs = loud_lora(transformer, mode=Mode(tokens="all")), random_inputs(condition=None)
    paths = [path for path, _ in lora.items()]
    stock.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=paths))
    for path, layer in lora.items():
        wrapped: Any = stock.get_submodule(path)
        wrapped.lora_A["default"].weight.copy_(layer.down)
        wrapped.lora_B["default"].weight.copy_(layer.up)
    expected = stock(
        hidden_states=inputs.latents,
        encoder_hidden_states=inputs.text,
        pooled_projections=inputs.pooled,
        timestep=inputs.timestep,
        guidance=inputs.guidance,
        img_ids=inputs.image_ids,
        txt_ids=torch.zeros(6, 3),
    ).sample
    assert distance(velocity(transformer, inputs, lora), expected) < TOLERANCE


def later_steps(inputs: FluxInputs) -> list[FluxInputs]:
    """The same pictures and prompts at other times and noises."""
    return [
        replace(inputs, timestep=inputs.timestep * share, latents=inputs.latents * share)
        for share in (0.9, 0.5, 0.1)
    ]


@torch.no_grad()
def test_keys_and_values_remembered_of_a_picture_serve_every_step() -> None:
    transformer = tiny_transformer()
    inputs = random_inputs(batch=3)
    lora = loud_lora(transformer, mode=INDEPENDENT)
    remembered = step_constants(transformer, inputs, lora)
    for step in later_steps(inputs):
        # Against a mask over all tokens, computed anew at this step.
        anew = Reference(transformer, lora, rules(INDEPENDENT)).velocity(step)
        assert distance(velocity(transformer, step, lora, remembered), anew) < TOLERANCE


@torch.no_grad()
def test_what_was_remembered_of_another_picture_does_not_serve() -> None:
    transformer = tiny_transformer()
    inputs = random_inputs(batch=2)
    lora = loud_lora(transformer, mode=INDEPENDENT)
    assert inputs.condition is not None
    other = replace(inputs, condition=inputs.condition.flip(0))
    wrong = velocity(transformer, inputs, lora, step_constants(transformer, other, lora))
    assert distance(wrong, velocity(transformer, inputs, lora)) > 0.01


@torch.no_grad()
def test_a_condition_in_a_union_may_not_be_remembered() -> None:
    transformer = tiny_transformer()
    inputs = random_inputs()
    union, independent = loud_lora(transformer), loud_lora(transformer, mode=INDEPENDENT)
    assert not step_constants(transformer, inputs, union).cached
    remembered = step_constants(transformer, inputs, independent)
    (later, *_) = later_steps(inputs)
    apart = velocity(transformer, later, independent, remembered)
    assert distance(apart, velocity(transformer, later, union)) > 0.01


@pytest.mark.parametrize("mode", MODES)
def test_checkpointed_gradients_are_the_plain_ones(mode: Mode) -> None:
    gradients = []
    for checkpointing in (False, True):
        transformer = tiny_transformer()
        transformer.gradient_checkpointing = checkpointing
        lora = loud_lora(transformer, mode=mode).requires_grad_(True)
        velocity(transformer, random_inputs(batch=2), lora).square().mean().backward()
        gradients.append([p.grad for p in lora.parameters() if p.grad is not None])
    plain, checkpointed = gradients
    assert len(plain) == len(checkpointed) > len(list(lora.parameters())) / 2
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))


def test_sampling_looks_at_the_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flux = Flux.from_pipeline(tiny_pipeline())
    looks: list[int] = []

    def counted(transformer, inputs, lora, walk):
        constants = step_constants(transformer, inputs, lora, walk)
        looks.append(len(constants.cached))
        return constants

    monkeypatch.setattr(sampling, "step_constants", counted)
    settings = SamplingSettings(32, 32, steps=3, max_sequence_length=8)
    lora = loud_lora(flux.transformer, mode=INDEPENDENT)
    corrector = FluxCorrector(flux, lora, settings, ConditionSettings(32))
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    one, other = corrector.paint(
        corrections(pictures, ["a", "a"], ["make red", "make red"], [1, 1])
    )
    assert looks == [4]  # blocks
    assert one.tobytes() != other.tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_file_says_its_mode_and_one_that_says_nothing_is_published(tmp_path: Path, mode) -> None:
    transformer = tiny_transformer()
    file = loud_lora(transformer, mode=mode).save(tmp_path)
    assert load_corrector_lora(file, transformer).mode == mode
    with safe_open(file, "pt") as stored:
        assert (stored.metadata() == {"format": "pt"}) == (mode == Mode())


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"reflectionflow.tokens": "some"}, "no tokens named 'some'"),
        ({"reflectionflow.scale": "2"}, "does not support"),
    ],
)
def test_a_mode_that_nobody_knows_is_refused(tmp_path: Path, header, message: str) -> None:
    transformer = tiny_transformer()
    file = loud_lora(transformer).save(tmp_path)
    save_file(load_file(file), file, {"format": "pt", **header})
    with pytest.raises(InputError, match=message):
        load_corrector_lora(file, transformer)
