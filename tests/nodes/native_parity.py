"""Run by ComfyUI's own Python: our branch on ComfyUI's FLUX against the core's on diffusers' FLUX.

    python native_parity.py COMFYUI PACK

prints a JSON object: for every case the largest difference from the reference in float32, and the
reference's own largest value. Cases named "not ..." are wrong on purpose.
"""

# ruff: noqa: E402, T201
# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

COMFYUI, PACK = sys.argv[1:3]
sys.argv = [sys.argv[0], "--cpu"]
sys.path[:0] = [COMFYUI, str(Path(__file__).parents[1] / "core"), PACK]
import comfy.options

comfy.options.enable_args_parsing()
import comfy.model_management as mm
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import comfy.supported_models
import comfy.utils
from tiny_flux import loud_lora, tiny_transformer

spec = importlib.util.spec_from_file_location(
    "pack", f"{PACK}/__init__.py", submodule_search_locations=[PACK]
)
assert spec and spec.loader
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.nodes import native_branch, native_lora
from pack.reflectionflow_core.flux.branch import FluxInputs, velocity
from pack.reflectionflow_core.flux.latents import token_ids, unpack
from pack.reflectionflow_core.flux.lora import CorrectorLora

CONFIG: dict[str, Any] = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 20,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "txt_ids_dims": [],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
}
Patcher = comfy.model_patcher.ModelPatcher


def comfy_model(transformer: Any) -> Patcher:
    """ComfyUI's FLUX with the weights of diffusers'."""
    guidance = transformer.config["guidance_embeds"]
    config = comfy.supported_models.Flux({**CONFIG, "guidance_embed": guidance})
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, device="cpu")
    state = {k: torch.zeros_like(v) for k, v in base.diffusion_model.state_dict().items()}
    mapped = comfy.utils.flux_to_diffusers(CONFIG)
    for name, value in transformer.state_dict().items():
        key, span, *change = (mapped[name], None) if isinstance(mapped[name], str) else mapped[name]
        start, length = span[1:] if span else (0, len(value))
        state[key][start : start + length] = change[0](value) if change else value
    base.diffusion_model.load_state_dict(state)
    return Patcher(base, mm.get_torch_device(), mm.unet_offload_device())


class Case:
    """One call of the model, for both sides."""

    def __init__(
        self, batch: int = 1, size=(6, 6), seen=(4, 4), pictures: int | None = None, **flux: Any
    ) -> None:
        self.transformer = tiny_transformer(**flux)
        torch.manual_seed(3)
        self.latent = torch.randn(batch, 16, 2 * size[0], 2 * size[1])
        self.picture = torch.randn(pictures or batch, 16, 2 * seen[0], 2 * seen[1])
        self.text, self.pooled = torch.randn(batch, 7, 24), torch.randn(batch, 20)
        self.sigma, self.guidance = torch.rand(batch) * 0.8 + 0.1, torch.full((batch,), 3.5)

    def lora(self, alpha: float | None = None) -> CorrectorLora:
        return loud_lora(self.transformer, alpha=alpha)

    def reference(self, lora: CorrectorLora | None) -> torch.Tensor:
        """What the core predicts; without a LoRA, without a picture too."""
        tokens, rows, columns = native_branch.packed(self.latent)
        picture = self.picture.expand(len(tokens), -1, -1, -1)
        condition, *its_size = native_branch.packed(picture)
        ids = token_ids(rows, columns)
        its_ids = token_ids(*its_size, shift=-its_size[1])
        inputs = FluxInputs(
            tokens,
            self.text,
            self.pooled,
            self.sigma,
            self.guidance,
            ids,
            condition if lora else None,
            its_ids if lora else None,
        )
        with torch.inference_mode():
            return velocity(self.transformer, inputs, lora)

    def native(self, model: Patcher, corrected: bool = True, **options: Any) -> torch.Tensor:
        """What ComfyUI's model predicts when a sampler asks it."""
        given = {"c_crossattn": self.text, "y": self.pooled, "guidance": self.guidance}
        if corrected:
            given |= {"ref_latents": [self.picture], "ref_latents_method": native_branch.KEY}
        mm.load_models_gpu([model, *model.get_additional_models()])
        told = {**deepcopy(model.model_options["transformer_options"]), **options}
        told["wrappers"] = comfy.patcher_extension.copy_nested_dicts(model.wrappers)
        with torch.inference_mode():
            denoised = model.model.apply_model(
                self.latent, self.sigma, transformer_options=told, **given
            )
        slope = (self.latent - denoised) / self.sigma.reshape(-1, 1, 1, 1)
        return native_branch.packed(slope)[0]


def corrected(model: Patcher, lora: CorrectorLora) -> Patcher:
    flux = native_branch.flux_of(model)
    return native_branch.with_corrector(model, native_lora.NativeLora(lora, flux))


def compared(alpha: float | None = None, **given: Any) -> tuple[float, float]:
    case = Case(**given)
    lora = case.lora(alpha)
    return difference(
        case.native(corrected(comfy_model(case.transformer), lora)), case.reference(lora)
    )


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, float]:
    return float((ours - theirs).abs().max()), float(theirs.abs().max())


def without_a_picture() -> tuple[float, float]:
    case = Case()
    model = corrected(comfy_model(case.transformer), case.lora())
    return difference(case.native(model, corrected=False), case.reference(None))


def clones_in_turn() -> tuple[float, float]:
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


def after_an_exception() -> tuple[float, float]:
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


def under_another_patch() -> tuple[float, float]:
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


def ten_steps_of_a_sampler() -> tuple[float, float]:
    """KSampler's way from the nodes' conditioning to a latent, against Euler steps of the core."""
    case = Case(batch=2)
    lora = case.lora()
    model = corrected(comfy_model(case.transformer), lora)
    space = model.model.latent_format
    told = {
        "pooled_output": case.pooled,
        "guidance": 3.5,
        "reference_latents": [space.process_out(case.picture)],  # as a VAE encodes
        "reference_latents_method": native_branch.KEY,
    }
    noise = torch.randn(case.latent.shape)
    empty = torch.zeros_like(noise)
    positive = [[case.text, told]]
    ours = comfy.sample.sample(
        model, noise, 10, 1.0, "euler", "simple", positive, positive, empty, seed=0
    )
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", 10)
    case.latent = noise
    for now, then in pairwise(sigmas):
        case.sigma = now.expand(2)
        slope = unpack(case.reference(lora), *(side // 2 for side in noise.shape[2:]))
        case.latent = case.latent + (then - now) * slope
    return difference(space.process_in(ours), case.latent)


def mistaken(change: Callable[[], Any]) -> Callable[[], tuple[float, float]]:
    """The plain case with one thing done wrongly."""

    def run() -> tuple[float, float]:
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


CASES: dict[str, Callable[[], tuple[float, float]]] = {
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
    "ten steps of a sampler": ten_steps_of_a_sampler,
    "not: a column off": mistaken(replaced(native_branch, "condition_ids", shifted)),
    "not: the LoRA at nine tenths": mistaken(
        replaced(native_lora.FusedLora, "forward", lambda old: lambda self, x: 0.9 * old(self, x))
    ),
    "not: the time of the image": mistaken(
        replaced(
            native_branch,
            "timestep_embedding",
            lambda old: lambda t, width: old(t + 0.5, width),
        )
    ),
}
if __name__ == "__main__":
    print(json.dumps({name: case() for name, case in CASES.items()}))
