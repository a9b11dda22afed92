"""The nodes that load vision-language models, and Think First, which asks one before a search.

A model is a server named by its profile, a folder on this machine, or ComfyUI's own text encoder.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import astuple
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..reflectionflow_core.flux.folders import read_json
from ..reflectionflow_core.identity import digest
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import THINKERS
from ..reflectionflow_core.settings import MAX_SEED
from ..reflectionflow_core.vlm.endpoint import Endpoint
from ..reflectionflow_core.vlm.named import ENDPOINT
from ..reflectionflow_core.vlm.profiles import Profile
from .comfy.diffusers_flux import explained_imports
from .comfy.digests import models_digest
from .comfy.text import ComfyVlm
from .loaders import DTYPES
from .shared.acting import actor_handle
from .shared.judging import check_writers, consent, warn
from .shared.model_files import missing, model_folders, stamp
from .shared.profiles import find_profile, looks_like_a_key, profiles_folder
from .shared.progress import NodeProgress
from .shared.schema import NO_PROMPT, check_texts, output, prompt_input, schema
from .shared.sockets import VlmHandle, VlmSocket

# Subfolders of models: where other packs keep such folders, and ComfyUI's text encoders.
MODEL_KINDS = ("LLM", "VLM", "text_encoders")
# Endings of the names of architectures that generate text.
TEXT_ARCHITECTURES = ("ForConditionalGeneration", "ForCausalLM")
NONE = "(no folder found)"
MAX_PIXELS = 768 * 768
# ComfyUI may store a fingerprint; the salt keeps the key in it from being guessed.
SALT = secrets.token_bytes(16)


class VlmEndpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VlmEndpoint",
            display_name="Vision-Language Model: endpoint",
            description="A vision-language model behind any OpenAI-compatible server, by the name "
            "of its profile. Address and key stay on this machine.",
            search_aliases=["openai", "vllm", "ollama", "lm studio", "api", "vlm"],
            inputs=[
                io.String.Input(
                    "profile",
                    default="mine",
                    tooltip="The name of a profile, never a key. The profile itself is in "
                    "user/__reflectionflow/profiles.json, or in the environment.",
                ),
                io.Int.Input(
                    "refresh",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    tooltip="Change the number to ask everything again; otherwise ComfyUI reuses "
                    "the answers.",
                    extra_dict={"advanced": True},
                ),
                io.Boolean.Input(
                    "send_pictures",
                    default=False,
                    optional=True,
                    tooltip="Agree that pictures are sent to the profile's host. Needed once for "
                    "each host outside your network; it is remembered.",
                ),
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def validate_inputs(cls, profile: str | None = None) -> bool | str:
        if profile is None:  # comes by a wire
            return True
        try:
            Endpoint(profile_named(profile))
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, profile: str | None = None, **_: object) -> str:
        try:
            found = profile_named(profile or "")
        except InputError:
            return ""
        text = repr(astuple(found)).encode()
        return hashlib.blake2b(text, key=SALT, digest_size=16).hexdigest()

    @classmethod
    def execute(cls, profile: str, refresh: int, send_pictures: bool = False) -> io.NodeOutput:
        del refresh
        with explained_imports():
            import openai  # noqa: F401  (so that it fails here and not at the first question)
        name, found = ENDPOINT + profile, profile_named(profile)
        allowed = consent()
        if send_pictures:
            warn(allowed.give(found))
        endpoint = Endpoint(found, consent=allowed)
        return io.NodeOutput(VlmHandle(endpoint, name, f"{name} ({found.model})"))


class VlmLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        folders = list(vlm_folders()) or [NONE]
        return schema(
            "VlmLoader",
            display_name="Vision-Language Model: local",
            description="A vision-language model from a folder on this machine, such as Qwen2.5-VL "
            "or Qwen3-VL, under ComfyUI's memory management.",
            search_aliases=["qwen", "vlm", "llava", "load vision language model"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=folders,
                    tooltip="A folder of models/LLM, models/VLM or models/text_encoders that has a "
                    "config.json beside its weights: the whole folder from the hub.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="bf16",
                    tooltip="Precision of the weights. bf16 is right for almost everyone; fp32 "
                    "takes twice the memory.",
                    extra_dict={"advanced": True},
                ),
                io.Int.Input(
                    "max_pixels",
                    default=MAX_PIXELS,
                    min=32 * 32,
                    max=4096 * 4096,
                    tooltip="Larger pictures are scaled down to this number of pixels. More shows "
                    "the model more detail, and takes more time and memory.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        if model is None or model in vlm_folders():
            return True
        return missing(
            f"vision-language model named {model}" if model != NONE else "vision-language model",
            "models/LLM, models/VLM or models/text_encoders",
            "Download its whole folder into one of them, and choose it.",
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None, **_: object) -> str:
        folder = vlm_folders().get(model or "")
        return stamp(folder) if folder else ""

    @classmethod
    def execute(cls, model: str, dtype: str, max_pixels: int) -> io.NodeOutput:
        with explained_imports():
            from ..reflectionflow_core.vlm.local import LocalSettings, load_vlm
            from .comfy.memory import ComfyPlacement
        folder = vlm_folders()[model]
        vlm = load_vlm(
            folder,
            dtype=dtype,
            device="cpu",
            settings=LocalSettings(max_pixels=max_pixels),
            placement=ComfyPlacement(),
        )
        changed = [dtype] * (dtype != "bf16")
        changed += [f"{max_pixels} pixels"] * (max_pixels != MAX_PIXELS)
        return io.NodeOutput(VlmHandle(vlm, str(folder), ", ".join([digest(folder), *changed])))


class VlmFromClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VlmFromClip",
            display_name="Vision-Language Model: from CLIP",
            description="A vision-language model that ComfyUI itself has loaded as a text encoder, "
            "such as Qwen3-VL or Gemma 3. Needs a ComfyUI that can generate text.",
            search_aliases=["text generate", "qwen", "gemma", "native vlm"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="From Load CLIP: a text encoder that sees pictures and writes text.",
                )
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        vlm = ComfyVlm(clip)
        return io.NodeOutput(VlmHandle(vlm, "ComfyUI's CLIP", models_digest(clip)))


class ThinkFirst(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ThinkFirst",
            display_name="Think First",
            description="Expands a short prompt before anything is painted: content, layout, "
            "style. Wire it into Search Options; pictures are still judged by your own words.",
            search_aliases=["improve prompt", "prompt expansion", "prompt enhancer"],
            inputs=[
                prompt_input("What to paint, in your own words."),
                VlmSocket.Input(
                    "vlm",
                    optional=True,
                    tooltip="The vision-language model, for thinker vlm only.",
                ),
                io.Combo.Input(
                    "thinker",
                    options=list(THINKERS),
                    default="vlm",
                    optional=True,
                    tooltip="vlm asks the wired model; layout places everything in a picture of "
                    "the miniature, for prompts about its shapes only.",
                ),
            ],
            outputs=[
                output(
                    io.String,
                    "draft_prompt",
                    "Your words and the details that were added; only your words if the "
                    "model fails or contradicts them. With layout, only the layout.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(
        cls, prompt: str, vlm: VlmHandle | None = None, thinker: str = "vlm"
    ) -> io.NodeOutput:
        progress = NodeProgress(cls.hidden.unique_id)
        handle = actor_handle(THINKERS, vlm, {"thinker": thinker})
        check_writers(handle, progress)
        return io.NodeOutput(handle.actor.expand(prompt, progress))


def vlm_output() -> io.Output:
    return output(
        VlmSocket,
        "vlm",
        "For the loaders of verifier, writer, evolver and inspector, Scene Planner and "
        "Think First; one model can serve all.",
    )


def profile_named(profile: str) -> Profile:
    """The profile; raises InputError if there is none, or if the name looks like a key."""
    if looks_like_a_key(profile):
        raise InputError(
            "The profile looks like an API key, which every saved picture would carry. Remove it, "
            "and give the name of a profile that holds the key (see docs/judges.md)."
        )
    return find_profile(profile, profiles_folder())


def vlm_folders() -> dict[str, Path]:
    """The folders of vision-language models below `roots`, by their path there."""
    found = model_folders(roots(), lambda folder: sees(folder / "config.json"))
    found.pop(".", None)  # loose files of a model
    return found


def roots() -> list[Path]:
    """Where such folders are: as ComfyUI was configured, and below its own models."""
    known = [kind for kind in MODEL_KINDS if kind in folder_paths.folder_names_and_paths]
    configured = [path for kind in known for path in folder_paths.get_folder_paths(kind)]
    usual = [Path(folder_paths.models_dir) / kind for kind in MODEL_KINDS]
    return list(dict.fromkeys([*map(Path, configured), *usual]))


def sees(config: Path) -> bool:
    """Whether this config.json is of a model that sees pictures and writes text."""
    try:
        data = read_json(config)
    except InputError:
        return False
    if not isinstance(data, dict) or "vision_config" not in data:
        return False
    names = data.get("architectures")
    # CLIP has a vision_config too, and writes nothing.
    return isinstance(names, list) and any(str(n).endswith(TEXT_ARCHITECTURES) for n in names)


VLM = [VlmEndpoint, VlmLoader, VlmFromClip, ThinkFirst]
