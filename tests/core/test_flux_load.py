"""Loading FLUX and placing its weights: `pytest tests/core/test_flux_load.py`."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch
from asking import drafts
from core.tiny_flux import loud_lora, random_inputs, tiny_pipeline, tiny_transformer
from safetensors.torch import load_file, save_file
from torch import nn

from reflectionflow_core.flux import placement
from reflectionflow_core.flux.branch import step_constants, velocity
from reflectionflow_core.flux.folders import local_folder, weight_files
from reflectionflow_core.flux.load import load_flux
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import FluxGenerator
from reflectionflow_core.flux.placement import Lending, Resident, Streaming, choose_plan
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.flux.stored import Stored, computing_bytes, keep_as_stored, stored_as
from reflectionflow_core.pipelines.kinds import kind_of
from reflectionflow_core.pipelines.load import load_pipeline
from reflectionflow_core.record import InputError

M = TypeVar("M", bound=nn.Module)
CPU = torch.device("cpu")
SMALL = SamplingSettings(width=32, height=32, steps=2, max_sequence_length=16)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "flux")


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_folder_is_loaded_in_the_dtype_that_was_asked(saved: Path, name, dtype) -> None:
    flux = load_flux(saved, dtype=name, device="cpu")
    assert {p.dtype for p in flux.transformer.parameters()} == {dtype}
    assert not any(p.requires_grad for part in flux.modules.values() for p in part.parameters())
    assert flux.token_pixels == 16


@pytest.mark.parametrize("plan", ["resident", "phased", "streamed"])
def test_every_plan_paints_the_same_picture(saved: Path, plan: str) -> None:
    expected = FluxGenerator(load_flux(saved, dtype="fp32", device="cpu"), SMALL)
    planned = FluxGenerator(load_flux(saved, dtype="fp32", device="cpu", plan=plan), SMALL)
    ask = (["a red circle"], [1])
    assert planned.paint(drafts(*ask))[0].tobytes() == expected.paint(drafts(*ask))[0].tobytes()
    planned.flux.placement.release()
    assert planned.paint(drafts(*ask))[0].tobytes() == expected.paint(drafts(*ask))[0].tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "fp16"}, r"'fp16'.*bf16, fp32"),
        ({"plan": "magic"}, r"'magic'.*auto, resident, phased, streamed"),
        ({"device": "magic"}, r"no device 'magic' here\. Choose .*cpu\.$"),
        ({"device": f"cuda:{torch.cuda.device_count()}"}, r"no device 'cuda:\d' here: .* cpu\.$"),
    ],
)
def test_unknown_names_are_refused_by_naming_those_that_exist(saved, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        load_flux(saved, **arguments)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        load_flux(tmp_path / "nowhere")


def test_a_drive_of_windows_is_no_hub_id() -> None:
    assert local_folder("C:/flux") == Path("C:/flux")
    assert local_folder("owner/flux") is None


def test_a_name_that_the_hub_does_not_give_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="could not be loaded from nobody/nothing"):
        load_flux("nobody/nothing")


def test_a_folder_without_an_index_is_refused(folder: Path) -> None:
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match="has no model_index"):
        load_flux(folder)


def test_another_kind_of_pipeline_is_refused(folder: Path) -> None:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError, match="a StableDiffusionPipeline, not a FluxPipeline"):
        load_flux(folder)


def test_another_scheduler_is_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"][1] = "FlowMatchHeunDiscreteScheduler"
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="the scheduler FlowMatchHeunDiscreteScheduler, whose"):
        load_flux(folder)


def test_an_index_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "model_index.json").write_text("<html>")
    with pytest.raises(InputError, match=r"model_index.json cannot be read as JSON"):
        load_flux(folder)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
def test_a_missing_or_damaged_weight_file_is_named(folder: Path, part: str) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"weight file .*{part}.*{file.name} is damaged"):
        load_flux(folder)
    file.unlink()
    with pytest.raises(InputError, match=f"weight file .*{part}.* is missing"):
        load_flux(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x_embedder.weight": "second.safetensors"}}))
    with pytest.raises(InputError, match=r"transformer.*second\.safetensors is missing"):
        load_flux(folder)


@pytest.mark.parametrize("shards", [{}, None, ["a.safetensors"], {"x": 1}])
def test_an_index_without_weight_files_is_refused(tmp_path: Path, shards: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(InputError, match="names no weight files"):
        list(weight_files(tmp_path))


def test_of_two_variants_the_plain_one_counts_and_hidden_files_do_not(tmp_path: Path) -> None:
    hidden = ("._model.safetensors", "._model.safetensors.index.json")
    for name in ("model.fp16.safetensors", "model.safetensors", *hidden):
        (tmp_path / name).touch()
    assert list(weight_files(tmp_path)) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize("name", ["vulkan", "hpu"])
def test_a_missing_device_is_told_in_short(name: str) -> None:
    with pytest.raises(InputError, match=rf"no device '{name}' here: .{{1,120}}\. Choose .*cpu\.$"):
        placement.device_named(name)


@pytest.mark.parametrize(
    ("part", "weight"),
    [
        ("transformer", "proj_out.bias"),
        ("text_encoder", "final_layer_norm.bias"),
        ("text_encoder_2", "encoder.final_layer_norm.weight"),
    ],
)
def test_a_weight_that_the_files_lack_is_named_by_both_loaders(
    folder: Path, part: str, weight: str
) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    names = (weight, f"text_model.{weight}")  # transformers 4 wrote the longer one
    left = {name: each for name, each in weights.items() if name not in names}
    assert len(left) == len(weights) - 1
    save_file(left, file, metadata={"format": "pt"})
    for load in (load_flux, lambda name: load_pipeline(kind_of(str(name)), torch.float32)):
        with pytest.raises(InputError, match=f"of the {part} in .* lack .*{re.escape(weight)}"):
            load(folder)


def test_a_part_that_does_not_fit_its_config_is_a_sentence(folder: Path) -> None:
    file = folder / "vae" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "latent_channels": 3}))
    with pytest.raises(InputError, match=r"could not be loaded from .*expected shape"):
        load_flux(folder)


@pytest.mark.parametrize("missing", ["tokenizer", "tokenizer_2", "scheduler"])
def test_a_missing_part_without_weights_is_named(folder: Path, missing: str) -> None:
    shutil.rmtree(folder / missing)
    with pytest.raises(InputError, match=f"has no {missing}"):
        load_flux(folder)


@pytest.mark.parametrize(
    ("gigabytes", "plan"),
    [(80, "resident"), (48, "resident"), (32, "phased"), (24, "streamed"), (12, "streamed")],
)
def test_the_plan_follows_the_free_memory(gigabytes: int, plan: str) -> None:
    flux_dev = {"transformer": 23.80e9, "t5": 9.52e9, "clip": 0.25e9, "vae": 0.17e9}
    sizes = {name: int(size) for name, size in flux_dev.items()}
    assert choose_plan(int(gigabytes * 0.98 * 1e9), sizes) == plan


def lendable(module: M) -> M:
    """Its weights are copied even to where they lie, as to a GPU."""
    for parameter in module.parameters():
        keep_as_stored(parameter, Stored(parameter.dtype))
    return module


def linear(megabytes: int) -> nn.Module:
    return lendable(nn.Linear(megabytes * 1000, 250, bias=False))


def home(module: nn.Module) -> list[int]:
    return [parameter.data_ptr() for parameter in module.parameters()]


def test_heavy_parts_take_turns_and_light_ones_stay(monkeypatch) -> None:
    monkeypatch.setattr(placement, "LIGHT", 1_500_000)
    heavy, other, light = linear(2), linear(3), linear(1)
    homes = {module: home(module) for module in (heavy, other, light)}

    def lent() -> list[bool]:
        return [home(module) != homes[module] for module in (heavy, other, light)]

    lending = Lending(CPU)
    with lending.on_device(heavy, light):
        assert lent() == [True, False, True]
    with lending.on_device(light):
        assert lent() == [True, False, True]
    with lending.on_device(other):
        assert lent() == [False, True, True]
    lending.release()
    assert lent() == [False, False, False]


def test_two_heavy_parts_that_are_needed_together_come_together(monkeypatch) -> None:
    monkeypatch.setattr(placement, "LIGHT", 500_000)
    one, two = linear(1), linear(2)
    homes = home(one), home(two)
    with Lending(CPU).on_device(one, two):
        assert home(one) != homes[0]
        assert home(two) != homes[1]


def test_streaming_holds_two_blocks_and_gives_all_back() -> None:
    transformer = lendable(tiny_transformer())
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    homes = [home(block) for block in blocks]
    streaming = Streaming(CPU, blocks)
    with streaming.on_device(transformer):
        assert [home(block) for block in blocks] == homes
        for index, _ in enumerate(streaming.walk(blocks)):
            away = [i for i, block in enumerate(blocks) if home(block) != homes[i]]
            assert away == [i for i in (index, index + 1) if i < len(blocks)]
    assert [home(block) for block in blocks] == homes


def test_a_stream_that_is_left_early_gives_all_back() -> None:
    blocks = [linear(1), linear(1), linear(1)]
    homes = [home(block) for block in blocks]
    for _ in Streaming(CPU, blocks).walk(blocks):
        break
    assert [home(block) for block in blocks] == homes


@pytest.mark.parametrize("plan", ["resident", "phased", "streamed"])
def test_fp8_paints_the_same_picture_in_every_plan(saved: Path, tmp_path: Path, plan: str) -> None:
    """It waits in fp8, unless the plan keeps it as it computes."""
    (file,) = (saved / "transformer").glob("*.safetensors")
    fp8 = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(file).items()}
    save_file(fp8, tmp_path / "fp8.safetensors")
    save_file({n: t.float() for n, t in fp8.items()}, tmp_path / "fp32.safetensors")

    def painted(name: str, plan: str = "resident") -> tuple[Flux, bytes]:
        flux = load_flux(saved, dtype="fp32", device="cpu", transformer=tmp_path / name, plan=plan)
        return flux, FluxGenerator(flux, SMALL).paint(drafts(["a red circle"], [1]))[0].tobytes()

    flux, found = painted("fp8.safetensors", plan)
    assert found == painted("fp32.safetensors")[1]
    flux.placement.release()
    query = flux.transformer.get_parameter("transformer_blocks.0.attn.to_q.weight")
    assert query.dtype == (torch.float32 if plan == "resident" else torch.float8_e4m3fn)
    assert (stored_as(query) is None) == (plan == "resident")
    assert flux.dtype == torch.float32


def test_8_bit_floats_are_converted_before_they_reach_mps(monkeypatch) -> None:
    moved, to = [], torch.Tensor.to

    def spied(tensor: torch.Tensor, *args: object, **how: object) -> torch.Tensor:
        if args[0] == torch.device("mps"):
            moved.append(tensor.dtype)
            return tensor
        return to(tensor, *args, **how)  # pyright: ignore[reportArgumentType, reportCallIssue]

    data = torch.ones(2, 3).to(torch.float8_e4m3fn)
    monkeypatch.setattr(torch.Tensor, "to", spied)
    for scale, total in ((None, 6), (torch.tensor([1.0, 2.0]), 9)):
        found = Stored(torch.bfloat16, scale).restored(data, torch.device("mps"))
        assert float(found.sum()) == total
    assert moved == [torch.bfloat16] * 2


def test_the_plan_counts_weights_as_they_compute(saved: Path, tmp_path: Path) -> None:
    (file,) = (saved / "transformer").glob("*.safetensors")
    fp8 = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(file).items()}
    save_file(fp8, tmp_path / "fp8.safetensors")
    waiting = load_flux(saved, device="cpu", transformer=tmp_path / "fp8.safetensors")
    whole = load_flux(saved, device="cpu")
    sizes = [computing_bytes(flux.transformer.parameters()) for flux in (waiting, whole)]
    assert sizes[0] == sizes[1] > placement.total_bytes(waiting.transformer.parameters())


@pytest.mark.parametrize(("free", "pins"), [(1999, False), (2000, True)])
def test_memory_is_pinned_only_where_there_is_room(monkeypatch, free: int, pins: bool) -> None:
    memory = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=free))
    monkeypatch.setitem(sys.modules, "psutil", memory)
    assert placement._may_pin(1000) is pins


def test_a_streamed_step_equals_a_resident_one() -> None:
    transformer = tiny_transformer()
    lora, inputs = loud_lora(transformer), random_inputs(batch=2)
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    streaming = Streaming(CPU, blocks)
    with torch.no_grad():
        expected = velocity(transformer, inputs, lora)
        with streaming.on_device(transformer, lora):
            constants = step_constants(transformer, inputs, lora, streaming.walk)
            found = velocity(transformer, inputs, lora, constants, streaming.walk)
    assert torch.equal(found, expected)


def test_a_lora_that_nobody_holds_leaves_the_device() -> None:
    lending, lora = Lending(CPU), loud_lora(tiny_transformer())
    with lending.on_device(lora):
        assert len(lending._loans) == 1
    del lora
    assert len(lending._loans) == 0


def test_a_resident_part_is_moved_only_when_it_is_elsewhere() -> None:
    class Immovable(nn.Linear):
        def to(self, *args, **kwargs):
            raise AssertionError("moved")

    with Resident(CPU).on_device(Immovable(2, 2)):
        pass
