"""Run by ComfyUI's own Python: our branch on ComfyUI's FLUX against the core's on diffusers' FLUX.

    python native_parity.py COMFYUI PACK

prints a JSON object: the largest difference of every case, in float32.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

COMFYUI, PACK = sys.argv[1:3]
sys.argv = [sys.argv[0], "--cpu"]
sys.path[:0] = [COMFYUI, str(Path(__file__).parents[1] / "core"), PACK]
import comfy.options

comfy.options.enable_args_parsing()
import comfy.conds
import comfy.model_management as mm
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch

spec = importlib.util.spec_from_file_location(
    "pack", f"{PACK}/__init__.py", submodule_search_locations=[PACK]
)
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
from pack.nodes import native_branch, native_lora
from pack.reflectionflow_core.flux.branch import FluxInputs, velocity
from tiny_flux import loud_lora, tiny_transformer

CONFIG = {
    "in_channels": 16,
    "out_channels": 16,
    "txt_ids_dims": [],
    "vec_in_dim": 20,
    "context_in_dim": 24,
    "hidden_size": 32,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}


def comfy_model(transformer, guidance: bool):
    """ComfyUI's FLUX with the weights of diffusers'."""
    config = comfy.supported_models.Flux(
        {**CONFIG, "guidance_embed": guidance, "image_model": "flux"}
    )
    config.set_inference_dtype(torch.float32, None)
    base = config.get_model({}, device="cpu")
    state = {}
    mapped = comfy.utils.flux_to_diffusers(CONFIG)
    for name, value in transformer.state_dict().items():
        target = mapped[name]
        if isinstance(target, str):
            state[target] = value
            continue
        key, span = target[:2]
        if span is None:
            state[key] = target[2](value)
            continue
        _, start, length = span
        whole = base.diffusion_model.state_dict()[key]
        state.setdefault(key, torch.zeros_like(whole))[start : start + length] = value
        if len(target) > 2:
            raise AssertionError(name)
    base.diffusion_model.load_state_dict(state)
    return comfy.model_patcher.ModelPatcher(base, mm.get_torch_device(), mm.unet_offload_device())


def case(
    batch=1, size=(6, 6), seen=(4, 4), guidance=True, alpha=None, corrected=True, shared=False
):
    """The largest difference of one call."""
    transformer = tiny_transformer(guidance)
    lora = loud_lora(transformer, alpha=alpha)
    model = comfy_model(transformer, guidance)
    flux = native_branch.flux_of(model)
    patched = native_branch.with_corrector(model, native_lora.NativeLora(lora, flux))
    torch.manual_seed(3)
    latent = torch.randn(batch, 16, 2 * size[0], 2 * size[1])
    picture = torch.randn(1 if shared else batch, 16, 2 * seen[0], 2 * seen[1])
    text, pooled = torch.randn(batch, 7, 24), torch.randn(batch, 20)
    sigma, strength = torch.rand(batch) * 0.8 + 0.1, torch.full((batch,), 3.5)
    conds = {"c_crossattn": text, "y": pooled, "guidance": strength}
    if corrected:
        conds |= {"ref_latents": [picture], "ref_latents_method": native_branch.KEY}
    mm.load_models_gpu([patched, *patched.get_additional_models()])
    with torch.inference_mode():
        denoised = patched.model.apply_model(
            latent, sigma, transformer_options=options_of(patched), **conds
        )
    ours = (latent - denoised) / sigma.reshape(-1, 1, 1, 1)  # ComfyUI hands out x - sigma * v
    tokens, rows, columns = native_branch.packed(latent, 2)
    ids = torch.stack(
        [
            torch.zeros(rows * columns),
            torch.arange(rows).repeat_interleave(columns).float(),
            torch.arange(columns).repeat(rows).float(),
        ],
        dim=1,
    )
    condition, its_rows, its_columns = native_branch.packed(picture.expand(batch, -1, -1, -1), 2)
    inputs = FluxInputs(
        latents=tokens,
        text=text,
        pooled=pooled,
        timestep=sigma,
        guidance=strength,
        image_ids=ids,
        condition=condition if corrected else None,
        condition_ids=native_branch.condition_ids(its_rows, its_columns, "cpu")
        if corrected
        else None,
    )
    with torch.inference_mode():
        reference = velocity(transformer, inputs, lora)
    given, _, _ = native_branch.packed(ours, 2)
    return float((given - reference).abs().max()), float(reference.abs().max())


def options_of(patcher):
    """What a sampler hands to the model: the wrappers among the options."""
    import comfy.sampler_helpers

    options = {**patcher.model_options.get("transformer_options", {})}
    options["wrappers"] = comfy.patcher_extension.copy_nested_dicts(patcher.wrappers)
    return options


CASES = {
    "no picture": {"corrected": False},
    "a picture": {},
    "three pictures": {"batch": 3},
    "one picture for three": {"batch": 3, "shared": True},
    "alpha other than rank": {"alpha": 7.0},
    "no guidance embedding": {"guidance": False},
    "another size": {"size": (5, 7), "seen": (3, 2)},
}
if __name__ == "__main__":
    print(json.dumps({name: case(**given) for name, given in CASES.items()}))
