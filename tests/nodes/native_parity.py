"""Run by ComfyUI's own Python: our branch on ComfyUI's FLUX against the core's on diffusers' FLUX.

    python native_parity.py COMFYUI PACK [--json]

prints for every case the largest difference from the reference in float32, and the reference's own
largest value. Cases named "not ..." are wrong on purpose.
"""

# ruff: noqa: T201
# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from native_setup import (  # isort: skip
    AS_JSON,
    Case,
    Cases,
    Found,
    Patcher,
    comfy_model,
    corrected,
    difference,
    mm,
)
import comfy.sample
import comfy.samplers
import torch
from native_editors import EDITORS
from native_loras import LORAS
from native_pictures import PICTURES
from native_speed import SPEED
from native_storage import STORAGE, style
from pack.nodes.comfy import branch as native_branch
from pack.nodes.comfy import lora as native_lora
from pack.nodes.comfy.miniature import comfy_state
from pack.reflectionflow_core.flux import branch
from pack.reflectionflow_core.flux.latents import unpack
from pack.reflectionflow_core.flux.lora import CorrectorLora


def compared(alpha: float | None = None, **given: Any) -> Found:
    case = Case(**given)
    lora = case.lora(alpha)
    return difference(
        case.native(corrected(comfy_model(case.transformer), lora)), case.reference(lora)
    )


def without_a_picture() -> Found:
    case = Case()
    model = corrected(comfy_model(case.transformer), case.lora())
    return difference(case.native(model, corrected=False), case.reference(None))


def clones_in_turn() -> Found:
    """Two correctors and the untouched model take turns over one base."""
    case = Case(batch=2)
    base = comfy_model(case.transformer)
    loras = [case.lora(), case.lora(alpha=9.0)]
    clones = [corrected(base, lora) for lora in loras]
    found = []
    for _ in range(2):
        for clone, lora in zip(clones, loras, strict=True):
            found.append(difference(case.native(clone), case.reference(lora)))
        found.append(difference(case.native(base, corrected=False), case.reference(None)))
    return max(found)


def after_an_exception() -> Found:
    """A patch of another node fails in the middle; the next call knows nothing of it."""
    case = Case()
    lora = case.lora()
    model = corrected(comfy_model(case.transformer), lora)

    def fail(_given: Any, _extra: Any) -> Any:
        raise RuntimeError("in the middle")

    try:
        case.native(model, patches_replace={"dit": {("single_block", 1): fail}})
    except RuntimeError:
        return difference(case.native(model), case.reference(lora))
    raise AssertionError("the patch did not run")


def under_another_patch() -> Found:
    """Patches of another node wrap our blocks, and see no token of ours."""
    case = Case()
    lora = case.lora()
    seen: list[int] = []

    def watch(given: Any, extra: Any) -> Any:
        seen.append(given["img"].shape[1])
        return extra["original_block"](given)

    watched = {(kind, i): watch for kind in ("double_block", "single_block") for i in range(2)}
    model = corrected(comfy_model(case.transformer), lora)
    ours = case.native(model, patches_replace={"dit": watched})
    assert seen == [36, 36, 43, 43], seen
    return difference(ours, case.reference(lora))


def under_a_controlnet() -> Found:
    """Its residuals reach the image's tokens after every block, and not the condition's."""
    case = Case(batch=2)
    lora = case.lora()
    torch.manual_seed(9)
    inner, outer = (torch.randn(2, 2, 36, 32) * 0.3 for _ in range(2))
    control = {"input": [*inner], "output": [*outer]}
    ours = case.native(corrected(comfy_model(case.transformer), lora), control=control)
    added = iter([*inner, *outer])

    run = branch._run

    def controlled(*given: Any) -> Any:
        text, image, *rest = run(*given)
        return (text, image + next(added), *rest)

    branch._run = controlled
    try:
        return difference(ours, case.reference(lora))
    finally:
        branch._run = run


def compiled() -> Found:
    """Under ComfyUI's own TorchCompileModel; dynamo follows it, nothing is built."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    case = Case(batch=2)
    lora = case.lora()
    model = corrected(comfy_model(case.transformer), lora)
    set_torch_compile_wrapper(model=model, backend="eager")
    noise = torch.randn(case.latent.shape)
    ours = sampled(model, case, noise, 2)
    return difference(ours, euler(model, case, noise, 2, case.reference, lora))


def values_of(case: Case, model: Patcher, **changes: Any) -> dict[str, Any]:
    """What the nodes put into a conditioning."""
    return {
        "pooled_output": case.pooled,
        "guidance": 3.5,
        "reference_latents": [model.model.latent_format.process_out(case.picture)],
        "reference_latents_method": native_branch.KEY,
    } | changes


def sampled(model: Patcher, case: Case, noise: torch.Tensor, steps: int, **other: Any) -> Any:
    """KSampler's way from the nodes' conditioning to a latent."""
    positive = [[case.text, values_of(case, model)]]
    negative = other.pop("negative", positive)
    cfg = other.pop("cfg", 1.0)
    empty = torch.zeros_like(noise)
    found = comfy.sample.sample(
        model, noise, steps, cfg, "euler", "simple", positive, negative, empty, seed=0
    )
    return model.model.latent_format.process_in(found)


def euler(
    model: Patcher,
    case: Case,
    noise: torch.Tensor,
    steps: int,
    predict: Callable[[CorrectorLora | None], torch.Tensor],
    lora: CorrectorLora | None,
) -> torch.Tensor:
    """Euler steps of the core on the same schedule."""
    sampling = model.get_model_object("model_sampling")
    case.latent = noise
    for now, then in pairwise(comfy.samplers.calculate_sigmas(sampling, "simple", steps)):
        case.sigma = now.expand(len(noise))
        slope = unpack(predict(lora), *(side // 2 for side in noise.shape[2:]))
        case.latent = case.latent + (then - now) * slope
    return case.latent


def ten_steps_of_a_sampler() -> Found:
    case = Case(batch=2)
    lora = case.lora()
    model = corrected(comfy_model(case.transformer), lora)
    noise = torch.randn(case.latent.shape)
    ours = sampled(model, case, noise, 10)
    return difference(ours, euler(model, case, noise, 10, case.reference, lora))


def with_cfg(another_picture: bool) -> Found:
    """A negative without a picture is another call; one with a picture shares the batch."""
    case, less = Case(batch=2), Case(batch=2)
    less.transformer, lora = case.transformer, case.lora()
    less.text, less.picture = torch.randn_like(case.text), torch.randn_like(case.picture)
    model = corrected(comfy_model(case.transformer), lora)
    negative = values_of(less, model)
    if not another_picture:
        del negative["reference_latents"], negative["reference_latents_method"]
    noise = torch.randn(case.latent.shape)
    ours = sampled(model, case, noise, 4, cfg=2.0, negative=[[less.text, negative]])

    def predict(lora: CorrectorLora | None) -> torch.Tensor:
        less.latent, less.sigma = case.latent, case.sigma
        low = less.reference(lora if another_picture else None)
        return low + 2.0 * (case.reference(lora) - low)

    return difference(ours, euler(model, case, noise, 4, predict, lora))


def weights_patched_again() -> Found:
    """Drafts and corrections in turn, a style LoRA upon both: how often ComfyUI patches a weight.

    Returns that number after the first round, which must be 0, and the number in the first.
    """
    case = Case()
    base = comfy_model(case.transformer)
    base.add_patches(style(comfy_state(case.transformer))[0], 0.7)
    clone = corrected(base, case.lora())
    noise, counts = torch.randn(case.latent.shape), []
    patch = Patcher.patch_weight_to_device

    def counted(self: Any, *given: Any, **others: Any) -> Any:
        counts[-1] += 1
        return patch(self, *given, **others)

    Patcher.patch_weight_to_device = counted
    try:
        for _ in range(3):
            counts.append(0)
            plain = [[case.text, {"pooled_output": case.pooled, "guidance": 3.5}]]
            empty = torch.zeros_like(noise)
            comfy.sample.sample(base, noise, 1, 1.0, "euler", "simple", plain, plain, empty, seed=0)
            sampled(clone, case, noise, 1)
    finally:
        Patcher.patch_weight_to_device = patch
    resident = {id(m.model.model) for m in mm.current_loaded_models if _is_flux(m.model)}
    assert resident == {id(base.model)}, f"{len(resident)} base models are in memory"
    return float(sum(counts[1:])), float(counts[0])


def _is_flux(model: Any) -> bool:
    return model is not None and hasattr(model.model, "diffusion_model")


def warnings_missed() -> Found:
    """A node that replaces a block, and does not ask for the one that was there."""
    import logging

    case = Case()
    model = corrected(comfy_model(case.transformer), case.lora())
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        own = {("single_block", 0): lambda given, _extra: {"img": given["img"]}}
        for _ in range(3):
            case.native(model, patches_replace={"dit": own})
    finally:
        logging.getLogger().removeHandler(handler)
    warnings = [line for line in heard if "kept 1 of FLUX's 4 blocks" in line]
    return float(abs(len(warnings) - 1)), 1.0  # once, however many steps


def not_refused() -> Found:
    """How many models and texts are taken that should not be, of how many."""
    from pack.nodes.comfy.edit_models import edit_model_of
    from pack.nodes.comfy.painter import encode
    from pack.reflectionflow_core.flux.lora import Mode
    from pack.reflectionflow_core.flux.text import Text
    from pack.reflectionflow_core.record import InputError

    class WordReader:
        def tokenize(self, _text: str, **_: Any) -> dict[str, list]:
            return {"g": [], "l": []}

    flux, later = comfy_model(Case().transformer), comfy_model(Case().transformer)
    later.model.diffusion_model.params.global_modulation = True  # as FLUX.2 has
    independent = Case().lora()
    independent.mode = Mode(attention="independent")
    blind = comfy_model(Case().transformer)
    blind.model = torch.nn.Module()
    blind.model.diffusion_model = torch.nn.Module()
    tries: list[Callable[[], Any]] = [
        lambda: native_branch.flux_of(later),
        lambda: native_branch.flux_of(blind),
        lambda: encode(WordReader(), Text("a circle", "a circle")),
        lambda: edit_model_of(blind),
        lambda: native_branch.check_vae(SimpleNamespace(latent_channels=4)),
        lambda: corrected(flux, independent),
    ]
    native_branch.flux_of(flux)
    taken = 0
    for attempt in tries:
        try:
            attempt()
            taken += 1
        except InputError:
            pass
    return float(taken), float(len(tries))


def mistaken(change: Callable[[], Any]) -> Callable[[], Found]:
    """The plain case with one thing done wrongly."""

    def run() -> Found:
        undo = change()
        try:
            return compared()
        finally:
            undo()

    return run


def replaced(where: Any, name: str, new: Callable[[Any], Any]) -> Callable[[], Any]:
    def change() -> Callable[[], None]:
        old = getattr(where, name)
        setattr(where, name, new(old))
        return lambda: setattr(where, name, old)

    return change


def shifted(old: Callable) -> Callable:
    return lambda rows, columns: old(rows, columns) + torch.tensor([0.0, 0.0, 1.0])


CASES: Cases = {
    "no picture": without_a_picture,
    "one picture": compared,
    "three samples, three pictures": lambda: compared(batch=3),
    "three samples, one picture": lambda: compared(batch=3, pictures=1),
    "alpha other than rank": lambda: compared(alpha=7.0),
    "no guidance embedding": lambda: compared(guidance=False),
    "sizes that differ": lambda: compared(size=(5, 7), seen=(3, 2)),
    "two correctors and the base in turn": clones_in_turn,
    "after an exception": after_an_exception,
    "under patches of another node": under_another_patch,
    "under a ControlNet": under_a_controlnet,
    "under TorchCompileModel": compiled,
    "ten steps of a sampler": ten_steps_of_a_sampler,
    "CFG, a negative without a picture": lambda: with_cfg(False),
    "CFG, a negative with another picture": lambda: with_cfg(True),
    **LORAS,
    **STORAGE,
    **PICTURES,
    **EDITORS,
    **SPEED,
    "weights patched again": weights_patched_again,
    "models not refused": not_refused,
    "warnings missed": warnings_missed,
    "not: a column off": mistaken(replaced(native_branch, "condition_ids", shifted)),
    "not: the LoRA at nine tenths": mistaken(
        replaced(
            native_lora.FusedLora, "add_to", lambda old: lambda self, y, x: old(self, y, 0.9 * x)
        )
    ),
    "not: the time of the image": mistaken(
        replaced(
            native_branch,
            "timestep_embedding",
            lambda old: lambda t, width: old(t + 0.5, width),
        )
    ),
}


def main() -> None:
    found = {name: case() for name, case in CASES.items()}
    if AS_JSON:
        print(json.dumps(found))
        return
    print("| case | largest difference | of outputs up to |\n|---|---|---|")
    for name, (off, scale) in found.items():
        print(
            f"| {name} | {off:.1e} | {scale:.1f} |"
            if off % 1
            else f"| {name} | {off:.0f} | {scale:.0f} |"
        )


if __name__ == "__main__":
    main()
