"""Loaders on published checkpoints' names and shapes: `pytest tests/core/test_checkpoints.py`.

The files are holes of the true length: they take no disk, and memory only where a loader reads.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Keys, as_type, collapsed, keys, names, write_hollow
from checkpoints.make import QWEN3_VL_4B, QWEN25_VL_3B
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from rehearsal.files import true_size, write_folder
from transformers import AutoModelForImageTextToText

from reflectionflow_core.doctor import host_memory
from reflectionflow_core.flux import single_file
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.lora import corrector_paths, read_corrector_lora
from reflectionflow_core.flux.single_file import load_transformer, read_weights
from reflectionflow_core.flux.stored import stored_as
from reflectionflow_core.record import InputError
from reflectionflow_core.vlm.folder import load_model

pytestmark = pytest.mark.slow
CONFIG: dict[str, Any] = {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": True}
MILLIONS = {  # of numbers, as the models' cards have them
    "clip_l": 123,
    "flux1_corrector": 116,
    "flux1_dev": 11_901,
    "flux1_dev_diffusers": 11_901,
    "flux1_vae": 84,
    "flux1_vae_diffusers": 84,
    "flux2_dev": 32_223,
    "krea2": 12_820,
    "qwen25_vl_3b": 3_755,
    "qwen3_vl_4b": 4_438,
    "qwen_image": 20_430,
    "t5_xxl": 4_762,
    "z_image": 6_155,
}


@pytest.fixture(autouse=True, scope="module")
def _enough_memory() -> None:
    """Linux maps no file that is larger than the machine's memory."""
    memory = host_memory()
    if memory and memory < 14e9:
        pytest.skip(f"files of 12 GB cannot be mapped with {memory / 1e9:.0f} GB of memory")


def hollow(folder: Path, tensors: Keys, name: str = "model") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_hollow(folder / f"{name}.safetensors", tensors)


def test_every_list_has_as_many_numbers_as_the_model() -> None:
    assert {
        name: round(sum(math.prod(shape) for _, shape in keys(name).values()) / 1e6)
        for name in names()
    } == MILLIONS


def test_a_list_says_no_more_and_no_less_than_its_patterns() -> None:
    layered = {f"a.{i}.b.{j}.c": ("BF16", (4,)) for i in range(3) for j in (0, 1, 5)}
    assert collapsed(layered) == {
        "a.{0..2}.b.{0..1}.c": ("BF16", (4,)),
        "a.{0..2}.b.5.c": ("BF16", (4,)),
    }


@pytest.mark.parametrize("layout", ["flux1_dev", "flux1_dev_diffusers"])
def test_flux_in_both_layouts_is_read_whole(layout: str, tmp_path: Path) -> None:
    file = hollow(tmp_path, as_type(keys(layout), "F8_E4M3"))
    transformer = load_transformer(file, CONFIG, torch.bfloat16)
    found = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    assert found == {name: shape for name, (_, shape) in keys("flux1_dev_diffusers").items()}
    waiting = sum(p.numel() for p in transformer.parameters() if stored_as(p))
    assert waiting > 0.99 * sum(p.numel() for p in transformer.parameters())


@pytest.mark.parametrize("other", ["flux2_dev", "qwen_image", "z_image", "krea2", "t5_xxl"])
def test_another_models_file_is_refused(other: str, tmp_path: Path) -> None:
    file = hollow(tmp_path, dict.fromkeys(keys(other), ("F8_E4M3", (1,))))
    expected = {name: torch.Size(shape) for name, (_, shape) in keys("flux1_dev_diffusers").items()}
    with pytest.raises(InputError, match="is not the transformer of this kind of FLUX"):
        read_weights(file, expected, torch.bfloat16)
    assert single_file.FIRST[0] in keys("flux2_dev")  # its first layer has FLUX.1's name


def test_the_published_corrector_is_read_whole(tmp_path: Path) -> None:
    published = keys("flux1_corrector")
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**CONFIG)
    shapes = {}
    for path in corrector_paths(19, 38):
        linear = transformer.get_submodule(path)
        assert isinstance(linear, torch.nn.Linear)
        shapes[path] = (linear.out_features, linear.in_features)
    lora = read_corrector_lora(hollow(tmp_path, published), shapes)
    layers = dict(lora.items())
    assert {f"transformer.{path}.lora_A.weight" for path in layers} < published.keys()
    assert len(layers) == len(published) // 2 == 343
    assert {layer.rank for layer in layers.values()} == {32}


def test_a_folder_of_true_size_is_loaded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "flux", true_size(), write_hollow)
    file = hollow(tmp_path, as_type(keys("flux1_dev"), "F8_E4M3"))
    flux = load_flux(folder, device="cpu", plan="streamed", transformer=file)
    for part, name in ((flux.t5, "t5_xxl"), (flux.clip, "clip_l"), (flux.vae, "flux1_vae")):
        count = sum(parameter.numel() for parameter in part.parameters())
        assert round(count / 1e6) == MILLIONS[name]
        assert {parameter.dtype for parameter in part.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("name", "config", "kind"),
    [
        ("qwen25_vl_3b", QWEN25_VL_3B, ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration")),
        ("qwen3_vl_4b", QWEN3_VL_4B, ("qwen3_vl", "Qwen3VLForConditionalGeneration")),
    ],
)
def test_a_vision_language_model_is_loaded(name, config, kind, tmp_path: Path) -> None:
    """`load_model` refuses a model of which a weight is missing, so all names were found."""
    hollow(tmp_path, keys(name))
    described = {**config, "model_type": kind[0], "architectures": [kind[1]]}
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    model = load_model(AutoModelForImageTextToText, tmp_path, "bf16", torch.device("cpu"))
    assert type(model).__name__ == kind[1]
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == MILLIONS[name]
