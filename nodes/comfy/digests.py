"""Digests of the models that ComfyUI has loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .branch import KEY
from .describing import Describer, few_numbers

# Where other nodes put what changes a model's pictures and is no weight.
CHANGES = (
    *("object_patches", "model_options", "wrappers", "callbacks", "injections"),
    *("hook_patches", "forced_hooks", "weight_wrapper_patches"),
)
OF_A_CLIP = ("layer_idx", "tokenizer_options", "use_clip_schedule")
SAMPLING = "model_sampling"  # while a patched clone of the model is loaded, that of the clone
# Where the file has none, as that of FLUX's clip_l, ComfyUI leaves in it what the memory held.
OFTEN_ANYTHING = "transformer.text_projection.weight"
PLAIN_PATCH = (1.0, None, None)  # strength of the weight itself, its part, a function of it


def models_digest(*models: Any) -> str:
    """SHA-256 of what each MODEL, CLIP or VAE does: of its weights, and of other nodes' changes."""
    return hashlib.sha256(" ".join(map(_model_digest, models)).encode()).hexdigest()


def weights_digest(model: ModelPatcher) -> str:
    """SHA-256 of a few numbers of every weight and of every patch.

    It does not depend on whether ComfyUI has merged the patches into the weights.
    """
    whole = hashlib.sha256()
    for name, tensor in model.model.state_dict().items():
        if name.startswith(f"{SAMPLING}.") or name.endswith(OFTEN_ANYTHING):
            continue
        unpatched = model.backup[name].weight if name in model.backup else tensor
        whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        whole.update(few_numbers(unpatched))
    for name, patches in sorted(model.patches.items()):
        for strength, patch, *how in patches:
            whole.update(f"{name} {strength}".encode())
            if tuple(how) != PLAIN_PATCH:
                whole.update(described(how, model).encode())
            for tensor in _tensors(patch):
                whole.update(few_numbers(tensor))
    return whole.hexdigest()


def described(value: Any, model: ModelPatcher) -> str:
    """A text that identifies a value attached to `model`, the same in every run."""
    return Describer(model.model, weights_digest).first_text(value)


def _model_digest(given: Any) -> str:
    model = getattr(given, "patcher", given)  # of a CLIP or VAE
    describer = Describer(model.model, weights_digest, apart=SAMPLING)
    changed = {name: getattr(model, name, None) for name in CHANGES}
    changed |= {name: getattr(given, name, None) for name in OF_A_CLIP}
    if hasattr(model.model, SAMPLING):
        changed[SAMPLING] = model.get_model_object(SAMPLING)
    texts = [
        f"{path}: {describer.first_text(one)}" for path, one in _leaves(changed, "", describer)
    ]
    text = "\n".join([weights_digest(model), *sorted(texts)])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _leaves(value: Any, path: str, describer: Describer) -> Iterator[tuple[str, Any]]:
    """What dicts and lists hold; the corrector is left out, since it has a digest of its own."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key != KEY:
                yield from _leaves(each, f"{path}.{describer.text(key)}", describer)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}.{index}", describer)
    elif value is not None:
        yield path, value


def _tensors(patch: Any) -> list[Tensor]:
    if isinstance(patch, Tensor):
        return [patch]
    parts = getattr(patch, "weights", patch)
    return [t for p in parts for t in _tensors(p)] if isinstance(parts, (list, tuple)) else []
