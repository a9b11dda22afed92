"""LoRA files of every naming and setting, compared with what diffusers and PEFT make of them.

`pytest tests/core/test_lora_files.py`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny_flux import loud_lora, tiny_pipeline, tiny_transformer
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from reflectionflow_core.flux.folders import PEFT_FILE, PEFT_SETTINGS
from reflectionflow_core.flux.lora import (
    FILE_NAME,
    CorrectorLora,
    load_corrector_lora,
    read_corrector_lora,
    target_shapes,
)
from reflectionflow_core.flux.lora_names import DOUBLE_FUSED, SINGLE_FUSED
from reflectionflow_core.identity import digest, identity
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice

CLOSE = 1e-6  # of changes of weights that are about 1
Tensors = dict[str, Tensor]
Deltas = dict[str, Tensor]
PREFIX = "transformer."
SINGLE = "single_transformer_blocks.1.proj_mlp"
DOUBLE = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def transformer() -> FluxTransformer2DModel:
    return tiny_transformer()


@pytest.fixture(scope="module")
def published(transformer: FluxTransformer2DModel, tmp_path_factory: Any) -> Tensors:
    return load_file(loud_lora(transformer).save(tmp_path_factory.mktemp("published")))


def deltas(lora: CorrectorLora) -> Deltas:
    """The change of every linear's weight."""
    return {
        path: layer.up.float() @ layer.down.float() * (layer.alpha / layer.rank)
        for path, layer in lora.items()
    }


def peft_deltas(model: Any, adapter: str) -> Deltas:
    """The same of a model that PEFT has given the LoRA."""
    return {
        path: module.get_delta_weight(adapter)
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def assert_same(ours: Deltas, theirs: Deltas, within: float = CLOSE) -> None:
    assert ours.keys() == theirs.keys()
    for path, change in theirs.items():
        assert float(change.detach().abs().max()) > 0.01, path
        assert torch.allclose(ours[path], change, rtol=within, atol=within), path


def read(
    folder: Path, transformer: Any, tensors: Tensors, settings: dict[str, Any] | None = None
) -> CorrectorLora:
    return load_corrector_lora(write(folder, tensors, settings), transformer)


def write(folder: Path, tensors: Tensors, settings: dict[str, Any] | None = None) -> Path:
    header = {"format": "pt"}
    if settings is not None:
        header["lora_adapter_metadata"] = json.dumps(settings)
    file = folder / "lora.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file, header)
    return file


def bare(key: str) -> str:
    return key.removeprefix(PREFIX)


def kohya(key: str, before: str = "lora_unet_") -> str:
    path, _, part = bare(key).partition(".lora_")
    part = part.replace("A.", "down.").replace("B.", "up.")
    return f"{before}{path.replace('.', '_')}.lora_{part}"


NAMES: dict[str, Callable[[str], str]] = {
    "PEFT": lambda key: f"base_model.model.{bare(key)}",
    "PEFT on a pipeline's part": lambda key: f"base_model.model.{key}",
    "diffusers over PEFT": lambda key: f"transformer.base_model.model.{bare(key)}",
    "an adapter's name": lambda key: key.replace(".weight", ".default.weight"),
    "another adapter's name": lambda key: key.replace(".weight", ".corrector-2.weight"),
    "no prefix": bare,
    "no weight at the end": lambda key: key.removesuffix(".weight"),
    "ComfyUI": lambda key: f"diffusion_model.{bare(key)}",
    "ComfyUI's checkpoints": lambda key: f"model.diffusion_model.{bare(key)}",
    "DistributedDataParallel": lambda key: f"module.{bare(key)}",
    "torch.compile": lambda key: f"_orig_mod.{bare(key)}".replace("attn.", "attn._orig_mod."),
    "former diffusers": lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
    "down and up": lambda key: key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"),
    "kohya": kohya,
    "OneTrainer": lambda key: kohya(key, "lora_transformer_"),
    "LyCORIS": lambda key: kohya(key, "lycoris_"),
}


@pytest.mark.parametrize("style", NAMES)
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_a_corrector_is_the_corrector_whatever_its_keys_are_called(
    tmp_path: Path, transformer: Any, published: Tensors, style: str, alpha: float | None
) -> None:
    renamed = {NAMES[style](key): tensor for key, tensor in published.items()}
    assert renamed.keys() != published.keys()
    if alpha:
        for key in list(renamed):
            if match := re.match(r"(.+)\.lora(_|\.)(A|down)\b", key):
                renamed[f"{match[1]}.alpha"] = torch.tensor(alpha)
    plain, loaded = read(tmp_path, transformer, published), read(tmp_path, transformer, renamed)
    for (path, one), (_, two) in zip(plain.items(), loaded.items(), strict=True):
        assert torch.equal(one.down, two.down), path
        assert torch.equal(one.up, two.up), path
        assert two.alpha == (alpha or one.alpha), path


@pytest.mark.parametrize("style", ["former diffusers", "down and up"])
def test_former_names_are_read_as_diffusers_reads_them(
    tmp_path: Path, transformer: Any, published: Tensors, style: str
) -> None:
    renamed = {NAMES[style](key): tensor for key, tensor in published.items()}
    pipeline = tiny_pipeline()
    pipeline.load_lora_weights(str(write(tmp_path, renamed)))
    theirs = peft_deltas(pipeline.transformer, "default_0")
    assert_same(deltas(load_corrector_lora(tmp_path / "lora.safetensors", transformer)), theirs)


SETTINGS: dict[str, dict[str, Any]] = {
    "alpha": {"r": 4, "lora_alpha": 6},
    "no alpha, so PEFT's own": {"r": 4},
    "rsLoRA": {"r": 4, "lora_alpha": 4, "use_rslora": True},
    "alphas of their own": {"r": 4, "lora_alpha": 4, "alpha_pattern": {"to_q": 1, SINGLE: 9.5}},
    "the first pattern that fits": {
        "r": 4,
        "lora_alpha": 2,
        "alpha_pattern": {".*proj_mlp": 3, SINGLE: 9, f"^{DOUBLE}": 5},
    },
    "rsLoRA with patterns": {
        "r": 4,
        "lora_alpha": 2,
        "use_rslora": True,
        "alpha_pattern": {"norm.linear": 5},
    },
    "settings that are off": {"r": 4, "lora_alpha": 6, "use_dora": False, "bias": "none"},
    "an initialisation": {"r": 4, "lora_alpha": 6, "init_lora_weights": "gaussian"},
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_settings_in_the_header_mean_what_they_mean_in_diffusers(
    tmp_path: Path, transformer: Any, published: Tensors, case: str, prefix: str
) -> None:
    named = {f"{PREFIX}{name}": value for name, value in SETTINGS[case].items()}
    named[f"{PREFIX}target_modules"] = list(target_shapes(transformer))
    pipeline = tiny_pipeline()
    pipeline.load_lora_weights(str(write(tmp_path, published, named)))
    theirs = peft_deltas(pipeline.transformer, "default_0")
    ours = {key.replace(PREFIX, prefix, 1): value for key, value in named.items()}
    assert_same(deltas(read(tmp_path, transformer, published, ours)), theirs)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_a_folder_that_peft_saved_is_read_as_peft_computes(
    tmp_path: Path, transformer: Any, rank_stabilised: bool
) -> None:
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=list(target_shapes(transformer)),
        init_lora_weights=False,
        use_rslora=rank_stabilised,
        rank_pattern={"attn.to_q": 3, "proj_mlp": 7},
        alpha_pattern={"attn.to_q": 2, f"^{SINGLE}": 11},
    )
    trained = get_peft_model(tiny_transformer(), config)
    trained.save_pretrained(str(tmp_path))
    theirs = peft_deltas(trained.base_model.model, "default")
    assert {path for path, change in theirs.items() if change.any()} == set(theirs)
    assert_same(deltas(load_corrector_lora(tmp_path, transformer)), theirs)
    assert_same(deltas(load_corrector_lora(tmp_path / PEFT_FILE, transformer)), theirs)
    layer = load_corrector_lora(tmp_path, transformer).at(DOUBLE)
    assert layer is not None
    assert layer.rank == 3


def test_ranks_of_their_own_without_alphas_scale_by_one(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    tensors = dict(published)
    key = f"{PREFIX}{SINGLE}.lora"
    tensors[f"{key}_A.weight"] = torch.randn(6, 32)
    tensors[f"{key}_B.weight"] = torch.randn(128, 6)
    pipeline = tiny_pipeline()
    pipeline.load_lora_weights(str(write(tmp_path, tensors)))
    theirs = peft_deltas(pipeline.transformer, "default_0")
    assert_same(deltas(load_corrector_lora(tmp_path / "lora.safetensors", transformer)), theirs)


# -- Black Forest Labs' layout -------------------------------------------------------------------

BLOCKS = {"double": 19, "single": 38}  # diffusers converts only the true size
WIDE, RANK = 3072, 2


@pytest.fixture(scope="module")
def true_shapes() -> dict[str, tuple[int, int]]:
    with torch.device("meta"):
        return target_shapes(FluxTransformer2DModel(guidance_embeds=True))


@pytest.fixture(scope="module")
def fused(true_shapes: dict[str, tuple[int, int]]) -> Tensors:
    """A LoRA on the fused linears that hold the corrector's, in ComfyUI's naming."""
    torch.manual_seed(4)
    tensors = {}
    for path, targets in fused_paths(true_shapes).items():
        out, wide = sum(true_shapes[t][0] for t in targets), true_shapes[targets[0]][1]
        tensors[f"{path}.lora_A.weight"] = torch.randn(RANK, wide)
        tensors[f"{path}.lora_B.weight"] = torch.randn(out, RANK)
    return tensors


def fused_paths(shapes: dict[str, tuple[int, int]]) -> dict[str, list[str]]:
    found = {"img_in": ["x_embedder"]}
    for kind, table in (("double", DOUBLE_FUSED), ("single", SINGLE_FUSED)):
        before = "" if kind == "double" else "single_"
        for index in range(BLOCKS[kind]):
            for name, targets in table.items():
                paths = [f"{before}transformer_blocks.{index}.{target}" for target in targets]
                if set(paths) <= set(shapes):
                    found[f"{kind}_blocks.{index}.{name}"] = paths
    return found


def answers(factors: dict[str, tuple[Tensor, Tensor]]) -> Deltas:
    """What each LoRA makes of one vector, which is smaller than its change of a true weight."""
    found = {}
    for path, (down, up) in factors.items():
        vector = torch.randn(down.shape[1], generator=torch.Generator().manual_seed(5))
        found[path] = up.float() @ (down.float() @ vector) / len(vector) ** 0.5
    return found


def our_answers(lora: CorrectorLora) -> Deltas:
    return answers({p: (x.down * (x.alpha / x.rank), x.up) for p, x in lora.items()})


def their_answers(tensors: Tensors) -> Deltas:
    paths = {key.split(".lora_")[0] for key in tensors}
    return answers(
        {
            bare(path): (tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"])
            for path in paths
        }
    )


def comfyui_alphas(tensors: Tensors, alpha: float) -> Tensors:
    paths = {key.split(".lora_")[0] for key in tensors}
    return {f"{path}.alpha": torch.tensor(alpha) for path in paths}


@pytest.mark.parametrize("before", ["diffusion_model.", "lora_unet_"])
@pytest.mark.parametrize("alpha", [None, 3.0])
def test_fused_linears_are_read_as_diffusers_reads_them(
    tmp_path: Path, true_shapes: Any, fused: Tensors, before: str, alpha: float | None
) -> None:
    tensors = fused | (comfyui_alphas(fused, alpha) if alpha else {})
    if before == "lora_unet_":
        tensors = {_kohya(key): tensor for key, tensor in tensors.items()}
    else:
        tensors = {f"{before}{_downs(key)}": tensor for key, tensor in tensors.items()}
    lora = read_corrector_lora(write(tmp_path, tensors), true_shapes)
    theirs: Any = FluxPipeline.lora_state_dict(dict(tensors))
    assert len(theirs) == 2 * 343
    assert_same(our_answers(lora), their_answers(theirs))


def _downs(key: str) -> str:
    return key.replace("lora_A", "lora_down").replace("lora_B", "lora_up")


def _kohya(key: str) -> str:
    path, _, part = _downs(key).replace(".alpha", ".lora_alpha").partition(".lora_")
    ending = "alpha" if part == "alpha" else f"lora_{part}"
    return f"lora_unet_{path.replace('.', '_')}.{ending}"


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_black_forest_labs_own_names_are_read_as_diffusers_reads_them(
    tmp_path: Path, true_shapes: Any, fused: Tensors, prefix: str
) -> None:
    """diffusers needs more LoRAs there than a corrector has, and under PEFT's prefix no img_in."""
    lora = read_corrector_lora(
        write(tmp_path, {f"{prefix}{key}": tensor for key, tensor in fused.items()}), true_shapes
    )
    given = {**fused, **_other_linears()}
    if prefix:
        outside = ("double_blocks", "single_blocks", "final_layer.linear")
        given = {k: t for k, t in given.items() if k.startswith(outside) and ".norm." not in k}
    theirs: Any = FluxPipeline.lora_state_dict({f"{prefix}{k}": t for k, t in given.items()})
    compared = {k: t for k, t in theirs.items() if bare(k).split(".lora_")[0] in true_shapes}
    assert len(compared) == 2 * (342 if prefix else 343)
    found = their_answers(compared)
    assert_same(
        {path: change for path, change in our_answers(lora).items() if path in found}, found
    )


def _other_linears() -> Tensors:
    """Small LoRAs of the linears that the corrector leaves alone, and norms."""
    paths = ["txt_in", "final_layer.linear", "final_layer.adaLN_modulation.1"]
    for name in ("time_in", "vector_in", "guidance_in"):
        paths += [f"{name}.in_layer", f"{name}.out_layer"]
    parts = ("txt_mod.lin", "txt_attn.qkv", "txt_attn.proj", "txt_mlp.0", "txt_mlp.2", "img_mlp.0")
    paths += [f"double_blocks.{i}.{part}" for i in range(BLOCKS["double"]) for part in parts]
    small = {"A": (2, 6), "B": (6, 2)}
    found = {
        f"{p}.lora_{part}.weight": torch.ones(size) for p in paths for part, size in small.items()
    }
    for norm in ("query_norm", "key_norm"):
        for index in range(BLOCKS["double"]):
            for side in ("img", "txt"):
                found[f"double_blocks.{index}.{side}_attn.norm.{norm}.scale"] = torch.ones(128)
        for index in range(BLOCKS["single"]):
            found[f"single_blocks.{index}.norm.{norm}.scale"] = torch.ones(128)
    return found


def test_loras_that_a_tool_has_fused_come_apart_again(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    """kohya's converter puts query's, key's and value's factors on the diagonal of one."""
    tensors = dict(published)
    for block in range(2):
        parts = [f"{PREFIX}transformer_blocks.{block}.attn.to_{name}" for name in "qkv"]
        downs = [tensors.pop(f"{part}.lora_A.weight") for part in parts]
        ups = [tensors.pop(f"{part}.lora_B.weight") for part in parts]
        path = f"lora_unet_double_blocks_{block}_img_attn_qkv"
        tensors[f"{path}.lora_down.weight"] = torch.cat(downs)
        tensors[f"{path}.lora_up.weight"] = torch.block_diag(*ups)
    loaded, plain = read(tmp_path, transformer, tensors), read(tmp_path, transformer, published)
    assert_same(deltas(loaded), deltas(plain))
    layer = loaded.at(DOUBLE)
    assert layer is not None
    assert layer.rank == 4


# -- dtypes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"]
)
def test_weights_count_as_they_are_stored(
    tmp_path: Path, transformer: Any, published: Tensors, dtype: str
) -> None:
    stored = {key: tensor.to(getattr(torch, dtype)) for key, tensor in published.items()}
    meant = {key: tensor.to(torch.float32) for key, tensor in stored.items()}
    assert_same(
        deltas(read(tmp_path, transformer, stored)), deltas(read(tmp_path, transformer, meant)), 0
    )


@pytest.mark.parametrize(
    "alpha", [torch.tensor(2), torch.tensor([2]), torch.tensor(2.0, dtype=torch.float8_e4m3fn)]
)
def test_an_alpha_may_be_of_any_type(
    tmp_path: Path, transformer: Any, published: Tensors, alpha: Tensor
) -> None:
    layer = read(tmp_path, transformer, {**published, f"{PREFIX}{DOUBLE}.alpha": alpha}).at(DOUBLE)
    assert layer is not None
    assert layer.alpha == 2


# -- what is refused ------------------------------------------------------------------------------

BAD_SETTINGS: list[tuple[Any, str]] = [
    ([], "not a JSON object"),
    ({"lora_alpha": None}, "lora_alpha in .* is null, but must be a finite number"),
    ({"lora_alpha": "4"}, 'lora_alpha in .* is "4"'),
    ({"lora_alpha": True}, "lora_alpha in .* is true"),
    ({"lora_alpha": float("nan")}, "lora_alpha in .* is NaN"),
    ({"lora_alpha": 10**400}, "lora_alpha in .* is 1000"),
    ({"lora_alpha": 0}, "changes nothing, since its alpha is 0"),
    ({"r": 0}, "setting r in .* is 0, but must be a whole number"),
    ({"r": None}, "setting r in .* is null"),
    ({"r": 64}, "rank 64, but its weights have rank 4"),
    ({"rank_pattern": {"to_q": 9}}, "rank 9, but its weights have rank 4"),
    ({"alpha_pattern": [1]}, r"alpha_pattern in .* is \[1\], but must be an object"),
    ({"alpha_pattern": {"to_q": None}}, "alpha_pattern in .* is null"),
    ({"alpha_pattern": {"to_q(": 1}}, "must be of regular expressions"),
    ({"rank_pattern": "to_q"}, "rank_pattern in .* must be an object"),
    ({"use_rslora": "yes"}, 'use_rslora in .* is "yes", but must be true or false'),
    ({"use_dora": True}, "made with use_dora = true"),
    ({"peft_type": "VERA"}, 'made with peft_type = "VERA"'),
    ({"bias": "all"}, 'made with bias = "all"'),
    ({"init_lora_weights": "pissa"}, 'made with init_lora_weights = "pissa"'),
    ({"use_something_of_tomorrow": 3}, "made with use_something_of_tomorrow = 3"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_a_setting_that_changes_the_lora_is_refused_by_its_name(
    tmp_path: Path, transformer: Any, published: Tensors, settings: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, transformer, published, settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 4, "alpha_pattern": None, "rank_pattern": None},
        {"r": 4, "lora_alpha": 4, "peft_type": "LORA"},
        {"r": 4, "lora_alpha": 4, "use_rslora": None, "something_of_tomorrow": None},
        {"r": 4, "lora_alpha": 4, "text_encoder.lora_alpha": 1, "lora_dropout": 0.5},
        {"r": 4, "lora_alpha": 4, "init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
    ],
)
def test_settings_that_say_nothing_change_nothing(
    tmp_path: Path, transformer: Any, published: Tensors, settings: dict[str, Any]
) -> None:
    loaded = read(tmp_path, transformer, published, settings)
    assert {layer.alpha / layer.rank for _, layer in loaded.items()} == {1.0}


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "lora_magnitude_vector.default.weight"])
@pytest.mark.parametrize("settings", [None, {"r": 4, "lora_alpha": 4}])
def test_magnitudes_are_refused_whether_the_settings_speak_of_dora_or_not(
    tmp_path: Path, transformer: Any, published: Tensors, name: str, settings: Any
) -> None:
    tensors = {**published, f"{PREFIX}{DOUBLE}.{name}": torch.ones(32)}
    with pytest.raises(InputError, match="trained as DoRA"):
        read(tmp_path, transformer, tensors, settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{DOUBLE}.dora_scale": torch.ones(32, 1)}, "trained as DoRA"),
        ({f"{DOUBLE}.lora_B.bias": torch.ones(32)}, "trained as lora_bias"),
        ({f"{DOUBLE}.lora_A.one.weight": torch.ones(4, 32)}, "same layer twice"),
        ({"text_encoder.layer.lora_A.weight": torch.ones(4, 4)}, "beside those of a corrector"),
        ({f"{DOUBLE}.lora_mid.weight": torch.ones(4, 4)}, "another adapter.*lora_mid"),
        ({f"{DOUBLE}.lokr_w1": torch.ones(4, 4)}, "another adapter.*lokr_w1"),
        ({f"{PREFIX}{DOUBLE}.lora_A.weight": torch.ones(4, 32).to(torch.int8)}, "stored as int8"),
    ],
)
def test_what_is_more_or_other_than_a_lora_is_refused_by_its_name(
    tmp_path: Path, transformer: Any, published: Tensors, changes: Tensors, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, transformer, {**published, **changes})


def test_a_fused_linear_beside_one_of_its_parts_is_refused(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    path = "diffusion_model.double_blocks.0.img_attn.qkv"
    tensors = {f"{path}.lora_A.weight": torch.ones(4, 32)}
    tensors[f"{path}.lora_B.weight"] = torch.ones(96, 4)
    with pytest.raises(InputError, match=f"same layer twice: .*{re.escape(DOUBLE)}"):
        read(tmp_path, transformer, {**published, **tensors})


def test_two_statements_of_the_scale_are_refused(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    tensors = {**published, f"{PREFIX}{DOUBLE}.alpha": torch.tensor(4.0)}
    with pytest.raises(InputError, match=r"alpha beside its weights .* and use_rslora"):
        read(tmp_path, transformer, tensors, {"r": 4, "lora_alpha": 4, "use_rslora": True})


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"\xff\xfe"])
def test_damaged_settings_beside_pefts_file_are_refused(
    tmp_path: Path, transformer: Any, published: Tensors, damaged: bytes
) -> None:
    write(tmp_path, published).rename(tmp_path / PEFT_FILE)
    (tmp_path / PEFT_SETTINGS).write_bytes(damaged)
    with pytest.raises(InputError, match=PEFT_SETTINGS):
        load_corrector_lora(tmp_path, transformer)


def test_the_settings_beside_pefts_file_belong_to_its_identity(tmp_path: Path) -> None:
    file, settings = tmp_path / PEFT_FILE, tmp_path / PEFT_SETTINGS
    found = []
    for text in (None, '{"lora_alpha": 1}', '{"lora_alpha": 2}'):
        file.write_bytes(b"weights")
        if text:
            settings.write_text(text)
        found.append(identity(ActorChoice(lora=str(file)))["lora"])
    assert len(set(found)) == 3
    assert found[0] == digest(file)


def test_the_published_name_comes_before_pefts(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    write(tmp_path, {"x": torch.ones(1)}).rename(tmp_path / PEFT_FILE)
    write(tmp_path, published).rename(tmp_path / FILE_NAME)
    assert_same(
        deltas(load_corrector_lora(tmp_path, transformer)),
        deltas(read(tmp_path, transformer, published)),
        0,
    )


def test_nobody_is_told_to_put_a_corrector_upon_flux_itself(
    tmp_path: Path, transformer: Any, published: Tensors
) -> None:
    odd = {f"somebody's.{key}": tensor for key, tensor in published.items()}
    with pytest.raises(InputError) as refused:
        read(tmp_path, transformer, odd)
    assert "FLUX itself" not in str(refused.value)
