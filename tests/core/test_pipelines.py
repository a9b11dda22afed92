"""Pipelines of diffusers without ComfyUI: `pytest tests/core/test_pipelines.py`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from asking import corrections, drafts, restarts
from core.tiny_pipelines import TINY, make
from PIL import Image

from reflectionflow_core.cli import main
from reflectionflow_core.cli.unloaded import unloaded
from reflectionflow_core.flux.settings import SamplingSettings
from reflectionflow_core.painters import check_size
from reflectionflow_core.pipelines import load
from reflectionflow_core.pipelines.defaults import defaults_of
from reflectionflow_core.pipelines.kinds import kind_of
from reflectionflow_core.pipelines.load import PipelineLoader, painters
from reflectionflow_core.pipelines.painter import PipelineGenerator, strength_of
from reflectionflow_core.pipelines.wording import edit_text
from reflectionflow_core.protocols import Previewing, Restarting, Silent
from reflectionflow_core.record import InputError, Neighbour, Restart
from reflectionflow_core.registry import build_actors, choice_of, model_named
from reflectionflow_core.settings import SearchSettings

PAINTERS = ("z_image", "klein", "flux2", "qwen_image", "sd3", "sdxl", "sd15")
SIDE, STEPS, PROMPT = 64, 3, "a red circle"
SMALL = SamplingSettings(SIDE, SIDE, STEPS, 3.0)
GREY = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory) -> Callable[[str], Path]:
    """Where the tiny pipeline of a name is saved."""
    root = tmp_path_factory.mktemp("pipelines")

    def saved(name: str) -> Path:
        if not (root / name).exists():
            make(name).save_pretrained(root / name)
        return root / name

    return saved


def generator_in(folder: Path, sampling: SamplingSettings = SMALL) -> Any:
    how = {"dtype": "fp32", "device": "cpu"}
    return painters(kind_of(str(folder)), sampling, corrects=False, edit=None, **how)[0]


def stock(name: str, seeds: list[int], **more: Any) -> list[Image.Image]:
    """What diffusers itself paints."""
    pipeline = make(name)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    knob = {"true_cfg_scale": 3.0, "negative_prompt": [" "] * len(seeds)}
    asked = knob if "qwen" in name else {"guidance_scale": 3.0}
    asked |= {"width": SIDE, "height": SIDE, "num_inference_steps": STEPS, **more}
    return pipeline(prompt=[PROMPT] * len(seeds), generator=generators, **asked).images


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", PAINTERS)
def test_a_draft_is_the_stock_pipelines_picture_for_the_same_noise(folder_of, name: str) -> None:
    painter = generator_in(folder_of(name))
    (alone,) = painter.paint(drafts([PROMPT], [7]))
    assert same(alone, stock(name, [7])[0])
    assert max(high - low for low, high in alone.getextrema()) > 20  # it is a picture
    both = painter.paint(drafts([PROMPT, PROMPT], [8, 7]))
    assert np.abs(np.asarray(both[1], int) - np.asarray(alone, int)).max() <= 1
    assert not same(both[0], both[1])


@pytest.mark.parametrize("name", ["kontext", "klein", "flux2", "qwen_edit", "qwen_edit_plus"])
def test_a_correction_is_the_stock_editing_pipelines_picture(folder_of, name: str) -> None:
    loader = PipelineLoader("fp32", "cpu")
    editor = loader.editor(kind_of(str(folder_of(name))), STEPS, 3.0)
    (edited,) = editor.paint(corrections([GREY], [PROMPT], ["make it red"], [7]))
    more: dict[str, Any] = {"prompt": edit_text(PROMPT, "make it red")}
    if name == "kontext":
        more |= {"max_area": SIDE * SIDE, "_auto_resize": False}
    pipeline = loader._loaded[str(folder_of(name))]
    guided = {"true_cfg_scale": 3.0, "negative_prompt": " "}
    expected = pipeline(
        image=[GREY] if name == "qwen_edit_plus" else GREY,
        generator=torch.Generator("cpu").manual_seed(7),
        **(guided if "qwen" in name else {"guidance_scale": 3.0}),
        **{"width": SIDE, "height": SIDE, "num_inference_steps": STEPS, **more},
    ).images[0]
    assert same(edited, expected)


@pytest.mark.parametrize("name", ["sd3", "sdxl", "sd15", "z_image", "qwen_image"])
def test_a_restart_is_image_to_image_with_a_share_of_the_steps(folder_of, name: str) -> None:
    painter = generator_in(folder_of(name))
    assert isinstance(painter, PipelineGenerator)
    taken: list[int] = []
    again = painter.paint(restarts([GREY], [PROMPT], [Restart(5, 0.7)]), Counted(taken))
    assert max(taken) == painter.steps_from(0.7) == 2 or name == "sd15"  # PNDM takes one more
    assert again[0].size == (SIDE, SIDE)
    assert same(again[0], painter.paint(restarts([GREY], [PROMPT], [Restart(5, 0.7)]))[0])


class Counted(Silent):
    """A Progress that keeps the steps, and stops at one of them."""

    def __init__(self, taken: list[int], stop: int | None = None) -> None:
        self.taken, self.stop = taken, stop

    def report(self, phase: str, done: int, total: int, preview: Any = None) -> None:
        self.taken.append(done)

    def check(self) -> None:
        if self.stop is not None and len(self.taken) >= self.stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def painter(folder_of) -> PipelineGenerator:
    return generator_in(folder_of("z_image"))


def test_a_cancelled_call_stops_after_its_step_and_the_painter_stays_usable(painter) -> None:
    taken: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        painter.paint(drafts([PROMPT], [1]), Counted(taken, stop=2))
    assert taken == [1, 2]
    assert same(painter.paint(drafts([PROMPT], [7]))[0], stock("z_image", [7])[0])


def test_a_neighbours_noise_lies_between_two_and_a_radius_of_nought_moves_nothing(painter) -> None:
    def paint(seed: Any) -> Image.Image:
        return painter.paint(drafts([PROMPT], [seed]))[0]

    assert same(paint(Neighbour(7, 9, 0.0)), paint(7))
    assert same(paint(Neighbour(7, 9, 1.0)), paint(9))
    near = np.abs(np.asarray(paint(Neighbour(7, 9, 0.1)), int) - np.asarray(paint(7), int)).mean()
    assert 0 < near < np.abs(np.asarray(paint(9), int) - np.asarray(paint(7), int)).mean()


@pytest.mark.parametrize("name", ["z_image", "sdxl", "flux2"])
def test_a_preview_shows_the_clean_picture_that_the_last_steps_agree_on(folder_of, name) -> None:
    sampling = SamplingSettings(SIDE, SIDE, 40, 0.0)
    painter = generator_in(folder_of(name), sampling)
    assert isinstance(painter, Previewing)
    (look,) = painter.preview(drafts([PROMPT], [7]))
    assert look.image.size == (SIDE, SIDE)
    assert isinstance(painter, Restarting) is (name != "flux2")


def test_the_prediction_after_the_last_step_is_the_picture(painter) -> None:
    from reflectionflow_core.pipelines.watching import watched

    predictions: list[Any] = []
    ends: list[Any] = []

    def keep(*now: Any) -> Any:
        ends.append(now[-1]["latents"])
        return now[-1]

    with watched(painter.pipeline.scheduler, predictions.append):
        painter.pipeline(PROMPT, SIDE, SIDE, STEPS, guidance_scale=0.0, callback_on_step_end=keep)
    assert len(predictions) == STEPS
    assert torch.allclose(predictions[-1], ends[-1].float(), atol=1e-5)
    assert not torch.allclose(predictions[0], ends[0].float(), atol=1e-2)


def test_image_to_image_takes_exactly_the_steps_that_are_counted() -> None:
    for steps in range(1, 101):
        for painted in range(1, steps + 1):
            down, up = (strength_of(steps, painted, rounds_down) for rounds_down in (True, False))
            assert 0 < up < down <= 1
            assert int(steps * down) == painted
            assert steps - int(max(steps - steps * up, 0)) == painted


@pytest.mark.parametrize(
    ("name", "steps", "guidance", "side"),
    [
        ("z_image", 8, 0.0, 1024),
        ("klein", 4, 1.0, 1024),
        ("flux2", 50, 4.0, 1024),
        ("qwen_image", 50, 4.0, 1024),
        ("sd3", 28, 7.0, 64),
        ("sdxl", 50, 5.0, 64),
        ("kontext", 28, 2.5, 1024),
    ],
)
def test_a_family_paints_as_its_makers_say(folder_of, name, steps, guidance, side) -> None:
    found = defaults_of(kind_of(str(folder_of(name)))).sampling
    assert (found.steps, found.guidance, found.width) == (steps, guidance, side)
    assert model_named(str(folder_of(name))).sampling == found


def test_few_steps_are_told_by_the_schedule_the_index_or_the_name(folder_of, tmp_path) -> None:
    base = shutil.copytree(folder_of("z_image"), tmp_path / "z")
    config = base / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "shift": 6.0}))
    assert defaults_of(kind_of(str(base))).sampling.steps == 50
    turbo = shutil.copytree(folder_of("sdxl"), tmp_path / "turbo" / "sdxl-turbo")
    plain = shutil.copytree(folder_of("sdxl"), tmp_path / "turbo" / "sdxl")
    assert defaults_of(kind_of(str(turbo))).sampling.steps == 4
    assert defaults_of(kind_of(str(plain))).sampling.steps == 50


def test_a_hub_id_has_its_makers_settings_before_its_weights_are_there(tmp_path, monkeypatch):
    files = {
        "model_index.json": {"_class_name": "StableDiffusionPipeline"},
        "unet/config.json": {"sample_size": 64},
        "vae/config.json": {"block_out_channels": [1, 1, 1, 1]},
    }

    def fetched(source: str, name: str) -> str:
        if name not in files:
            raise FileNotFoundError(name)
        file = tmp_path / name.replace("/", "-")
        file.write_text(json.dumps(files[name]))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    assert defaults_of(kind_of("maker/small-one")).sampling.size == (512, 512)
    files["model_index.json"] = {"_class_name": "FluxPipeline"}
    files["transformer/config.json"] = {"guidance_embeds": False}
    assert defaults_of(kind_of("maker/few-steps")).sampling.steps == 4


@pytest.mark.parametrize(
    ("option", "name", "why"),
    [
        ({"lora": "x.safetensors"}, "z_image", "--lora has no effect .*--edit-model"),
        ({"condition_size": 256}, "sdxl", "--condition-size has no effect"),
        ({"transformer": "x"}, "sd3", "--transformer has no effect"),
        ({"guidance": 3.0}, "klein", "--guidance has no effect .* without guidance"),
    ],
)
def test_an_option_without_effect_is_refused(folder_of, option, name, why) -> None:
    with pytest.raises(InputError, match=why):
        choice_of({"model": str(folder_of(name)), **option})


@pytest.mark.parametrize("size", [(48, 64), (1024, 64)])
def test_a_size_that_cannot_be_edited_is_refused_before_anything_is_loaded(folder_of, size) -> None:
    models = {"model": str(folder_of("z_image")), "edit_model": str(folder_of("klein"))}
    for given in (models, {"model": models["edit_model"]}):
        choice = choice_of({**given, "size": size})
        with pytest.raises(InputError, match=r"cannot edit pictures of \d+x64: .* --size, or"):
            build_actors(choice, SearchSettings(width=1, depth=1))
        with pytest.raises(InputError, match="cannot edit pictures"):
            unloaded(choice, SearchSettings(width=1, depth=1))
        check_size(choice, corrects=False)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"_class_name": "WanPipeline"}, "makes videos. Give a text-to-image folder"),
        ({"_class_name": "StableAudioPipeline"}, "makes sound. Give"),
        ({"_class_name": "FluxFillPipeline"}, "fills in a part of a picture. Give"),
        ({"_class_name": "StableDiffusionXLInpaintPipeline"}, "fills in a part of a picture"),
        ({"_class_name": "FluxControlPipeline"}, "follows a control picture. Give"),
        ({"_class_name": "StableDiffusionControlNetPipeline"}, "follows a control picture"),
        ({"_class_name": "TomorrowPipeline"}, "diffusers .* does not have. Update it: pip"),
        ({"_class_name": ["pipe", "Mine"]}, "asks to run program code of its own"),
        ({}, "names no pipeline. Download it again"),
    ],
)
def test_other_kinds_are_refused_before_anything_is_loaded(tmp_path, index, message) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=message):
        model_named(str(tmp_path))


def test_an_editing_folder_paints_no_drafts_and_a_painting_one_edits_nothing(folder_of) -> None:
    loader = PipelineLoader("fp32", "cpu")
    with pytest.raises(InputError, match=r"edits pictures and paints none.*--edit-model"):
        loader.generator(kind_of(str(folder_of("qwen_edit"))), SMALL)
    kind = kind_of(str(folder_of("z_image")))
    with pytest.raises(InputError, match=r"cannot edit .*--edit-model FOLDER .* --strategy noise"):
        painters(kind, SMALL, corrects=True, edit=None, dtype="fp32", device="cpu")
    _, corrector = painters(kind, SMALL, True, kind, dtype="fp32", device="cpu", edit_steps=5)
    assert corrector is not None
    assert corrector.steps == 3  # the same folder: image to image, with a share of the steps
    (seen,) = corrector.paint(corrections([GREY], [PROMPT], ["make it red"], [7]))
    assert not same(seen, GREY)


def test_a_single_file_and_a_folder_without_an_index_are_refused(tmp_path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"is a single file\. Give a folder .* --transformer"):
        model_named(str(file))
    with pytest.raises(InputError, match=r"has no model_index.json. Give a folder"):
        model_named(str(tmp_path))


@pytest.mark.parametrize("part", ["transformer", "tokenizer", "vae"])
def test_a_missing_or_damaged_part_is_named(folder_of, tmp_path, part: str) -> None:
    folder = shutil.copytree(folder_of("z_image"), tmp_path / "z")
    if part == "vae":
        (file,) = (folder / part).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-10])
    else:
        shutil.rmtree(folder / part)
    with pytest.raises(InputError, match=rf"{part}.*Download (it|the folder) again"):
        generator_in(folder)


def test_a_pipeline_that_paints_pixels_without_a_vae_is_loaded(folder_of, monkeypatch) -> None:
    class Pixels:
        components: ClassVar[dict[str, Any]] = {}
        from_pretrained = classmethod(lambda cls, *_, **__: cls())

        def set_progress_bar_config(self, disable: bool) -> None: ...

    monkeypatch.setattr(load, "library_class", lambda *_: Pixels)
    monkeypatch.setattr(load, "_encoders", lambda *_: {})
    assert isinstance(load.load_pipeline(kind_of(str(folder_of("sd15"))), torch.float32), Pixels)


def test_a_part_that_this_transformers_does_not_know_asks_for_a_newer_one(folder_of, tmp_path):
    folder = shutil.copytree(folder_of("z_image"), tmp_path / "z")
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"][1] = "Qwen9Model"
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"needs a Qwen9Model.*pip install -U transformers"):
        generator_in(folder)


def test_a_text_beyond_the_tokenizers_limit_is_cut_aloud(folder_of) -> None:
    painter = generator_in(folder_of("sdxl"))
    with pytest.warns(UserWarning, match=r"tokens long, but StableDiffusionXLPipeline takes 77"):
        painter.paint(drafts(["red " * 50], [1]))


KILLED = """
import os, signal, sys
from reflectionflow_core.archive import Archive
from reflectionflow_core.cli import main

keep = Archive.append

def append(archive, history):
    keep(archive, history)
    if len(history) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Archive.append = append
main()
"""


def test_a_killed_run_with_an_editing_model_ends_with_the_pictures_of_one_that_ran_through(
    folder_of, tmp_path: Path
) -> None:
    """It is killed after its first correction, and goes on with the second."""

    def asked(out: str) -> list[str]:
        models = ["--model", str(folder_of("z_image")), "--edit-model", str(folder_of("klein"))]
        small = "--width 2 --depth 1 --batch-size 1 --size 64x64 --dtype fp32 --device cpu"
        steps = "--strategy reflection --steps 2 --edit-steps 2 --verifier exact"
        return [
            "run",
            PROMPT,
            "--out",
            str(tmp_path / out),
            *models,
            *small.split(),
            *steps.split(),
        ]

    def kept(out: str) -> dict[str, bytes]:
        files = [tmp_path / out / "history.jsonl", *(tmp_path / out / "images").iterdir()]
        return {file.name: file.read_bytes() for file in files}

    root = Path(__file__).parents[2]
    died = subprocess.run(
        [sys.executable, "-c", KILLED, *asked("killed")],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    assert len(kept("killed")["history.jsonl"].splitlines()) == 3
    assert main(["run", "--out", str(tmp_path / "killed"), "--resume"]) == 0
    assert main(asked("whole")) == 0
    assert kept("killed") == kept("whole") and len(kept("whole")) == 5


def test_every_tiny_pipeline_is_tried() -> None:
    assert {*PAINTERS, "kontext", "qwen_edit", "qwen_edit_plus"} == {*TINY}


def test_a_repaint_with_nothing_to_change_asks_for_no_change() -> None:
    assert edit_text(PROMPT, "", unchanged=True).startswith("Paint the same picture again")
    assert edit_text(PROMPT, "").startswith("Change whatever does not fit")
