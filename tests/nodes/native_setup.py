"""ComfyUI's own modules and the pack, in ComfyUI's own Python and without a server."""

# ruff: noqa: E402
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportAttributeAccessIssue=false
from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

COMFYUI, PACK = sys.argv[1:3]
AS_JSON = "--json" in sys.argv
sys.argv = [sys.argv[0], "--cpu"]
sys.path[:0] = [COMFYUI, str(Path(__file__).parents[1] / "core"), PACK]
import comfy.options

comfy.options.enable_args_parsing()
import comfy.model_management as mm
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models
from tiny_flux import loud_lora, tiny_transformer


def package(name: str, folder: str | Path) -> Any:
    """The package in `folder`, whatever the folder is called."""
    file = f"{folder}/__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


package("pack", PACK)
from pack.nodes.comfy import branch as native_branch
from pack.nodes.comfy import lora as native_lora
from pack.nodes.comfy import miniature as comfy_miniature
from pack.reflectionflow_core.flux import branch
from pack.reflectionflow_core.flux.latents import token_ids
from pack.reflectionflow_core.flux.lora import CorrectorLora

Patcher = comfy.model_patcher.ModelPatcher
Found = tuple[float, float]  # the largest difference from the reference, its own largest value


def comfy_config(transformer: Any) -> Any:
    config = comfy.supported_models.Flux(comfy_miniature.comfy_config(transformer))
    config.set_inference_dtype(torch.float32, None)
    return config


def comfy_model(transformer: Any, config: Any = None, state: Any = None) -> Patcher:
    """ComfyUI's FLUX with the weights of diffusers', or with others in ComfyUI's layout."""
    config = config or comfy_config(transformer)
    state = state or comfy_miniature.comfy_state(transformer)
    base = config.get_model(state, device="cpu")
    base.load_model_weights(dict(state), "")
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
        inputs = branch.FluxInputs(
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
            return branch.velocity(self.transformer, inputs, lora)

    def native(
        self,
        model: Patcher,
        corrected: bool = True,
        *,
        loaded: int = 0,
        control: Any = None,
        **options: Any,
    ) -> torch.Tensor:
        """What ComfyUI's model predicts when a sampler asks it; `loaded` bytes of it, if given."""
        given = {"c_crossattn": self.text, "y": self.pooled, "guidance": self.guidance}
        if corrected:
            given |= {"ref_latents": [self.picture], "ref_latents_method": native_branch.KEY}
        mm.load_models_gpu([model, *model.get_additional_models()])
        if loaded:
            for each in (model, *model.get_additional_models()):
                each.unpatch_model()
                each.load(each.load_device, lowvram_model_memory=loaded)
        merged = {**deepcopy(model.model_options["transformer_options"]), **options}
        merged["wrappers"] = comfy.patcher_extension.copy_nested_dicts(model.wrappers)
        with torch.inference_mode():
            denoised = model.model.apply_model(
                self.latent, self.sigma, control=control, transformer_options=merged, **given
            )
        slope = (self.latent - denoised) / self.sigma.reshape(-1, 1, 1, 1)
        return native_branch.packed(slope)[0]


def corrected(model: Patcher, lora: CorrectorLora) -> Patcher:
    flux = native_branch.flux_of(model)
    return native_branch.with_corrector(model, native_lora.NativeLora(lora, flux))


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> Found:
    return float((ours - theirs).abs().max()), float(theirs.abs().max())


Cases = dict[str, Callable[[], Found]]
