"""What makes sampling faster, under painters, editing models and the corrector.

A cache skips steps, so the reference is ComfyUI's own sampling with the same cache, and how far a
picture moves is told beside it. Weights in int8 lose a little by themselves, with and without a
picture to correct.

    python native_speed.py COMFYUI PACK

prints how far each moves the latents of a plain picture and of a correction.
"""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import sys
from typing import Any

from native_setup import (  # isort: skip
    Case,
    Cases,
    Found,
    Patcher,
    comfy_config,
    comfy_model,
    corrected,
)
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
from native_storage import hold, in_int8, int8_is_known
from pack.nodes.comfy import branch as native_branch
from pack.nodes.comfy.miniature import comfy_state
from pack.nodes.comfy.sampling import SamplerSchedule, sampled
from pack.reflectionflow_core.flux.painter import ProgressSlice
from pack.reflectionflow_core.protocols import SILENT

STEPS = 12
CACHES = {"EasyCache": EasyCacheNode, "LazyCache": LazyCacheNode}
LOOSE = 3.0  # a threshold at which a small model skips steps


def cached(name: str, model: Patcher) -> Patcher:
    node = CACHES[name]
    return node.execute(model, LOOSE, 0.15, 0.95, verbose=False).args[0]


def calls_of(model: Patcher) -> list[int]:
    """Grows by one whenever the model itself is called."""
    seen: list[int] = []
    first = model.model.diffusion_model.img_in
    first.register_forward_hook(lambda *_: seen.append(1))
    return seen


def values_of(case: Case, model: Patcher, method: str = "") -> dict[str, Any]:
    """A conditioning without a picture, or with one that is seen by a `method`."""
    values: dict[str, Any] = {"pooled_output": case.pooled, "guidance": 3.5}
    if not method:
        return values
    latent = model.model.latent_format.process_out(case.picture)
    return values | {"reference_latents": [latent], "reference_latents_method": method}


def ksampled(model: Patcher, case: Case, noise: torch.Tensor, values: Any) -> torch.Tensor:
    asked = [[case.text, values]]
    how = (noise, STEPS, 1.0, "euler", "simple", asked, asked, torch.zeros_like(noise))
    return comfy.sample.sample(model, *how, seed=0)


def as_comfyui_samples(name: str, method: str) -> Found:
    """Our sampling, which painters and editing models share, against KSampler's, both under a
    cache; and how far KSampler's lies from one without it."""
    case = Case(batch=2)
    model = comfy_model(case.transformer)
    fast, noise = cached(name, model), torch.randn(case.latent.shape)
    values = values_of(case, model, method)
    asked = [[case.text, values]]
    sigmas = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), "simple", STEPS
    )
    schedule, part = SamplerSchedule("euler", sigmas), ProgressSlice(SILENT, "", 0, STEPS)
    seen = calls_of(model)
    ours = sampled(fast, schedule, noise, (asked, asked), part, seed=0)
    assert 0 < len(seen) < STEPS, "the cache skipped nothing"
    theirs = ksampled(fast, case, noise, values)
    off, moved = (theirs - other for other in (ours, ksampled(model, case, noise, values)))
    return float(off.abs().max()), float(moved.abs().max())


def a_correction_under(name: str) -> tuple[float, float, float]:
    """How far a cache moves latents: without a picture, with one; and the largest latent."""
    case = Case(batch=2)
    model = corrected(comfy_model(case.transformer), case.lora())
    fast, noise = cached(name, model), torch.randn(case.latent.shape)
    both = [values_of(case, model), values_of(case, model, native_branch.KEY)]
    whole = [ksampled(model, case, noise, values) for values in both]
    quick = [ksampled(fast, case, noise, values) for values in both]
    plain, seen = (float((a - b).abs().max()) for a, b in zip(whole, quick, strict=True))
    return plain, seen, float(whole[1].abs().max())


def alone(name: str) -> float:
    """How far a picture painted alone under a cache lies from the same in a batch of two."""
    case = Case(batch=2)
    model = cached(name, comfy_model(case.transformer))
    noise = torch.randn(case.latent.shape)
    both = ksampled(model, case, noise, values_of(case, model))
    case.text, case.pooled = case.text[:1], case.pooled[:1]
    one = ksampled(model, case, noise[:1], values_of(case, model))
    return float((both[:1] - one).abs().max())


def a_correction_stays(name: str) -> Found:
    """A cache moves a correction no further than three times as far as a picture of its own, and
    less than the picture to correct does."""
    plain, seen, scale = a_correction_under(name)
    return (0.0 if 0 < seen <= 3 * plain else 1.0), scale


def int8_loses() -> tuple[float, float, float]:
    """What int8 moves: a prediction without a picture, with one; and the largest value."""
    case = Case(batch=2)
    state, unpacked = in_int8(comfy_state(case.transformer))
    config = comfy_config(case.transformer)
    config.set_inference_dtype(torch.float32, torch.float32)
    config.quant_config = comfy.utils.detect_layer_quantization(state, "")
    hold(case.transformer, unpacked)
    lora = case.lora()
    model = comfy_model(case.transformer, config, state)
    clone = corrected(model, lora)
    with_one = case.native(clone) - case.reference(lora)
    without = case.native(model, corrected=False) - case.reference(None)
    largest = float(case.reference(lora).abs().max())
    return float(without.abs().max()), float(with_one.abs().max()), largest


def a_correction_in_int8() -> Found:
    plain, seen, scale = int8_loses()
    return (0.0 if 0 < seen <= 3 * plain < scale else 1.0), scale


SPEED: Cases = {
    **{
        f"{what} under {name}": lambda n=name, m=method: as_comfyui_samples(n, m)
        for what, method in (("a picture", ""), ("an edit", "index"))
        for name in CACHES
    },
    **{f"a correction under {name}": lambda n=name: a_correction_stays(n) for name in CACHES},
}


if int8_is_known():
    SPEED["a correction in int8"] = a_correction_in_int8


def main() -> None:
    rows = {name: a_correction_under(name) for name in CACHES}
    if int8_is_known():
        rows["int8"] = int8_loses()
    sys.stdout.write(
        "| | a plain picture moves by | a correction | of values up to |\n|---|---|---|---|\n"
    )
    for name in CACHES:
        sys.stderr.write(f"{name}, alone and in a batch of two: {alone(name):.2g} apart\n")
    for name, numbers in rows.items():
        sys.stdout.write(f"| {name} | " + " | ".join(f"{n:.2g}" for n in numbers) + " |\n")


if __name__ == "__main__":
    main()
