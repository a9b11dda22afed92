"""The corrector's condition branch on ComfyUI's own FLUX, without changing it.

A picture to correct is a reference latent of a CONDITIONING, with a method of our own. One wrapper
around the model's call takes it out, runs its tokens beside the image's and replaces each block for
that call: text, image and condition attend to each other, only the condition's tokens get the LoRA.
ComfyUI never sees them, so samplers, ControlNet, previews and other patches work as usual. A
conditioning without such a picture is passed through. Tested against the core's branch in
tests/nodes/native_parity.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.ldm.common_dit
import comfy.model_management as mm
import torch
from comfy.ldm.flux.layers import timestep_embedding
from comfy.ldm.flux.math import attention
from comfy.ldm.flux.model import Flux
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad, silu

from ...reflectionflow_core.flux.condition import ConditionSettings, resized
from ...reflectionflow_core.flux.latents import pack, token_ids
from ...reflectionflow_core.record import InputError
from .lora import FusedLora, NativeLora
from .tensors import to_batch

KEY = "reflectionflow"  # of wrapper and LoRA in a MODEL, of a picture in a CONDITIONING
CHANNELS = 16  # of FLUX.1's latents
PATCH = 2  # latent pixels a side of a token, in every FLUX.1
Block = Any  # one of ComfyUI's; nn.Module hides the types of its submodules


def with_corrector(model: ModelPatcher, lora: NativeLora) -> ModelPatcher:
    """A clone of `model` that corrects pictures; raises InputError if it is not FLUX.1."""
    flux_of(model)
    corrected = model.clone()
    holder = ModelPatcher(lora, mm.get_torch_device(), mm.unet_offload_device())
    corrected.set_additional_models(KEY, [holder])
    wrappers = {WrappersMP.OUTER_SAMPLE: _checks_pictures, WrappersMP.APPLY_MODEL: _Wrapper(lora)}
    for place, wrapper in wrappers.items():
        corrected.remove_wrappers_with_key(place, KEY)
        corrected.add_wrapper_with_key(place, KEY, wrapper)
    return corrected


def latents_of(pictures: Sequence[Image.Image], vae: Any, settings: ConditionSettings) -> Tensor:
    """The condition latents of pictures, resized as `settings` say: (B, 16, h, w)."""
    check_vae(vae)
    return vae.encode(to_batch([resized(picture, settings) for picture in pictures]))


def check_vae(vae: Any) -> None:
    if getattr(vae, "latent_channels", CHANNELS) != CHANNELS:
        raise InputError(
            f"This VAE has {vae.latent_channels} channels, and FLUX.1's has {CHANNELS}. Load "
            "FLUX's VAE (ae.safetensors)."
        )


def corrector_of(model: ModelPatcher) -> ModelPatcher | None:
    """The LoRA that `with_corrector` attached to this MODEL."""
    return next(iter(model.get_additional_models_with_key(KEY)), None)


def flux_of(model: ModelPatcher) -> Flux:
    """ComfyUI's FLUX.1 inside a MODEL; raises InputError for any other model."""
    flux = getattr(model.model, "diffusion_model", None)
    later = ("global_modulation", "yak_mlp")  # of FLUX.2 and others that share the class
    params = getattr(flux, "params", None)
    if not isinstance(flux, Flux) or any(getattr(params, name, False) for name in later):
        raise InputError(
            f"This MODEL is not FLUX.1 ({type(model.model).__name__}), which the corrector needs. "
            "Load FLUX.1-dev with one of ComfyUI's own loaders, or a GGUF of it."
        )
    return flux


def _checks_pictures(executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Around CFGGuider.outer_sample: ComfyUI would repeat or leave out pictures that are too few or
    too many."""
    for cond in (one for several in executor.class_obj.conds.values() for one in several):
        if cond.get("reference_latents_method") == KEY:
            check_pictures(cond["reference_latents"], len(noise))
    return executor(noise, *args, **kwargs)


def check_pictures(references: Sequence[Tensor], count: int) -> None:
    """Raises InputError unless there is one reference, with one picture or one for each latent."""
    if len(references) > 1:
        raise InputError(
            f"The conditioning has {len(references)} reference pictures, and the corrector takes "
            "only one. Remove Reference Latent after Corrector Conditioning."
        )
    pictures = len(references[0])
    if pictures not in (1, count):
        raise InputError(
            f"Corrector Conditioning has {pictures} pictures, and the latent has a batch of "
            f"{count}. Give it one picture, or make a batch of {pictures} latents."
        )


class _Wrapper:
    """Around BaseModel.apply_model."""

    def __init__(self, lora: NativeLora) -> None:
        self.lora = lora
        self.checked = False

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        options = dict(transformer_options or {})
        if kwargs.get("ref_latents_method") != KEY:
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        del kwargs["ref_latents_method"]
        (latent,) = kwargs.pop("ref_latents")
        # From the executor: a clone of this model has a module of its own, after a reload.
        flux = executor.class_obj.diffusion_model
        branch = Branch(flux, self.lora, latent, len(x), kwargs.get("y"), executor.class_obj)
        options = branch.replacing_blocks(options)
        output = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        if not self.checked:  # later steps may be skipped as a whole, by a cache
            self.checked = True
            self._warn_if_unused(branch)
        return output

    def _warn_if_unused(self, branch: Branch) -> None:
        blocks = len(branch.flux.double_blocks) + len(branch.flux.single_blocks)
        if branch.used < blocks:
            logging.warning(
                "ReflectionFlow: another node's patch kept %d of FLUX's %d blocks from being "
                "called, so the corrector saw little or nothing of its picture. Remove patches "
                "that replace or skip blocks (some caches do) from this MODEL.",
                blocks - branch.used,
                blocks,
            )


class Branch:
    """The condition's tokens during one call of the model, from block to block."""

    def __init__(
        self,
        flux: Flux,
        lora: NativeLora,
        latent: Tensor,
        count: int,
        pooled: Tensor | None,
        model: Any,
    ) -> None:
        dtype = model.manual_cast_dtype or model.get_dtype()
        latent = latent.to(dtype=dtype)
        self.flux, self.lora, self.used = flux, lora, 0
        self.pooled = None if pooled is None else pooled.to(latent)
        tokens, rows, columns = packed(latent)
        tokens = _added(flux.img_in(tokens), lora.at("img_in"), tokens, tokens.shape[1])
        self.tokens = _repeated(tokens, count)
        self.rotary = flux.pe_embedder(condition_ids(rows, columns).to(latent.device)[None])
        self.time = silu(self._time())

    def _time(self) -> Tensor:
        """The embedding of t = 0 and guidance 1, whatever the image's are: (B, D)."""
        flux, like = self.flux, self.tokens
        zeros = torch.zeros(len(like), device=like.device)
        time = flux.time_in(timestep_embedding(zeros, 256).to(like.dtype))
        if flux.params.guidance_embed:
            time = time + flux.guidance_in(timestep_embedding(zeros + 1, 256).to(like.dtype))
        if flux.vector_in is not None:
            width = flux.params.vec_in_dim
            pooled = like.new_zeros(1, width) if self.pooled is None else self.pooled[:, :width]
            time = time + flux.vector_in(_repeated(pooled, len(like)))
        return time

    def replacing_blocks(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options` with a replacement for every block, before which those already there come."""
        replaced = dict(options.get("patches_replace", {}))
        blocks = dict(replaced.get("dit", {}))
        named = [("double_block", self._double, self.flux.double_blocks)]
        named += [("single_block", self._single, self.flux.single_blocks)]
        for kind, compute, modules in named:
            for index, block in enumerate(modules):
                ours = self._patch(compute, block, f"{kind}s.{index}")
                blocks[kind, index] = _chained(blocks.get((kind, index)), ours)
        return {**options, "patches_replace": {**replaced, "dit": blocks}}

    def _patch(self, compute: Callable, block: Block, path: str) -> Callable:
        def patch(given: Mapping[str, Any], _original: Any) -> dict[str, Tensor]:
            self.used += 1
            return compute(block, path, given)

        return patch

    def _double(self, block: Block, path: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
        image, text, count = given["img"], given["txt"], self.tokens.shape[1]
        adapters = _Adapters(self.lora, path)
        first, second = block.img_mod(given["vec"])
        own = self._modulation(block.img_mod, adapters["img_mod.lin"])
        text_first, text_second = block.txt_mod(given["vec"])

        tokens = self._both(block.img_norm1, image, first, own[:3])
        fused = _added(block.img_attn.qkv(tokens), adapters["img_attn.qkv"], tokens, count)
        prose = _moved(block.txt_norm1(text), text_first.scale, text_first.shift)
        heads = [
            torch.cat(pair, dim=2)
            for pair in zip(
                _heads(block.txt_attn.qkv(prose), block.num_heads, block.txt_attn.norm),
                _heads(fused, block.num_heads, block.img_attn.norm),
                strict=True,
            )
        ]
        attended = self._attend(heads, given)
        prose, tokens = attended.split([text.shape[1], tokens.shape[1]], dim=1)
        tokens = _added(block.img_attn.proj(tokens), adapters["img_attn.proj"], tokens, count)
        image, condition = self._gated(image, self.tokens, first.gate, own[2], tokens)
        text = (text_first.gate * block.txt_attn.proj(prose)).add_(text)

        self.tokens = condition
        tokens = self._both(block.img_norm2, image, second, own[3:])
        hidden = block.img_mlp[1](block.img_mlp[0](tokens))
        tokens = _added(block.img_mlp[2](hidden), adapters["img_mlp.2"], hidden, count)
        image, self.tokens = self._gated(image, condition, second.gate, own[5], tokens)
        prose = _moved(block.txt_norm2(text), text_second.scale, text_second.shift)
        text = (text_second.gate * block.txt_mlp(prose)).add_(text)
        return {"img": _finite(image), "txt": _finite(text)}

    def _single(self, block: Block, path: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
        tokens, count = given["img"], self.tokens.shape[1]  # text and image in one
        adapters = _Adapters(self.lora, path)
        main, _ = block.modulation(given["vec"])
        own = self._modulation(block.modulation, adapters["modulation.lin"])
        moved = self._both(block.pre_norm, tokens, main, own)
        fused = _added(block.linear1(moved), adapters["linear1"], moved, count)
        fused, hidden = fused.split([3 * block.hidden_size, block.mlp_hidden_dim_first], dim=2)
        attended = self._attend(_heads(fused, block.num_heads, block.norm), given)
        joined = torch.cat([attended, block.mlp_act(hidden)], dim=2)
        update = _added(block.linear2(joined), adapters["linear2"], joined, count)
        tokens, self.tokens = self._gated(tokens, self.tokens, main.gate, own[2], update)
        return {"img": _finite(tokens)}

    def _modulation(self, module: Block, adapter: FusedLora) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the condition, (B, 1, D) each; in double blocks six of them."""
        values = module.lin(self.time)
        adapter.add_to(values, self.time)
        return values[:, None].chunk(module.multiplier, dim=2)

    def _both(self, norm: Block, image: Tensor, main: Any, own: tuple[Tensor, ...]) -> Tensor:
        """Image and condition tokens joined, each normalised and modulated separately."""
        moved = _moved(norm(image), main.scale, main.shift)
        return torch.cat([moved, _moved(norm(self.tokens), own[1], own[0])], dim=1)

    def _gated(
        self, image: Tensor, condition: Tensor, gate: Tensor, own: Tensor, update: Tensor
    ) -> tuple[Tensor, Tensor]:
        mine, its = update.split([image.shape[1], condition.shape[1]], dim=1)
        # Not onto `image`: a patch of another node may keep what it was given.
        return (gate * mine).add_(image), (own * its).add_(condition)

    def _attend(self, heads: list[Tensor], given: Mapping[str, Any]) -> Tensor:
        rotary = given["pe"]
        own = self.rotary.to(rotary).expand(len(rotary), *self.rotary.shape[1:])
        mask = given.get("attn_mask")
        if mask is not None:  # the condition is seen by all and sees all
            count = self.tokens.shape[1]
            mask = pad(mask, (0, count, 0, count), value=mask.dtype == torch.bool)
        return attention(
            *heads,
            pe=torch.cat([rotary, own], dim=2),
            mask=mask,
            transformer_options=given.get("transformer_options") or {},
        )


class _Adapters:
    def __init__(self, lora: NativeLora, path: str) -> None:
        self.lora, self.path = lora, path

    def __getitem__(self, name: str) -> FusedLora:
        return self.lora.at(f"{self.path}.{name}")


def packed(latent: Tensor) -> tuple[Tensor, int, int]:
    """Tokens (B, rows * columns, 4C) of a latent (B, C, h, w), padded as ComfyUI pads."""
    latent = comfy.ldm.common_dit.pad_to_patch_size(latent, (PATCH, PATCH))
    return pack(latent), latent.shape[2] // PATCH, latent.shape[3] // PATCH


def condition_ids(rows: int, columns: int) -> Tensor:
    """Positions left of the image, (rows * columns, 3)."""
    return token_ids(rows, columns, shift=-columns)


def _chained(before: Callable | None, ours: Callable) -> Callable:
    """Lets another node's patch wrap our block as it would have wrapped ComfyUI's."""
    if before is None:
        return ours
    return lambda given, extra: before(given, {"original_block": lambda args: ours(args, extra)})


def _added(outputs: Tensor, adapter: FusedLora, inputs: Tensor, count: int) -> Tensor:
    """`outputs` of a linear, given the LoRA's share on the last `count` tokens in place."""
    adapter.add_to(outputs[:, -count:], inputs[:, -count:])
    return outputs


def _moved(normed: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The output of a norm, scaled and shifted in place."""
    return normed.mul_(1 + scale).add_(shift)


def _heads(fused: Tensor, number: int, norm: Block) -> list[Tensor]:
    """Query, key and value, (B, heads, n, width) each."""
    query, key, value = fused.unflatten(2, (3, number, -1)).permute(2, 0, 3, 1, 4)
    query, key = norm(query, key, value)
    return [query, key, value]


def _repeated(tensor: Tensor, count: int) -> Tensor:
    """One row per sample; a single row is repeated for all, as ComfyUI repeats conditions."""
    if len(tensor) == count:
        return tensor
    return tensor.repeat(-(-count // len(tensor)), *[1] * (tensor.ndim - 1))[:count]


def _finite(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float16:
        return tensor
    return torch.nan_to_num(tensor, nan=0.0, posinf=65504, neginf=-65504)
