"""What a folder of diffusers holds: which pipeline, what it can do, whether it is complete.

Reads small files and the signature of the pipeline's class; loads no weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from ..flux.folders import check_weights, first_line, local_folder, read_json, weight_files
from ..record import InputError
from ..texts import no_folder

INDEX = "model_index.json"
FLUX = "FluxPipeline"
# They take pictures, but do not need one; all others that edit do.
PAINT_AND_EDIT = (
    "FluxKontextPipeline",
    "Flux2Pipeline",
    "Flux2KleinPipeline",
    "QwenImage21Pipeline",
    "ZImageOmniPipeline",
    "GlmImagePipeline",
)
SEVERAL = (  # pictures at once
    "Flux2Pipeline",
    "Flux2KleinPipeline",
    "QwenImageEditPlusPipeline",
    "QwenImage21Pipeline",
    "ZImageOmniPipeline",
)
# What a pipeline is for that has one of these arguments, and more than words and a picture to ask.
OTHER_KINDS = {
    "makes videos": ("num_frames", "video_length", "video", "frames", "control_video"),
    "makes sound": (
        "audio_length_in_s",
        "audio_end_in_s",
        "audio_duration",
        "audio_duration_s",
        "audio",
        "num_waveforms_per_prompt",
    ),
    "writes texts": ("gen_length",),
    "fills in a part of a picture": ("mask_image", "mask"),
    "follows a control picture": (
        "control_image",
        "control_mode",
        "adapter_conditioning_scale",
        "controlnet_conditioning_scale",
    ),
}
GIVE_IMAGE_MODEL = "Give a text-to-image folder, such as one of FLUX, Qwen-Image, Z-Image or SDXL"
GIVE_EDITOR = (
    "Give FLUX.1 Kontext, FLUX.2, Qwen-Image-Edit or a model that diffusers knows image to image "
    "for"
)
NO_WEIGHTS = ("Tokenizer", "TokenizerFast", "TokenizersBackend", "Processor", "Extractor")


@dataclass(frozen=True, slots=True)
class Kind:
    """The pipeline in a folder or of a hub id; `arguments` of its call, with their defaults."""

    source: str
    name: str  # of its class
    index: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @property
    def folder(self) -> Path | None:
        return local_folder(self.source)

    @property
    def takes_picture(self) -> bool:
        return "image" in self.arguments

    @property
    def repaints(self) -> bool:
        """Whether it is image to image, which begins with a picture under noise."""
        return self.takes_picture and "strength" in self.arguments

    @property
    def paints(self) -> bool:
        return not self.takes_picture or self.name in PAINT_AND_EDIT

    @property
    def edits(self) -> bool:
        return self.takes_picture and not self.repaints

    @property
    def takes_several(self) -> bool:
        return self.name in SEVERAL


def part_of(source: str, part: str, file: str) -> Mapping[str, Any]:
    """What a JSON file of a part says, fetched for a hub id; empty where the source has none."""
    folder = local_folder(source)
    if folder is not None:
        path = folder / part / file
        return read_json(path) if path.is_file() else {}
    within_reach = _hub_json(source, INDEX) is not None
    return (within_reach and _hub_json(source, f"{part}/{file}")) or {}


def kind_of(source: str) -> Kind:
    """The kind of a folder or a hub id; raises InputError if it is not an image pipeline."""
    index = index_of(source)
    if index is None:
        raise InputError(
            f"{source} is not on the Hugging Face hub, or not within reach. Check the name, or "
            "give a folder in the diffusers layout."
        )
    name = class_name(source, index)
    return Kind(source, name, index, arguments_of(source, name))


def index_of(source: str) -> Mapping[str, Any] | None:
    """What model_index.json says; None for a hub id that is out of reach."""
    folder = local_folder(source)
    return _hub_json(source, INDEX) if folder is None else _folder_index(folder)


@lru_cache
def _hub_json(source: str, file: str) -> Mapping[str, Any] | None:
    from huggingface_hub import hf_hub_download

    try:
        return read_json(Path(hf_hub_download(source, file)))
    except (OSError, ValueError):  # whoever loads it says what is wrong
        return None


def _folder_index(folder: Path) -> Mapping[str, Any]:
    if folder.is_file():
        raise InputError(
            f"{folder} is a single file. Give a folder in the diffusers layout; a fine-tuned "
            "FLUX.1 transformer goes to --transformer, beside --model FOLDER."
        )
    if not folder.is_dir():
        raise no_folder(folder, "Give a folder in the diffusers layout, or a hub id.")
    if not (folder / INDEX).is_file():
        raise InputError(
            f"{folder} has no {INDEX}. Give a folder in the diffusers layout, the one that holds "
            "transformer or unet, vae and text_encoder."
        )
    return read_json(folder / INDEX)


def class_name(source: str, index: Mapping[str, Any]) -> str:
    name = index.get("_class_name")
    if isinstance(name, str):
        return name
    if name is None:
        raise InputError(f"The {INDEX} of {source} names no pipeline. Download it again.")
    raise InputError(
        f"{source} asks to run program code of its own ({name}), which is not done here. "
        f"{GIVE_IMAGE_MODEL}."
    )


def arguments_of(source: str, name: str) -> Mapping[str, Any]:
    """The arguments of a pipeline's call and their defaults; raises InputError for other kinds."""
    parameters = inspect.signature(library_class("diffusers", name, source).__call__).parameters
    for purpose, marks in OTHER_KINDS.items():
        if any(mark in parameters for mark in marks):
            raise InputError(f"{source} holds a {name}, which {purpose}. {GIVE_IMAGE_MODEL}.")
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
    ]
    lacking = {"prompt", "generator", "num_inference_steps"} - {*parameters}
    if lacking or {*needed} - {"prompt", "image"}:
        raise InputError(
            f"{source} holds a {name}, which does not paint from words and a seed alone. "
            f"{GIVE_IMAGE_MODEL}."
        )
    return {name: p.default for name, p in parameters.items() if name != "self"}


def library_class(library: str, name: str, source: str) -> Any:
    """A class of diffusers or transformers; raises InputError for one that is not there."""
    module = import_module(library)
    try:
        found = getattr(module, name, None)
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"The {name} of {source} cannot be imported: {first_line(error)} "
            f"Update {library}: pip install -U {library}."
        ) from error
    if found is None:
        raise InputError(
            f"{source} needs a {name}, which {library} {module.__version__} does not have. "
            f"Update it: pip install -U {library}."
        )
    if missing := getattr(found, "_backends", None):  # what stands in for a class without them
        raise InputError(
            f"The {name} of {source} needs {' and '.join(missing)}. Install what is missing."
        )
    return found


def repainting(kind: Kind) -> str | None:
    """The image-to-image class with the same parts; None if diffusers has none."""
    if kind.repaints:
        return kind.name
    import diffusers

    name = kind.name.replace("Pipeline", "Img2ImgPipeline")
    return name if not kind.takes_picture and hasattr(diffusers, name) else None


def check_painter(kind: Kind) -> None:
    """Raises InputError for a pipeline that cannot paint from text alone, or is incomplete."""
    if kind.repaints:
        raise InputError(
            f"{kind.source} holds a {kind.name}, which only repaints pictures. {GIVE_IMAGE_MODEL}."
        )
    if not kind.paints:
        raise InputError(
            f"{kind.source} holds a {kind.name}, which edits pictures and paints none from words "
            "alone. Give it with --edit-model, and a text-to-image folder with --model."
        )
    check_parts(kind)


def check_editor(kind: Kind) -> None:
    """Raises InputError for a pipeline that cannot edit a picture, or is incomplete."""
    if not kind.edits and repainting(kind) is None:
        raise InputError(
            f"{kind.source} holds a {kind.name}, which takes no picture. {GIVE_EDITOR}."
        )
    check_parts(kind)


def check_edited_size(kind: Kind, size: tuple[int, int]) -> None:
    """Raises InputError for a picture size (width, height) that an editing pipeline refuses, as
    FLUX.2 does below 64 pixels and beyond 8 to 1."""
    if not kind.edits:
        return
    module = import_module(library_class("diffusers", kind.name, kind.source).__module__)
    for check in (getattr(one, "check_image_input", None) for one in vars(module).values()):
        try:
            if check is not None:
                check(Image.new("RGB", size))
        except ValueError as error:
            raise InputError(
                f"{kind.source} cannot edit pictures of {size[0]}x{size[1]}: {first_line(error)} "
                "Choose another --size, or another editing model."
            ) from error


def parts_of(kind: Kind) -> Iterator[tuple[str, str, str]]:
    """Name, library and class of every part that the index names."""
    for name, value in kind.index.items():
        if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
            yield name, value[0], value[1]


def check_parts(kind: Kind) -> None:
    """Raises InputError for a part that is missing, damaged or of an unknown class."""
    for name, library, cls in parts_of(kind):
        if library in ("diffusers", "transformers"):
            library_class(library, cls, kind.source)
        if kind.folder is not None:
            _check_part(kind.folder, name, has_weights(cls))


def has_weights(cls: str) -> bool:
    return not cls.endswith((*NO_WEIGHTS, "Scheduler"))


def _check_part(folder: Path, name: str, weights: bool) -> None:
    part = folder / name
    if not part.is_dir() or not any(part.iterdir()):
        raise InputError(
            f"{folder} has no {name}, which its {INDEX} names. Download the folder again."
        )
    if not weights:
        return
    if not (part / "config.json").is_file():
        raise InputError(f"{part} has no config.json. Download the folder again.")
    for file in weight_files(part):
        check_weights(file)
