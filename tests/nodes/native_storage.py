"""The branch where FLUX's weights are stored small, patched, or loaded in part.

The reference computes with the weights as they are once unpacked, so that what the storing itself
loses is no difference.
"""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from native_setup import (  # isort: skip
    COMFYUI,
    Case,
    Cases,
    Found,
    comfy_config,
    comfy_model,
    corrected,
    difference,
    package,
)
import comfy.utils
import torch
from pack.nodes.comfy.miniature import comfy_config as words
from pack.nodes.comfy.miniature import comfy_state
from torch import Tensor

GGUF = Path(COMFYUI) / "custom_nodes" / "ComfyUI-GGUF"
FP8 = torch.float8_e4m3fn


def hold(transformer: Any, state: Mapping[str, Tensor]) -> None:
    """Gives diffusers' FLUX the weights of ComfyUI's."""
    for name, target in comfy.utils.flux_to_diffusers(words(transformer)).items():
        key, span, *change = (target, None) if isinstance(target, str) else target
        weight = transformer.get_parameter(name) if _has(transformer, name) else None
        if weight is None:
            continue
        value = state[key] if not span else state[key].narrow(*span)
        weight.data = (change[0](value) if change else value).float().clone()


def _has(transformer: Any, name: str) -> bool:
    return name in dict(transformer.named_parameters())


def stored_as_fp8() -> Found:
    case = Case(batch=2)
    config = comfy_config(case.transformer)
    config.set_inference_dtype(FP8, torch.float32)
    state = {k: v.to(FP8) for k, v in comfy_state(case.transformer).items()}
    return both(case, comfy_model(case.transformer, config, state), state)


def stored_as_scaled_fp8() -> Found:
    """As in files with `scaled_fp8`, which ComfyUI converts when it reads them."""
    case = Case(batch=2)
    plain = comfy_state(case.transformer)
    state: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2, dtype=FP8)}
    unpacked = dict(plain)
    for name, value in plain.items():
        state[name] = value
        if "_blocks." in name and value.ndim == 2:
            scale = value.abs().max() / 448
            state[name] = (value / scale).to(FP8)
            state[name.removesuffix("weight") + "scale_weight"] = scale
            unpacked[name] = state[name].float() * scale
    state, metadata = comfy.utils.convert_old_quants(state, "", metadata={})
    config = comfy_config(case.transformer)
    config.set_inference_dtype(torch.float32, torch.float32)
    config.quant_config = comfy.utils.detect_layer_quantization(state, "")
    assert config.quant_config, metadata
    return both(case, comfy_model(case.transformer, config, state), unpacked)


def in_int8(plain: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The matrices of a model's blocks in int8, and what they are once unpacked."""
    state, unpacked = dict(plain), dict(plain)
    mark = torch.tensor([*json.dumps({"format": "int8_tensorwise"}).encode()], dtype=torch.uint8)
    for name, value in plain.items():
        if "_blocks." in name and value.ndim == 2:
            scale = value.abs().max() / 127
            state[name] = (value / scale).round().to(torch.int8)
            state[name.removesuffix("weight") + "weight_scale"] = scale
            state[name.removesuffix("weight") + "comfy_quant"] = mark
            unpacked[name] = state[name].float() * scale
    return state, unpacked


def int8_is_known() -> bool:
    from comfy import quant_ops

    return "int8_tensorwise" in getattr(quant_ops, "QUANT_ALGOS", {})


def stored_as_gguf(kind: str) -> Found:
    """Written as a file, and read by ComfyUI-GGUF."""
    import gguf

    package("comfyui_gguf", GGUF)
    from comfyui_gguf.dequant import dequantize_tensor
    from comfyui_gguf.loader import gguf_sd_loader
    from comfyui_gguf.nodes import GGUFModelPatcher
    from comfyui_gguf.ops import GGMLOps

    case = Case(batch=2)
    stored_in = gguf.GGMLQuantizationType[kind]
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/flux.gguf"
        writer = gguf.GGUFWriter(file, "flux")
        for name, value in comfy_state(case.transformer).items():
            data = value.numpy()
            if "_blocks." in name and value.ndim == 2:
                packed = gguf.quants.quantize(data, stored_in)
                writer.add_tensor(name, packed, raw_dtype=stored_in)
            else:
                writer.add_tensor(name, data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        config = comfy_config(case.transformer)
        config.custom_operations = GGMLOps()
        state = gguf_sd_loader(file)
        unpacked = {k: dequantize_tensor(v, torch.float32) for k, v in state.items()}
        loaded = comfy_model(case.transformer, config, state)
        return both(case, GGUFModelPatcher.clone(loaded), unpacked)


def under_a_style(part: float = 1.0) -> Found:
    """With a style LoRA of other nodes upon FLUX, of which only a part may be loaded."""
    case = Case(batch=2)
    state = comfy_state(case.transformer)
    patches, styled = style(state)
    model = comfy_model(case.transformer)
    model.add_patches(patches, 0.7)
    if part == 1:
        return both(case, model, styled)
    whole = comfy_size(model)
    hold(case.transformer, styled)
    lora = case.lora()
    clone = corrected(model, lora)
    found = difference(case.native(clone, loaded=int(whole * part)), case.reference(lora))
    cast = [m for m in clone.model.modules() if getattr(m, "comfy_cast_weights", False)]
    patched = [m for m in cast if getattr(m, "weight_function", ())]
    assert cast and patched, f"{len(cast)} modules streamed, {len(patched)} of them patched"
    return found


def style(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Patches as a style LoRA makes them, and the weights that they lead to at strength 0.7."""
    torch.manual_seed(5)
    patches, styled = {}, dict(state)
    for name in ("double_blocks.0.img_attn.qkv.weight", "single_blocks.1.linear1.weight"):
        delta = torch.randn_like(state[name]) * 0.2
        patches[f"diffusion_model.{name}"] = ("diff", (delta,))
        styled[name] = state[name] + 0.7 * delta
    return patches, styled


def comfy_size(model: Any) -> int:
    return sum(p.nbytes for p in model.model.parameters())


def both(case: Case, model: Any, unpacked: Mapping[str, Tensor]) -> Found:
    """With a picture, and without one."""
    hold(case.transformer, unpacked)
    lora = case.lora()
    clone = corrected(model, lora)
    return max(
        difference(case.native(clone), case.reference(lora)),
        difference(case.native(model, corrected=False), case.reference(None)),
    )


STORAGE: Cases = {
    "weights in fp8": stored_as_fp8,
    "weights in scaled fp8": stored_as_scaled_fp8,
    "a style LoRA upon FLUX": under_a_style,
    "a style LoRA, a tenth of FLUX loaded": lambda: under_a_style(0.1),
}
if GGUF.is_dir():
    STORAGE |= {
        f"weights in GGUF {kind}": lambda kind=kind: stored_as_gguf(kind)
        for kind in ("Q8_0", "Q4_0", "Q5_1")
    }
