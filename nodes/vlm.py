"""The nodes that make vision-language models, and the one that asks such a model before a search.

A model is a server known by its profile, a folder on this machine, or ComfyUI's own text encoder.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..reflectionflow_core.flux.folders import read_json
from ..reflectionflow_core.identity import digest
from ..reflectionflow_core.record import InputError
from ..reflectionflow_core.registry import THINKERS
from ..reflectionflow_core.vlm.endpoint import Endpoint
from ..reflectionflow_core.vlm.named import ENDPOINT
from ..reflectionflow_core.vlm.profiles import Profile
from .comfy.diffusers_flux import explained_imports
from .comfy.digests import weights_digest
from .comfy.text import ComfyVlm
from .loaders import CATEGORY, DTYPES, seat
from .shared.model_files import missing, model_folders, stamp
from .shared.profiles import find_profile, looks_like_a_key, profiles_folder
from .shared.progress import NodeProgress
from .shared.schema import NO_PROMPT, ROOT, check_texts, prompt_input, schema
from .shared.sockets import Eyes, VlmSocket

# Below models: where other packs keep such folders, and where ComfyUI keeps what reads texts.
PLACES = ("LLM", "VLM", "text_encoders")
SPEAKING = ("ForConditionalGeneration", "ForCausalLM")  # how such architectures' names end
NONE = "(no folder found)"
MAX_PIXELS = 768 * 768
# ComfyUI may write a fingerprint down; with this nobody can find out what it was made of.
SALT = secrets.token_bytes(16)


class VlmEndpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VlmEndpoint",
            display_name="Vision-Language Model: endpoint",
            category=CATEGORY,
            description="A vision-language model behind any OpenAI-compatible server, by the name "
            "of its profile. Address and key stay on this machine.",
            search_aliases=["openai", "vllm", "ollama", "lm studio", "api", "vlm"],
            inputs=[
                io.String.Input(
                    "profile",
                    default="mine",
                    tooltip="The name of a profile, never a key. The profile itself stands in "
                    "user/__reflectionflow/profiles.json, or in the environment.",
                ),
                io.Int.Input(
                    "refresh",
                    default=0,
                    min=0,
                    max=2**31,
                    tooltip="Another number asks everything anew; ComfyUI remembers answers "
                    "otherwise.",
                    extra_dict={"advanced": True},
                ),
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def validate_inputs(cls, profile: str | None = None) -> bool | str:
        if profile is None:  # comes by a wire
            return True
        try:
            asked_by(profile)
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, profile: str | None = None, **_: object) -> str:
        try:
            found = named(profile or "")
        except InputError:
            return ""
        told = repr((found.base_url, found.api_key, found.model)).encode()
        return hashlib.blake2b(told, key=SALT, digest_size=16).hexdigest()

    @classmethod
    def execute(cls, profile: str, refresh: int) -> io.NodeOutput:
        del refresh
        with explained_imports():
            import openai  # noqa: F401  (said now, in a sentence, and not at the first question)
        name = ENDPOINT + profile
        return io.NodeOutput(Eyes(asked_by(profile), name, f"{name} ({named(profile).model})"))


class VlmLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        folders = list(vlm_folders()) or [NONE]
        return schema(
            "VlmLoader",
            display_name="Vision-Language Model: local",
            category=CATEGORY,
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
                    tooltip="Pictures are made smaller until they have no more pixels than this. "
                    "More shows the model more, and takes more time and memory.",
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
        asked = [dtype] * (dtype != "bf16")
        asked += [f"{max_pixels} pixels"] * (max_pixels != MAX_PIXELS)
        return io.NodeOutput(Eyes(vlm, str(folder), ", ".join([digest(folder), *asked])))


class VlmFromClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "VlmFromClip",
            display_name="Vision-Language Model: from CLIP",
            category=CATEGORY,
            description="A vision-language model that ComfyUI itself has loaded as a text encoder, "
            "such as Qwen3-VL or Gemma 3. Needs a ComfyUI that can generate text.",
            search_aliases=["text generate", "qwen", "gemma", "native vlm"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="From Load CLIP: a text encoder that sees pictures and can write.",
                )
            ],
            outputs=[vlm_output()],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:
        vlm = ComfyVlm(clip)
        return io.NodeOutput(Eyes(vlm, "ComfyUI's CLIP", weights_digest(clip.patcher)))


class ThinkFirst(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ThinkFirst",
            display_name="Think First",
            category=f"{ROOT}/steps",
            description="Expands a terse prompt before anything is painted: content, layout, "
            "style. Wire it into Search Options; pictures are judged by your own words all the "
            "same.",
            search_aliases=["prompt expansion", "prompt enhancer", "draft prompt"],
            inputs=[
                prompt_input("What to paint, in your own words."),
                VlmSocket.Input(
                    "vlm",
                    optional=True,
                    tooltip="The vision-language model that thinks; thinker layout takes none.",
                ),
                io.Combo.Input(
                    "thinker",
                    options=list(THINKERS),
                    default="vlm",
                    optional=True,
                    tooltip="vlm asks the wired model; layout says where everything shall stand in "
                    "a picture of the miniature, for prompts about its shapes only.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "draft_prompt",
                    display_name="draft_prompt",
                    tooltip="Your words with what they leave open; your words alone where the "
                    "model fails or would contradict them. Of layout: the layout alone.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, prompt: str | None = None) -> bool | str:
        return check_texts([prompt], empty=NO_PROMPT)

    @classmethod
    def execute(cls, prompt: str, vlm: Eyes | None = None, thinker: str = "vlm") -> io.NodeOutput:
        actor = seat(THINKERS, vlm, {"thinker": thinker}).actor
        return io.NodeOutput(actor.expand(prompt, NodeProgress(cls.hidden.unique_id)))


def vlm_output() -> io.Output:
    return VlmSocket.Output(
        "vlm",
        display_name="vlm",
        tooltip="For the loaders of verifier, writer, evolver and inspector, Scene Planner and "
        "Think First; one model can serve all.",
    )


def named(profile: str) -> Profile:
    """The profile; raises InputError where there is none, also for what looks like a key."""
    if looks_like_a_key(profile):
        raise InputError(
            "The profile looks like an API key, which every saved picture would carry. Take it "
            "out, and give the name of a profile that holds the key (see the README)."
        )
    return find_profile(profile, profiles_folder())


def asked_by(profile: str) -> Endpoint:
    """The profile's server; nothing is sent to it yet."""
    return Endpoint(named(profile))


def vlm_folders() -> dict[str, Path]:
    """The folders of vision-language models below `PLACES`, by their path there."""
    found = model_folders(roots(), lambda folder: sees(folder / "config.json"))
    found.pop(".", None)  # files of a model thrown among the others
    return found


def roots() -> list[Path]:
    """ComfyUI's own, and those that somebody else told it of."""
    known = folder_paths.folder_names_and_paths
    told = [p for place in PLACES if place in known for p in folder_paths.get_folder_paths(place)]
    usual = [Path(folder_paths.models_dir) / place for place in PLACES]
    return list(dict.fromkeys([*map(Path, told), *usual]))


def sees(config: Path) -> bool:
    """Whether it is that of a model that looks at pictures and answers in words."""
    try:
        told = read_json(config)
    except InputError:
        return False
    if not isinstance(told, dict) or "vision_config" not in told:
        return False
    kinds = told.get("architectures")
    # CLIP and its like have eyes, too, and say nothing.
    return isinstance(kinds, list) and any(str(kind).endswith(SPEAKING) for kind in kinds)


VLM = [VlmEndpoint, VlmLoader, VlmFromClip, ThinkFirst]
