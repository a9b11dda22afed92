"""Loads pipelines of diffusers and places their weights, and makes painters of them."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..flux.folders import VARIANTS, first_line, weight_files
from ..flux.load import DTYPES, check_loaded, load_encoder
from ..flux.placement import PLANS, choose_plan, device_named, total_bytes
from ..flux.settings import SamplingSettings
from ..protocols import Painter
from ..record import InputError
from ..settings import check_choice
from ..vlm.folder import without_videos
from .defaults import defaults_of
from .kinds import (
    Kind,
    arguments_of,
    check_editor,
    check_painter,
    has_weights,
    kind_of,
    library_class,
    parts_of,
    repainting,
)
from .painter import PipelineEditor, PipelineGenerator, PipelineRepainter, able


class PipelineLoader:
    """Loads each source once, whether it paints, edits or both, and places all of them together."""

    def __init__(
        self, dtype: str | None = None, device: str | None = None, plan: str | None = None
    ) -> None:
        check_choice("dtype", dtype or "bf16", DTYPES)
        check_choice("plan", plan or "auto", PLANS)
        self.dtype, self.plan = DTYPES[dtype or "bf16"], plan or "auto"
        self.device = device_named(device)
        self._loaded: dict[str, Any] = {}

    def generator(self, kind: Kind, sampling: SamplingSettings | None) -> Painter:
        """The painter of drafts; repaints from a level of noise where diffusers can."""
        check_painter(kind)
        defaults, pipeline = defaults_of(kind), self._pipeline(kind)
        sampling = sampling or defaults.sampling
        repainter = None
        if repainting(kind):
            repainter = PipelineRepainter(*_repaints(pipeline, kind), defaults, sampling)
        painter = PipelineGenerator(pipeline, kind, defaults, sampling, repainter)
        return able(painter, pipeline.scheduler, restarts=repainter is not None)

    def editor(
        self, kind: Kind, steps: int | None = None, guidance: float | None = None
    ) -> Painter:
        """The painter of corrections: an editing pipeline, or image to image."""
        check_editor(kind)
        defaults, pipeline = defaults_of(kind), self._pipeline(kind)
        asked = {"steps": steps, "guidance": guidance}
        given = {name: value for name, value in asked.items() if value is not None}
        sampling = replace(defaults.sampling, **given)
        if kind.edits:
            painter = PipelineEditor(pipeline, kind, defaults, sampling)
        else:
            painter = PipelineRepainter(*_repaints(pipeline, kind), defaults, sampling)
        return able(painter, pipeline.scheduler, restarts=False)

    def place(self) -> None:
        """Moves everything that was loaded to the device, or prepares its moves."""
        place([*self._loaded.values()], self.plan, self.device)

    def _pipeline(self, kind: Kind) -> Any:
        key = str(Path(kind.source).resolve()) if kind.folder else kind.source
        if key not in self._loaded:
            self._loaded[key] = load_pipeline(kind, self.dtype)
        return self._loaded[key]


def load_pipeline(kind: Kind, dtype: torch.dtype) -> Any:
    """The pipeline with its weights in host memory; raises InputError where it does not load."""
    folder, given = kind.folder, dict[str, Any]()
    try:
        with _old_dtype_name():
            if folder is not None:
                variant = _variant(kind)
                encoders = _encoders(kind, dtype, variant)
                given = {**_processors(kind), **encoders, "variant": variant}
            pipeline = library_class("diffusers", kind.name, kind.source).from_pretrained(
                str(folder or kind.source),
                torch_dtype=dtype,
                local_files_only=folder is not None,
                **given,
            )
    except (OSError, ValueError, ImportError, RuntimeError, TypeError) as error:
        raise InputError(
            f"The {kind.name} in {kind.source} could not be loaded: {first_line(error)} "
            "Download the folder again, or update diffusers and transformers."
        ) from error
    check_loaded(modules_of(pipeline), kind.source)
    pipeline.set_progress_bar_config(disable=True)  # a search has its own
    for module in modules_of(pipeline).values():
        module.eval().requires_grad_(False)
    vae = getattr(pipeline, "vae", None)  # some models paint pixels
    if vae is not None and hasattr(vae, "enable_slicing"):
        vae.enable_slicing()  # one picture at a time, so that memory stays flat
    return pipeline


def modules_of(pipeline: Any) -> dict[str, nn.Module]:
    """Every part with weights, by name."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def place(pipelines: Sequence[Any], plan: str, device: torch.device) -> None:
    """Places the weights as a plan of FLUX's placement says, by diffusers' own means.

    "phased" has one part on the device at a time, "streamed" one layer. On the CPU all plans leave
    the weights where they are.
    """
    if device.type == "cpu":
        return
    if plan == "auto":
        plan = plan_for(pipelines, device)
    for pipeline in pipelines:
        if plan == "resident":
            pipeline.to(device)
        elif plan == "phased":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_group_offload(
                onload_device=device,
                offload_type="leaf_level",
                use_stream=device.type == "cuda",
            )


def plan_for(pipelines: Sequence[Any], device: torch.device) -> str:
    """The fastest plan for the device's free memory."""
    if device.type != "cuda":
        return "resident"
    sizes = {
        f"{number} {name}": total_bytes([*module.parameters(), *module.buffers()])
        for number, pipeline in enumerate(pipelines)
        for name, module in modules_of(pipeline).items()
    }
    return choose_plan(torch.cuda.mem_get_info(device)[0], sizes)


def painters(
    kind: Kind, sampling: SamplingSettings | None, corrects: bool, edit: Kind | None, **how: Any
) -> tuple[Painter, Painter | None]:
    """The generator of a search and, if pictures are corrected, the editor.

    `how` are `dtype`, `device`, `plan`, `edit_steps` and `edit_guidance`. A pipeline that can also
    edit corrects its own pictures if no editor is given, with the same sampling as its drafts.
    Raises InputError if nothing can correct.
    """
    steps, guidance = how.pop("edit_steps", None), how.pop("edit_guidance", None)
    loader = PipelineLoader(**how)
    check_painter(kind)
    editing = edit or kind
    if corrects:
        if edit is None and not kind.edits:
            raise InputError(
                f"{kind.source} holds a {kind.name}, which cannot edit the pictures that this "
                "strategy corrects. Give an editing model with --edit-model FOLDER (the same "
                "folder is image to image, if diffusers has that), or choose --strategy noise."
            )
        check_editor(editing)
    generator = loader.generator(kind, sampling)
    if edit is None and sampling is not None:
        steps, guidance = sampling.steps, sampling.guidance
    corrector = loader.editor(editing, steps, guidance) if corrects else None
    loader.place()
    return generator, corrector


def editor_alone(source: str, steps: int | None, guidance: float | None, **how: Any) -> Painter:
    """The editor for pictures that another kind of model paints."""
    loader = PipelineLoader(**how)
    editor = loader.editor(kind_of(source), steps, guidance)
    loader.place()
    return editor


@contextmanager
def _old_dtype_name() -> Iterator[None]:
    """Newer releases of diffusers call it dtype; the older name works in all of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated")
        yield


def _repaints(pipeline: Any, kind: Kind) -> tuple[Any, Kind]:
    """The same parts as an image-to-image pipeline, of a kind that has one."""
    name = repainting(kind)
    assert name is not None
    if name == kind.name:
        return pipeline, kind
    cls = library_class("diffusers", name, kind.source)
    with _old_dtype_name():
        changed = cls.from_pipe(pipeline, torch_dtype=pipeline.dtype)
    changed.set_progress_bar_config(disable=True)
    return changed, replace(kind, name=name, arguments=arguments_of(kind.source, name))


def _processors(kind: Kind) -> dict[str, Any]:
    """Processors of vision-language models without the part that needs torchvision, if missing."""
    if importlib.util.find_spec("torchvision") or kind.folder is None:
        return {}
    return {
        name: without_videos(library_class(library, cls, kind.source)).from_pretrained(
            str(kind.folder / name), local_files_only=True
        )
        for name, library, cls in parts_of(kind)
        if cls.startswith("Qwen") and cls.endswith("VLProcessor")
    }


def _encoders(kind: Kind, dtype: torch.dtype, variant: str | None) -> dict[str, nn.Module]:
    """The parts of transformers that have weights, with all of them."""
    assert kind.folder is not None
    return {
        name: load_encoder(
            library_class(library, cls, kind.source), kind.folder / name, dtype, variant=variant
        )
        for name, library, cls in parts_of(kind)
        if library == "transformers" and has_weights(cls)
    }


def _variant(kind: Kind) -> str | None:
    """The variant of a folder's weights, where some part has no others."""
    assert kind.folder is not None
    for part in (kind.folder / name for name, _, cls in parts_of(kind) if has_weights(cls)):
        names = [file.name for file in weight_files(part)]
        for variant in VARIANTS:
            if names and all(f".{variant}" in name for name in names):
                return variant
    return None
