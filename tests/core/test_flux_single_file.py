"""FLUX's transformer from one file: `pytest tests/core/test_flux_single_file.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from core.tiny_flux import tiny_pipeline, tiny_transformer
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file
from torch import Tensor

from reflectionflow_core.cli import main
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.placement import Resident
from reflectionflow_core.flux.single_file import load_transformer, read_weights
from reflectionflow_core.record import InputError

Tensors = dict[str, Tensor]
WIDE = 3072  # the width that diffusers' own converter takes for granted


def original(tensors: Tensors) -> Tensors:
    """The tensors of diffusers' FLUX under the names of the authors' program."""
    names = {
        "x_embedder": "img_in",
        "context_embedder": "txt_in",
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "proj_out": "final_layer.linear",
    }
    found: Tensors = {}
    for leaf in ("weight", "bias"):
        for old, new in names.items():
            if f"{old}.{leaf}" in tensors:
                found[f"{new}.{leaf}"] = tensors[f"{old}.{leaf}"]
        scale, shift = tensors[f"norm_out.linear.{leaf}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{leaf}"] = torch.cat([shift, scale])
    for name in tensors:
        path = name.split(".")
        if path[0] == "transformer_blocks":
            found |= _double(tensors, f"transformer_blocks.{path[1]}", f"double_blocks.{path[1]}")
        if path[0] == "single_transformer_blocks":
            found |= _single(tensors, ".".join(path[:2]), f"single_blocks.{path[1]}")
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _double(tensors: Tensors, old: str, new: str) -> Tensors:
    found = {
        f"{new}.img_attn.norm.query_norm.scale": tensors[f"{old}.attn.norm_q.weight"],
        f"{new}.img_attn.norm.key_norm.scale": tensors[f"{old}.attn.norm_k.weight"],
        f"{new}.txt_attn.norm.query_norm.scale": tensors[f"{old}.attn.norm_added_q.weight"],
        f"{new}.txt_attn.norm.key_norm.scale": tensors[f"{old}.attn.norm_added_k.weight"],
    }
    for leaf in ("weight", "bias"):

        def stacked(*names: str, leaf: str = leaf) -> Tensor:
            return torch.cat([tensors[f"{old}.{name}.{leaf}"] for name in names])

        found[f"{new}.img_attn.qkv.{leaf}"] = stacked("attn.to_q", "attn.to_k", "attn.to_v")
        found[f"{new}.txt_attn.qkv.{leaf}"] = stacked(
            "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"
        )
        found[f"{new}.img_mod.lin.{leaf}"] = stacked("norm1.linear")
        found[f"{new}.txt_mod.lin.{leaf}"] = stacked("norm1_context.linear")
        found[f"{new}.img_attn.proj.{leaf}"] = stacked("attn.to_out.0")
        found[f"{new}.txt_attn.proj.{leaf}"] = stacked("attn.to_add_out")
        found[f"{new}.img_mlp.0.{leaf}"] = stacked("ff.net.0.proj")
        found[f"{new}.img_mlp.2.{leaf}"] = stacked("ff.net.2")
        found[f"{new}.txt_mlp.0.{leaf}"] = stacked("ff_context.net.0.proj")
        found[f"{new}.txt_mlp.2.{leaf}"] = stacked("ff_context.net.2")
    return found


def _single(tensors: Tensors, old: str, new: str) -> Tensors:
    found = {
        f"{new}.norm.query_norm.scale": tensors[f"{old}.attn.norm_q.weight"],
        f"{new}.norm.key_norm.scale": tensors[f"{old}.attn.norm_k.weight"],
    }
    parts = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    for leaf in ("weight", "bias"):
        found[f"{new}.linear1.{leaf}"] = torch.cat([tensors[f"{old}.{p}.{leaf}"] for p in parts])
        found[f"{new}.linear2.{leaf}"] = tensors[f"{old}.proj_out.{leaf}"]
        found[f"{new}.modulation.lin.{leaf}"] = tensors[f"{old}.norm.linear.{leaf}"]
    return found


def in_fp8(tensors: Tensors, scale_name: str, by_row: bool = False) -> Tensors:
    """Every matrix as fp8, with its scale beside it."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            found[name] = tensor
            continue
        most = tensor.abs().amax(dim=1, keepdim=True) if by_row else tensor.abs().max()
        scale = most / 448
        found[name] = (tensor / scale).to(torch.float8_e4m3fn)
        found[f"{name.removesuffix('.weight')}.{scale_name}"] = scale
    return found


def prefixed(tensors: Tensors) -> Tensors:
    """An all-in-one checkpoint."""
    return {
        **{f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()},
        "vae.decoder.conv_in.weight": torch.ones(2),
        "text_encoders.clip_l.transformer.weight": torch.ones(2),
    }


@pytest.fixture(scope="module")
def flux() -> torch.nn.Module:
    return tiny_transformer()


def loaded(tensors: Tensors, file: Path, flux, dtype: torch.dtype = torch.float32) -> Tensors:
    """The weights as they compute."""
    save_file(tensors, file)
    transformer = load_transformer(file, flux.config, dtype)
    with Resident(torch.device("cpu")).on_device(transformer):
        return dict(transformer.state_dict())


@pytest.mark.parametrize(
    "laid_out",
    [
        dict,
        lambda tensors: {f"transformer.{name}": tensor for name, tensor in tensors.items()},
        original,
        lambda tensors: prefixed(original(tensors)),
    ],
    ids=["diffusers'", "a pipeline's", "the authors'", "all in one"],
)
def test_a_file_of_any_layout_gives_the_same_weights(
    laid_out: Callable[[Tensors], Tensors], flux, tmp_path: Path
) -> None:
    expected = flux.state_dict()
    found = loaded(laid_out(dict(expected)), tmp_path / "flux.safetensors", flux)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("ending", ["sft", "SFT", "SafeTensors"])
def test_every_ending_of_the_format_is_read(ending: str, flux, tmp_path: Path) -> None:
    expected = flux.state_dict()
    found = loaded(original(dict(expected)), tmp_path / f"flux.{ending}", flux)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_weights_are_those_of_diffusers_own_converter(tmp_path: Path) -> None:
    """One column wide, because that program knows FLUX.1's own width only."""
    shapes = original(dict(tiny_transformer(double=1, single=1).state_dict()))
    file: Tensors = {}
    for index, (name, tensor) in enumerate(shapes.items()):
        column = torch.arange(len(tensor) * WIDE // 32) + index / 100  # the tiny one is 32 wide
        file[name] = column.reshape(-1, *[1] * (tensor.dim() - 1))
    expected = convert_flux_transformer_checkpoint_to_diffusers(dict(file))

    shapes = {name: tensor.shape for name, tensor in expected.items()}
    save_file(file, tmp_path / "wide.safetensors")
    found = read_weights(tmp_path / "wide.safetensors", shapes, torch.float32)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name][0], expected[name]) for name in expected)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale"])
def test_scaled_fp8_is_multiplied_out(scale: str, by_row: bool, flux, tmp_path: Path) -> None:
    expected = dict(flux.state_dict())
    tensors = in_fp8(original(expected), scale, by_row) | {"scaled_fp8": torch.zeros(2)}
    found = loaded(tensors, tmp_path / "fp8.safetensors", flux)
    for name, tensor in expected.items():
        assert (found[name] - tensor).abs().max() <= tensor.abs().max() * 2**-4
    control = {name: t for name, t in tensors.items() if not name.endswith(scale)}
    wrong = loaded(control, tmp_path / "control.safetensors", flux)
    assert any((wrong[n] - t).abs().max() > t.abs().max() * 2**-4 for n, t in expected.items())


def test_plain_fp8_is_read_as_it_is(flux, tmp_path: Path) -> None:
    fp8 = {n: t.to(torch.float8_e4m3fn) for n, t in original(dict(flux.state_dict())).items()}
    found = loaded(fp8, tmp_path / "fp8.safetensors", flux, torch.bfloat16)
    expected = flux.state_dict()["x_embedder.weight"].to(torch.float8_e4m3fn)
    assert torch.equal(found["x_embedder.weight"], expected.to(torch.bfloat16))


def quantised(kind: str) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        told = torch.tensor(list(json.dumps({"format": kind}).encode()), dtype=torch.uint8)
        return {**tensors, "img_in.comfy_quant": told}

    return change


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: t for n, t in tensors.items() if n != name}


WRONG = {
    "a missing tensor": (without("txt_in.bias"), r"it lacks txt_in\.bias\."),
    "FLUX.1-schnell's": (without("guidance_in.in_layer.weight"), r"it lacks guidance_in"),
    "another model": (lambda _: {"model.layers.0.weight": torch.ones(2)}, "it lacks"),
    "4 bits": (
        lambda tensors: {**tensors, "img_in.weight.absmax": torch.ones(2)},
        r"has the unknown img_in\.weight\.absmax.*4-bit",
    ),
    "FLUX.1-Fill's": (
        lambda tensors: {**tensors, "img_in.weight": torch.ones(32, 384)},
        r"another FLUX: img_in\.weight is \(32, 384\).*x_embedder\.weight should be \(32, 64\)",
    ),
    "integers": (
        lambda tensors: {**tensors, "img_in.weight": torch.ones(32, 64, dtype=torch.int8)},
        r"holds img_in\.weight as torch\.int8, which is not read here",
    ),
    "scales of blocks": (
        lambda tensors: {**tensors, "img_in.weight_scale": torch.ones(32, 2)},
        r"img_in\.weight as torch\.float32 with scales \(32, 2\), which is not read here",
    ),
    "a number": (
        lambda t: {**t, "img_in.weight": torch.ones(()), "img_in.weight_scale": torch.ones(())},
        r"another FLUX: img_in\.weight is \(\)",
    ),
    "a broken hint": (
        lambda t: {**t, "img_in.comfy_quant": torch.zeros(3, dtype=torch.uint8)},
        r"img_in\.weight as an unknown format",
    ),
    "blocks of their own": (quantised("mxfp8"), r"holds img_in\.weight as mxfp8"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_file_that_does_not_fit_is_refused(change, message: str, flux, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        loaded(change(original(dict(flux.state_dict()))), tmp_path / "flux.safetensors", flux)


def test_a_damaged_file_and_another_kind_are_refused(flux, tmp_path: Path) -> None:
    file = tmp_path / "flux.safetensors"
    save_file(original(dict(flux.state_dict())), file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="is damaged"):
        load_transformer(file, flux.config, torch.float32)
    with pytest.raises(InputError, match=r"There is no file .* Check the path"):
        load_transformer(tmp_path / "gone.safetensors", flux.config, torch.float32)
    with pytest.raises(InputError, match=r"not a \.safetensors or \.sft file"):
        load_transformer(tmp_path / "flux.gguf", flux.config, torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A FLUX without its transformer's weights, and fine-tuned ones beside it."""
    folder, pipeline = tmp_path / "flux", tiny_pipeline()
    pipeline.save_pretrained(folder)
    (weights,) = (folder / "transformer").glob("*.safetensors")
    weights.unlink()
    for name, shift in (("tuned", 0.01), ("other", 0.02)):
        tensors = {n: t + shift for n, t in pipeline.transformer.state_dict().items()}
        save_file(original(tensors), tmp_path / f"{name}.safetensors")
    return folder


def test_the_folder_gives_all_but_the_transformer(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuned.safetensors"
    tuned = {n: t + 0.01 for n, t in tiny_pipeline().transformer.state_dict().items()}
    flux = load_flux(folder, dtype="fp32", device="cpu", transformer=file)
    assert all(torch.equal(t, tuned[n]) for n, t in flux.transformer.state_dict().items())
    assert not any(p.requires_grad for p in flux.transformer.parameters())
    assert not flux.transformer.training


def test_a_search_paints_with_it_and_goes_on_with_no_other(
    folder: Path, tmp_path: Path, capsys
) -> None:
    asked = ["run", "a red circle", "--strategy", "noise", "--size", "32x32", "--steps", "1"]
    asked += ["--width", "1", "--depth", "0", "--model", str(folder), "--transformer"]
    pictures = {}
    for name in ("tuned", "other"):
        out = tmp_path / name
        assert main([*asked, str(tmp_path / f"{name}.safetensors"), "--out", str(out)]) == 0
        pictures[name] = (out / "best.png").read_bytes()
    assert pictures["tuned"] != pictures["other"]
    resumed = ["run", "--out", str(tmp_path / "tuned"), "--resume", "--depth", "1"]
    assert main([*resumed, "--transformer", str(tmp_path / "other.safetensors")]) == 2
    assert "holds another run: transformer" in capsys.readouterr().err
    assert main(resumed) == 0


def test_the_miniature_takes_none(tmp_path: Path, capsys) -> None:
    asked = ["run", "a red circle", "--out", str(tmp_path / "out"), "--transformer", "any"]
    assert main(asked) == 2
    assert "the miniature does not take it), or remove --transformer" in capsys.readouterr().err
