"""The condition branch against the plain reference: `pytest tests/core/test_flux_branch.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from core.reference_flux import Reference, Rules
from core.tiny_flux import grid_ids, loud_lora, random_inputs, tiny_transformer
from peft import LoraConfig
from torch import Tensor

from reflectionflow_core.flux.branch import FluxInputs, step_constants, velocity
from reflectionflow_core.flux.lora import CorrectorLora

TOLERANCE = 1e-4  # promised; float32 reaches about 2e-6 on outputs of size 4


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max())


def in_dtype(inputs: FluxInputs, dtype: torch.dtype) -> FluxInputs:
    names = ("latents", "text", "pooled", "timestep", "guidance", "condition")
    return replace(inputs, **{name: getattr(inputs, name).to(dtype) for name in names})


@pytest.mark.parametrize("guidance", [True, False])
@pytest.mark.parametrize(("rank", "alpha"), [(4, None), (16, None), (4, 10.0)])
@pytest.mark.parametrize(
    ("batch", "image", "condition"), [(1, (4, 4), (2, 2)), (3, (3, 5), (5, 1)), (3, (1, 1), (1, 3))]
)
def test_velocity_equals_the_reference(batch, image, condition, rank, alpha, guidance) -> None:
    transformer = tiny_transformer(guidance)
    lora = loud_lora(transformer, rank, alpha)
    inputs = random_inputs(batch, image, condition)
    expected = Reference(transformer, lora).velocity(inputs)
    assert expected.abs().max() > 1
    assert distance(velocity(transformer, inputs, lora), expected) < TOLERANCE / 10


def corrupted(
    inputs: FluxInputs, lora: CorrectorLora, how: str
) -> tuple[FluxInputs, CorrectorLora]:
    match how:
        case "condition on top of the image":
            return replace(inputs, condition_ids=grid_ids(2, 2)), lora
        case "condition off by one column":
            return replace(inputs, condition_ids=grid_ids(2, 2, shift=-3)), lora
        case "pictures in another order":
            assert inputs.condition is not None
            return replace(inputs, condition=inputs.condition.roll(1, 0)), lora
        case "no LoRA":
            return inputs, CorrectorLora({})
        case path:
            return inputs, CorrectorLora({name: x for name, x in lora.items() if name != path})


@pytest.mark.parametrize(
    "how",
    [
        "condition on top of the image",
        "condition off by one column",
        "pictures in another order",
        "no LoRA",
        "x_embedder",
        "transformer_blocks.0.norm1.linear",
        "transformer_blocks.0.ff.net.2",
        "transformer_blocks.1.attn.to_out.0",
        "single_transformer_blocks.0.proj_mlp",
        "single_transformer_blocks.0.proj_out",
        "single_transformer_blocks.0.norm.linear",
        "single_transformer_blocks.1.attn.to_v",
    ],
)
def test_the_comparison_notices_one_wrong_thing(how: str) -> None:
    transformer = tiny_transformer()
    lora, inputs = loud_lora(transformer), random_inputs(batch=3)
    expected = Reference(transformer, lora).velocity(inputs)
    assert distance(velocity(transformer, *corrupted(inputs, lora, how)), expected) > 10 * TOLERANCE


@pytest.mark.parametrize(
    "rules",
    [Rules(condition_time=0.5), Rules(condition_guidance=3.5), Rules(everyone_sees_lora=True)],
)
def test_the_comparison_notices_one_wrong_rule(rules: Rules) -> None:
    transformer = tiny_transformer()
    lora, inputs = loud_lora(transformer), random_inputs(batch=3)
    broken = Reference(transformer, lora, rules).velocity(inputs)
    assert distance(velocity(transformer, inputs, lora), broken) > 10 * TOLERANCE


@pytest.mark.parametrize("guidance", [True, False])
def test_without_a_condition_it_is_the_stock_forward(guidance: bool) -> None:
    transformer = tiny_transformer(guidance)
    inputs = random_inputs(batch=2, condition=None)
    stock = transformer(
        hidden_states=inputs.latents,
        encoder_hidden_states=inputs.text,
        pooled_projections=inputs.pooled,
        timestep=inputs.timestep,
        guidance=inputs.guidance if guidance else None,
        img_ids=inputs.image_ids,
        txt_ids=torch.zeros(6, 3),
    ).sample
    assert distance(velocity(transformer, inputs, loud_lora(transformer)), stock) < 1e-6


def test_a_batch_equals_its_samples_alone() -> None:
    transformer = tiny_transformer()
    lora, inputs = loud_lora(transformer), random_inputs(batch=3)
    together = velocity(transformer, inputs, lora)
    for row in range(3):
        names = ("latents", "text", "pooled", "timestep", "guidance", "condition")
        alone = replace(inputs, **{name: getattr(inputs, name)[row : row + 1] for name in names})
        assert distance(velocity(transformer, alone, lora)[0], together[row]) < 1e-5


def test_constants_of_a_sample_serve_every_step() -> None:
    transformer = tiny_transformer()
    lora, inputs = loud_lora(transformer), random_inputs(batch=2)
    constants = step_constants(transformer, inputs, lora)
    later = replace(inputs, timestep=inputs.timestep / 2, latents=inputs.latents * 0.5)
    fresh = velocity(transformer, later, lora)
    assert torch.equal(velocity(transformer, later, lora, constants), fresh)


def test_a_new_lora_changes_nothing_yet() -> None:
    transformer = tiny_transformer()
    inputs = random_inputs()
    lora = CorrectorLora.create(transformer, rank=4)
    assert torch.equal(velocity(transformer, inputs, lora), velocity(transformer, inputs))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_lora_and_nothing_else(checkpointing: bool) -> None:
    transformer = tiny_transformer()
    transformer.gradient_checkpointing = checkpointing
    lora = loud_lora(transformer).requires_grad_(True)
    with torch.enable_grad():
        velocity(transformer, random_inputs(batch=2), lora).square().mean().backward()
    assert all(parameter.grad is None for parameter in transformer.parameters())
    last = f"single_transformer_blocks.{len(transformer.single_transformer_blocks) - 1}"
    for path, layer in lora.items():
        # What the last block makes of the condition is not used, except its keys and values.
        used = not path.startswith(last) or path.endswith(("to_k", "to_v", "norm.linear"))
        assert (layer.up.grad is not None and layer.up.grad.abs().sum() > 0) == used, path


def test_gradients_are_the_slopes_that_finite_differences_find() -> None:
    transformer = tiny_transformer().double()
    lora = loud_lora(transformer).double().requires_grad_(True)
    inputs = in_dtype(random_inputs(), torch.float64)
    layer = lora.at("transformer_blocks.0.attn.to_k")
    assert layer is not None
    with torch.enable_grad():
        velocity(transformer, inputs, lora).sum().backward()
    assert layer.up.grad is not None
    slope = float(layer.up.grad[3, 1])
    ends = []
    for step in (1e-4, -2e-4):
        layer.up[3, 1] += step
        ends.append(float(velocity(transformer, inputs, lora).sum()))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


def test_a_style_lora_of_peft_acts_on_all_tokens_beside_the_corrector() -> None:
    plain, styled = tiny_transformer(), tiny_transformer()
    lora, inputs = loud_lora(plain), random_inputs(batch=2)
    targets = ["to_q", "proj_mlp", "ff.net.2"]
    styled.add_adapter(
        LoraConfig(r=2, lora_alpha=2, target_modules=targets, init_lora_weights=False)
    )
    for name, module in plain.named_modules():
        wrapped = dict(styled.named_modules())[name]
        if wrapped.__class__ is not module.__class__:
            up, down = wrapped.lora_B["default"].weight, wrapped.lora_A["default"].weight
            module.weight += up @ down
    expected = Reference(plain, lora).velocity(inputs)
    assert distance(velocity(styled, inputs, lora), expected) < TOLERANCE / 10


def test_bfloat16_stays_near_the_reference() -> None:
    transformer = tiny_transformer()
    lora = loud_lora(transformer)
    # Times and guidance that bfloat16 holds exactly: their rounding is FLUX's own way.
    inputs = replace(random_inputs(batch=2, guidance=1.0), timestep=torch.tensor([0.5, 0.25]))
    expected = Reference(transformer, lora).velocity(inputs)
    found = velocity(transformer.bfloat16(), in_dtype(inputs, torch.bfloat16), lora)
    assert found.dtype == torch.bfloat16
    error = (found - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt()
    assert error < 0.05
