"""One corrector file, read for ComfyUI's FLUX and for diffusers'."""

# pyright: reportMissingImports=false, reportInvalidTypeForm=false
from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from native_setup import (  # isort: skip
    Case,
    Cases,
    Found,
    comfy_model,
    corrected,
    difference,
)
import torch
from pack.nodes.comfy import branch as native_branch
from pack.nodes.comfy import lora as native_lora
from pack.reflectionflow_core.flux.lora import (
    CorrectorLora,
    load_corrector_lora,
    read_corrector_lora,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]


def read_by_both(write: Callable[[CorrectorLora, Path], None]) -> Found:
    case = Case(batch=2)
    base = comfy_model(case.transformer)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corrector.safetensors"
        write(case.lora(), file)
        theirs = load_corrector_lora(file, case.transformer)
        shapes = native_lora.native_shapes(native_branch.flux_of(base))
        ours = read_corrector_lora(file, shapes)
    return difference(case.native(corrected(base, ours)), case.reference(theirs))


def in_fluxes_own_names(lora: CorrectorLora, file: Path) -> None:
    """As kohya's sd-scripts write it: fused linears, and whole numbers as alphas."""
    tensors: Tensors = {}
    torch.manual_seed(6)
    _linear(tensors, "img_in", 64, 64 // 2)
    for index in range(2):
        block = f"double_blocks_{index}"
        _linear(tensors, f"{block}_img_mod_lin", 32, 6 * 32)
        _linear(tensors, f"{block}_img_attn_qkv", 32, 3 * 32)
        _linear(tensors, f"{block}_img_attn_proj", 32, 32)
        _linear(tensors, f"{block}_img_mlp_2", 4 * 32, 32)
        block = f"single_blocks_{index}"
        _linear(tensors, f"{block}_modulation_lin", 32, 3 * 32)
        _linear(tensors, f"{block}_linear1", 32, 7 * 32)
        _linear(tensors, f"{block}_linear2", 5 * 32, 32)
    save_file(tensors, file)


def _linear(tensors: Tensors, name: str, inputs: int, outputs: int) -> None:
    tensors[f"lora_unet_{name}.lora_down.weight"] = torch.randn(4, inputs) * 0.3
    tensors[f"lora_unet_{name}.lora_up.weight"] = torch.randn(outputs, 4) * 0.3
    tensors[f"lora_unet_{name}.alpha"] = torch.tensor(3)


def rank_stabilised(lora: CorrectorLora, file: Path) -> None:
    """As PEFT names it, in bf16, with the settings in the header."""
    lora.save(file)
    tensors = {
        key.replace("transformer.", "base_model.model.", 1): tensor.to(torch.bfloat16)
        for key, tensor in load_file(file).items()
    }
    settings = {"r": 4, "lora_alpha": 3, "use_rslora": True, "alpha_pattern": {"attn.to_q": 5}}
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(settings)})


@torch.inference_mode()
def shares_in_place() -> Found:
    """What is added to a linear's outputs, bit for bit a sum of whole activations."""
    case = Case()
    flux = native_branch.flux_of(comfy_model(case.transformer))
    lora = native_lora.NativeLora(case.lora(), flux)
    torch.manual_seed(7)
    worst, largest = 0.0, 0.0
    for path in ("single_blocks.0.linear1", "double_blocks.1.img_attn.qkv"):
        adapter, linear = lora.at(path), flux.get_submodule(path)
        tokens = torch.randn(2, 9, linear.in_features)
        outputs = linear(tokens)
        delta = torch.zeros_like(outputs[:, -4:])
        narrow = adapter.down(tokens[:, -4:]).split(adapter.ranks, dim=-1)
        for part, up, given in zip(adapter.parts, adapter.ups, narrow, strict=True):
            delta[..., part.start : part.start + part.length] = up(given)
        expected = torch.cat([outputs[:, :-4], outputs[:, -4:] + delta], dim=1)
        found = native_branch._added(outputs, adapter, tokens, 4)
        worst = max(worst, float((found - expected).abs().max()))
        largest = max(largest, float(delta.abs().max()))
    return worst, largest


LORAS: Cases = {
    "a corrector in FLUX's own names": lambda: read_by_both(in_fluxes_own_names),
    "a corrector of PEFT, bf16, rsLoRA": lambda: read_by_both(rank_stabilised),
    "shares added in place": shares_in_place,
}
