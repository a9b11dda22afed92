"""Corrector LoRA files, good and bad: `pytest tests/core/test_flux_lora.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny_flux import loud_lora, random_inputs, tiny_pipeline, tiny_transformer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.folders import check_weights
from reflectionflow_core.flux.lora import (
    FILE_NAME,
    CorrectorLora,
    Mode,
    load_corrector_lora,
    target_shapes,
)
from reflectionflow_core.record import InputError

Q = "transformer.transformer_blocks.0.attn.to_q"


@pytest.fixture
def transformer():
    return tiny_transformer()


@pytest.fixture
def file(tmp_path: Path, transformer) -> Path:
    return loud_lora(transformer).save(tmp_path)


def rewrite(file: Path, metadata: dict[str, str] | None = None, **changes) -> Path:
    """The file with keys replaced; a change to None removes the key. "__" stands for a dot."""
    tensors = load_file(file)
    for name, value in changes.items():
        key = f"{Q}.{name.replace('__', '.')}"
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    save_file(tensors, file, metadata or {"format": "pt"})
    return file


def test_the_real_flux_has_343_targets() -> None:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
    shapes = target_shapes(transformer)
    assert len(shapes) == 343
    assert sum(32 * (out + wide) for out, wide in shapes.values()) == 115_902_464


@pytest.mark.parametrize("alpha", [None, 3.0])
def test_a_saved_lora_comes_back(tmp_path: Path, transformer, alpha) -> None:
    lora = loud_lora(transformer, rank=4, alpha=alpha)
    loaded = load_corrector_lora(
        lora.save(tmp_path / "deep" / "corrector.safetensors"), transformer
    )
    inputs = random_inputs()
    with torch.no_grad():
        expected = velocity(transformer, inputs, lora)
        assert torch.equal(velocity(transformer, inputs, loaded), expected)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_it_is_loaded_from_a_folder_and_in_another_dtype(file: Path, transformer) -> None:
    assert file.name == FILE_NAME
    loaded = load_corrector_lora(file.parent, transformer, torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_alpha_is_written_only_where_it_is_not_the_rank(tmp_path: Path, transformer) -> None:
    plain = load_file(loud_lora(transformer, 4, 4.0).save(tmp_path / "a.safetensors"))
    scaled = load_file(loud_lora(transformer, 4, 8.0).save(tmp_path / "b.safetensors"))
    assert not [key for key in plain if key.endswith(".alpha")]
    assert float(scaled[f"{Q}.alpha"]) == 8.0
    with safe_open(tmp_path / "a.safetensors", "pt") as stored:
        assert stored.metadata() == {"format": "pt"}


@pytest.mark.parametrize("alpha", [4.0, 2.0])
def test_diffusers_reads_the_same_numbers_from_the_file(tmp_path: Path, alpha: float) -> None:
    pipeline = tiny_pipeline()
    lora = loud_lora(pipeline.transformer, 4, alpha)
    pipeline.load_lora_weights(str(lora.save(tmp_path)))
    for path, layer in lora.items():
        wrapped = pipeline.transformer.get_submodule(path)
        assert torch.equal(wrapped.lora_A["default_0"].weight, layer.down)
        assert torch.equal(wrapped.lora_B["default_0"].weight, layer.up)
        assert wrapped.scaling["default_0"] == alpha / 4


def test_a_lora_that_peft_trained_and_diffusers_saved_is_read(tmp_path: Path) -> None:
    from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    trained = tiny_transformer()
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=list(target_shapes(trained)), init_lora_weights=False
    )
    trained.add_adapter(config)
    FluxPipeline.save_lora_weights(
        tmp_path,
        transformer_lora_layers={**get_peft_model_state_dict(trained)},
        transformer_lora_adapter_metadata=config.to_dict() | {"target_modules": []},
    )
    loaded = load_corrector_lora(tmp_path, tiny_transformer())
    for path, layer in loaded.items():
        wrapped: Any = trained.get_submodule(path)
        assert torch.equal(layer.down, wrapped.lora_A["default"].weight)
        assert layer.alpha == 8


def test_alpha_comes_from_the_key_then_the_metadata_then_the_rank(file: Path, transformer) -> None:
    adapter = {
        "transformer.lora_alpha": 2.0,
        "transformer.alpha_pattern": {"single_transformer_blocks.1.proj_out": 6.0},
    }
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(adapter)}
    loaded = dict(load_corrector_lora(rewrite(file), transformer).items())
    assert {layer.alpha for layer in loaded.values()} == {4.0}
    rewrite(file, metadata, alpha=torch.tensor(5.0))
    loaded = dict(load_corrector_lora(file, transformer).items())
    assert loaded["transformer_blocks.0.attn.to_q"].alpha == 5.0
    assert loaded["single_transformer_blocks.1.proj_out"].alpha == 6.0
    assert loaded["single_transformer_blocks.0.proj_out"].alpha == 2.0


def test_modules_may_have_ranks_of_their_own(file: Path, transformer) -> None:
    rewrite(file, lora_A__weight=torch.randn(7, 32), lora_B__weight=torch.randn(32, 7))
    layer = load_corrector_lora(file, transformer).at("transformer_blocks.0.attn.to_q")
    assert layer is not None
    assert (layer.rank, layer.alpha) == (7, 7.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_B__weight": None}, "incomplete: it lacks the up factor of .*to_q"),
        ({"lora_A__weight": None}, "incomplete: it lacks the down factor of .*to_q"),
        ({"lora_C__weight": torch.ones(1)}, "beside those of a corrector.*: .*to_q.lora_C.weight"),
        ({"lora_A__weight": torch.ones(4, 31)}, r"shapes A \(4, 31\).*expected \(rank, 32\)"),
        ({"lora_A__weight": torch.ones(5, 32)}, r"shapes A \(5, 32\), B \(32, 4\)"),
        ({"lora_A__weight": torch.ones(32)}, r"shapes A \(32,\)"),
        ({"lora_A__weight": torch.tensor(1.0)}, r"shapes A \(\)"),
        ({"lora_A__weight": torch.full((4, 32), torch.nan)}, "not finite"),
        ({"lora_B__weight": torch.ones(32, 4, dtype=torch.int8)}, "stored as int8"),
        ({"alpha": torch.tensor(torch.inf)}, "is Infinity, but must be a finite number"),
        ({"alpha": torch.tensor(1e38)}, r"alpha in .* is 9.99.*, but must be a finite number"),
        ({"alpha": torch.tensor(True)}, "stored as bool"),
        ({"alpha": torch.tensor(1j)}, "stored as complex64"),
        ({"alpha": torch.ones(2)}, "alpha"),
    ],
)
def test_a_lora_with_one_wrong_key_is_refused(file: Path, transformer, changes, message) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        load_corrector_lora(rewrite(file, **changes), transformer)


@pytest.mark.parametrize(
    "style",
    ["lora_te1_{}.lora_down.weight", "{}.processor.proj_lora1.down.weight", "{}.up"],
)
def test_an_ordinary_lora_is_refused_and_three_of_its_keys_are_named(
    tmp_path: Path, transformer, style: str
) -> None:
    keys = [style.format(path) + str(i) for i, path in enumerate(target_shapes(transformer))]
    save_file({key: torch.ones(1) for key in keys}, tmp_path / "style.safetensors")
    with pytest.raises(InputError, match=f"none of its keys match.* and {len(keys) - 3} more"):
        load_corrector_lora(tmp_path / "style.safetensors", transformer)


def test_a_lora_of_a_deeper_flux_is_refused(tmp_path: Path, transformer) -> None:
    deeper = loud_lora(tiny_transformer(double=3)).save(tmp_path)
    with pytest.raises(
        InputError, match=r"beside those of a corrector.*: transformer\.transformer_blocks\.2.*more"
    ):
        load_corrector_lora(deeper, transformer)


def test_a_file_that_is_missing_or_cut_off_or_something_else_is_refused(
    file: Path, transformer
) -> None:
    with pytest.raises(InputError, match="There is no corrector LoRA at"):
        load_corrector_lora(file.parent / "elsewhere.safetensors", transformer)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b'{"error": "not found"}'):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            load_corrector_lora(file, transformer)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04archive/data.pkl", "saved by torch .* Give the weights as .safetensors"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", "saved by torch"),
        (b"GGUF\x03\0\0\0", "is a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page"),
    ],
)
def test_a_file_of_another_format_is_named_and_not_only_called_damaged(
    file: Path, transformer, data: bytes, message: str
) -> None:
    file.write_bytes(data)
    with pytest.raises(InputError, match=message):
        load_corrector_lora(file, transformer)
    with pytest.raises(InputError, match=message):
        check_weights(file)


def test_metadata_that_is_no_json_is_refused(file: Path, transformer) -> None:
    rewrite(file, {"lora_adapter_metadata": "{"})
    with pytest.raises(InputError, match=r"settings in the header of .* are not JSON"):
        load_corrector_lora(file, transformer)


def test_a_new_lora_needs_a_rank_and_starts_like_pefts(transformer) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match="rank is 0"):
        CorrectorLora.create(transformer, rank=0)
    lora = CorrectorLora.create(transformer, rank=8)
    downs = torch.cat([layer.down.detach().flatten() for _, layer in lora.items()])
    assert float(downs.std()) == pytest.approx(1 / 8, rel=0.02)
    assert all(not layer.up.any() for _, layer in lora.items())
    assert all(parameter.requires_grad for parameter in lora.parameters())


def test_the_same_tensors_are_the_same_bytes(transformer) -> None:
    """safetensors writes metadata in an order that changes from call to call."""
    lora = loud_lora(transformer, mode=Mode("all", "independent"))
    assert len({lora.serialised() for _ in range(30)}) == 1
