"""The families of models that ComfyUI samples, with the settings of their official templates.

The numbers are those of ComfyUI's own workflow templates. A family is recognised by the class of
its configuration in ComfyUI; models that share a class (a base and its few-step sibling) by the
names of the files that were loaded.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...reflectionflow_core.record import InputError

AS_TEMPLATE = "as its template"  # among samplers and schedulers: what the family's row says
FLUX2_SCHEDULE = "flux2"  # among schedulers: ComfyUI's Flux2Scheduler, which knows the size
VARIANTS = ("recognise", "base", "distilled")
FEW_STEPS = re.compile(
    r"turbo|lightning|schnell|distill|hyper[-_ ]?(sd|flux)|(?<![a-z])(lcm|dmd2?)(?![a-z])"
    r"|(?<!\d)\d{1,2}[-_ ]?steps?(?![s\d])"  # "epoch10_steps500" is how long a LoRA was trained
)
NOT_DISTILLED = re.compile(r"de-?distill|undistill|libreflux")
STEPS = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![s\d])")
BASE = re.compile(r"(?<![a-z])(raw|base)(?![a-z])")
WEIGHT_FILES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Family:
    """The default settings of a family.

    * `shift`: set by the node of ComfyUI whose name ends in `shift_node`; None keeps the model's
      own.
    * `guidance`: None for models without a guidance embedding.
    * `distilled`: takes no classifier-free guidance.
    * `zeroed`: the negative is the zeroed positive, not an empty text.
    * `pixels`: the side in pixels of a latent's cell, 0 if the VAE knows it.
    * `width_keys`, `pooled_key`: keys of the model's configuration. The product of the values of
      `width_keys` is the width of a text state; `pooled_key` is that of the pooled text.
    """

    name: str
    steps: int
    cfg: float = 1.0
    sampler: str = "euler"
    scheduler: str = "simple"
    shift: float | None = None
    shift_node: str = ""
    guidance: float | None = None
    distilled: bool = False
    zeroed: bool = False
    pixels: int = 8
    system_prompt: str = ""  # a key of ComfyUI's CLIPTextEncodeLumina2
    clip: str = "the text encoder of its official template"
    vae: str = "the VAE of its official template"
    width_keys: tuple[str, ...] = ()
    pooled_key: str = ""


T5_AND_L = "clip_l and t5xxl with DualCLIPLoader, type flux"
FLUX_VAE = "ae.safetensors (FLUX.1's VAE)"
QWEN_VAE = "qwen_image_vae.safetensors"
FLUX2_VAE = "flux2-vae.safetensors"
FLUX_DEV = Family(
    "FLUX.1-dev",
    20,
    guidance=3.5,
    shift_node="Flux",
    distilled=True,
    zeroed=True,
    clip=T5_AND_L,
    vae=FLUX_VAE,
    width_keys=("context_in_dim",),
    pooled_key="vec_in_dim",
)
FLUX_SCHNELL = replace(
    FLUX_DEV, name="FLUX.1-schnell", steps=4, guidance=None, shift_node="AuraFlow"
)
FLUX2_DEV = Family(
    "FLUX.2-dev",
    20,
    scheduler=FLUX2_SCHEDULE,
    guidance=4.0,
    distilled=True,
    shift_node="Flux",
    pixels=16,
    clip="mistral_3_small_flux2 with CLIPLoader, type flux2",
    vae=FLUX2_VAE,
    width_keys=("context_in_dim",),
)
KLEIN_BASE = replace(
    FLUX2_DEV,
    name="FLUX.2 klein base",
    cfg=5.0,
    guidance=None,
    distilled=False,
    clip="qwen_3_4b (for the 9B: qwen_3_8b) with CLIPLoader, type flux2",
)
KLEIN = replace(KLEIN_BASE, name="FLUX.2 klein", steps=4, cfg=1.0, distilled=True, zeroed=True)
QWEN_IMAGE = Family(
    "Qwen-Image",
    20,
    4.0,
    shift=3.1,
    shift_node="AuraFlow",
    clip="qwen_2.5_vl_7b with CLIPLoader, type qwen_image",
    vae=QWEN_VAE,
    width_keys=("joint_attention_dim",),
)
LUMINA = Family(
    "Lumina-Image 2",
    30,
    4.0,
    sampler="res_multistep",
    shift=4.0,
    shift_node="AuraFlow",
    system_prompt="superior",
    clip="gemma_2_2b with CLIPLoader, type lumina2",
    vae=FLUX_VAE,
    width_keys=("cap_feat_dim",),
)
Z_IMAGE = replace(
    LUMINA,
    name="Z-Image",
    steps=25,
    shift=3.0,
    system_prompt="",
    clip="qwen_3_4b with CLIPLoader, type lumina2",
)
KREA2 = Family(
    "Krea 2",
    8,
    distilled=True,
    zeroed=True,
    shift_node="Flux",
    clip="qwen3vl_4b with CLIPLoader, type krea2",
    vae=QWEN_VAE,
    width_keys=("txtlayers", "txtdim"),
)
SD3 = Family(
    "Stable Diffusion 3",
    20,
    4.0,
    scheduler="sgm_uniform",
    shift_node="SD3",
    clip="clip_l, clip_g and t5xxl with TripleCLIPLoader, or the checkpoint's own",
    vae="the VAE of its checkpoint",
    width_keys=("context_embedder_config",),
    pooled_key="adm_in_channels",
)
SDXL = Family(
    "Stable Diffusion XL",
    25,
    7.0,
    sampler="dpmpp_2m",
    scheduler="karras",
    clip="the CLIP of its checkpoint, or clip_l and clip_g with DualCLIPLoader, type sdxl",
    vae="the VAE of its checkpoint",
    width_keys=("context_dim",),
)
SD15 = replace(SDXL, name="Stable Diffusion 1.5", steps=20, clip="the CLIP of its checkpoint")
T5 = "t5xxl with CLIPLoader, type chroma"
CHROMA = Family(
    "Chroma",
    26,
    3.5,
    scheduler="beta",
    shift=1.0,
    shift_node="AuraFlow",
    clip=T5,
    vae=FLUX_VAE,
    width_keys=("context_in_dim",),
)
ANIMA = Family("Anima", 30, 4.0, shift_node="AuraFlow", vae=QWEN_VAE)
ERNIE = Family("ERNIE-Image", 20, 4.0, pixels=16, shift_node="AuraFlow", vae=FLUX2_VAE)
FAMILIES: Mapping[str, Family] = {
    "Flux": FLUX_DEV,
    "FluxSchnell": FLUX_SCHNELL,
    "Flux2": FLUX2_DEV,
    "QwenImage": QWEN_IMAGE,
    "Lumina2": LUMINA,
    "ZImage": Z_IMAGE,
    "Krea2": KREA2,
    "SD3": SD3,
    "SDXL": SDXL,
    "SD15": SD15,
    "Chroma": CHROMA,
    "Anima": ANIMA,
    "ErnieImage": ERNIE,
}
# What other families of the same class have in their configurations; no row says how they paint.
OWN_FAMILY = {"yak_mlp": "Ovis-Image", "clip_text_dim": "NewBie-Image"}
# The few-step siblings of a family, where a template has one.
DISTILLED: Mapping[str, Family] = {
    FLUX_DEV.name: replace(FLUX_DEV, steps=8),
    FLUX2_DEV.name: replace(FLUX2_DEV, name="FLUX.2-dev Turbo", steps=8),
    KLEIN_BASE.name: KLEIN,
    QWEN_IMAGE.name: replace(QWEN_IMAGE, name="Qwen-Image Lightning", steps=8),
    Z_IMAGE.name: replace(Z_IMAGE, name="Z-Image-Turbo", steps=8, zeroed=True),
    ERNIE.name: replace(ERNIE, name="ERNIE-Image-Turbo", steps=8, zeroed=True),
    ANIMA.name: replace(ANIMA, name="Anima Turbo", steps=8),
    # As the card of SDXL-Lightning says; its template is made of other nodes.
    SDXL.name: replace(SDXL, steps=8, sampler="euler", scheduler="sgm_uniform"),
}
# Siblings of a distilled model that are not; steps 0: no template says how they paint.
BASES: Mapping[str, Family] = {
    FLUX_DEV.name: replace(FLUX_DEV, name="FLUX.1, not distilled", distilled=False),
    FLUX_SCHNELL.name: replace(FLUX_SCHNELL, name="FLUX.1, not distilled", steps=0),
    FLUX2_DEV.name: replace(FLUX2_DEV, name="FLUX.2, not distilled", distilled=False),
    KREA2.name: replace(KREA2, name="Krea 2 Raw", steps=0),
}
# Configurations whose names begin so paint no picture from a text.
OTHERS: Mapping[str, tuple[str, ...]] = {
    "a video MODEL": (
        *("WAN", "SVD", "SV3D", "LTX", "HunyuanVideo", "GenmoMochi", "CogVideoX", "SeedVR2"),
        *("CosmosT2V", "CosmosI2V", "MiniMaxH3"),
    ),
    "an audio MODEL": ("StableAudio", "ACEStep", "MiniMaxMusic"),
    "a MODEL of 3D shapes": ("Hunyuan3D", "Trellis", "TripoSplat", "Stable_Zero123"),
    "a MODEL that looks at pictures": ("Lotus", "RT_DETR", "SAM3", "DepthAnything"),
    "a MODEL that only works on a given picture": (
        *("SD15_instructpix2pix", "SDXL_instructpix2pix", "SD_X4Upscaler", "SDXLRefiner"),
        *("HunyuanImage21Refiner", "SD21Unclip"),
    ),
    "one of two stages of a model": ("Stable_Cascade",),
}
SEVERAL_FRAMES = ("Kandinsky5",)  # exactly: Kandinsky5Image paints pictures


def family_of(model: Any, files: str = "", variant: str = "recognise") -> Family:
    """The family of a MODEL that paints pictures from text; raises InputError for any other.

    `files` are the names of the files that it was loaded from, as far as they are known.
    """
    _check_paints(model)
    family = _by_class(model.model.model_config)
    files = files.lower()
    if variant == "base" or (variant == "recognise" and _says_base(family, files)):
        return _base(family)
    few = FEW_STEPS.search(files) or (variant == "distilled" and not family.distilled)
    if few or family is KLEIN_BASE:
        return _few_steps(family, files)
    return replace(family, steps=50) if family is QWEN_IMAGE and "2512" in files else family


def files_before(graph: Mapping[str, Any], node: str, name: str) -> list[str]:
    """The weight files, without folders, named by the nodes that an input of `node` comes from;
    `graph` is a prompt as ComfyUI's API has it."""
    found: list[str] = []
    waiting, seen = [graph.get(node, {}).get("inputs", {}).get(name)], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and value.lower().endswith(WEIGHT_FILES):
            found.append(re.split(r"[/\\]", value)[-1])
        if isinstance(value, dict) and value.get("on") is not False and value.get("strength") != 0:
            waiting += value.values()  # a row of rgthree's Power Lora Loader
        if isinstance(value, list) and value and str(value[0]) not in seen:
            seen.add(str(value[0]))
            inputs = graph.get(str(value[0]), {}).get("inputs", {})
            idle = inputs.get("strength_model") == 0  # then its own file changes nothing
            waiting += [each for each in inputs.values() if not (idle and isinstance(each, str))]
    return found


def _by_class(config: Any) -> Family:
    kind, given = type(config).__name__, config.unet_config
    if kind == "Flux2" and not given.get("guidance_embed"):
        return KLEIN_BASE
    for mark, name in OWN_FAMILY.items():
        if given.get(mark):
            return Family(name, 0)
    return FAMILIES.get(kind) or Family(kind, 0, pixels=0)


def _says_base(family: Family, files: str) -> bool:
    told_by_name = family in (KLEIN_BASE, KREA2)
    return bool(NOT_DISTILLED.search(files) or (told_by_name and BASE.search(files)))


def _base(family: Family) -> Family:
    base = BASES.get(family.name, family)
    return replace(base, distilled=False)


def _few_steps(family: Family, files: str) -> Family:
    said = STEPS.search(files)
    few = DISTILLED.get(family.name) or replace(family, steps=min(family.steps, 8))
    steps = int(said[1]) if said else few.steps
    return replace(few, cfg=1.0, distilled=True, steps=steps)


def _check_paints(model: Any) -> None:
    config = model.model.model_config
    kind = type(config).__name__
    for what, names in OTHERS.items():
        if kind.startswith(names) or (kind in SEVERAL_FRAMES and what == "a video MODEL"):
            raise InputError(
                f"This is {what} ({kind}), and a search needs one that paints pictures from text. "
                "Load such a MODEL, for example Qwen-Image, Z-Image or FLUX."
            )
    if model.get_model_object("latent_format").latent_dimensions == 1:
        raise InputError(
            f"This MODEL ({kind}) makes no pictures. Load one that paints pictures from text, for "
            "example Qwen-Image, Z-Image or FLUX."
        )
    if _takes_a_picture(model.model):
        raise InputError(
            f"This MODEL ({kind}) only fills in a part of a given picture, or follows one, and "
            "paints nothing from text alone. Load the base model instead of its inpainting, Fill, "
            "Canny or Depth version."
        )


def _takes_a_picture(base: Any) -> bool:
    """Whether the model reads more channels than a latent has, and so needs a picture."""
    given = base.model_config.unet_config
    flux_like = "Flux" in type(base.model_config).__name__
    more = flux_like and given.get("in_channels", 0) > given.get("out_channels", 10**9)
    return bool(getattr(base, "concat_keys", ())) or more


def text_width(model: Any, keys: tuple[str, ...]) -> int | None:
    """The product of the configuration's values (or defaults) for the keys; None without one."""
    numbers = [n for key in keys if (n := _configured(model.model, key)) is not None]
    return math.prod(numbers) if numbers and len(numbers) == len(keys) else None


def _configured(base: Any, key: str) -> int | None:
    found = base.model_config.unet_config.get(key)
    if found is None:
        known = inspect.signature(type(base.diffusion_model).__init__).parameters.get(key)
        found = known.default if known else None
    if isinstance(found, dict):  # SD3 keeps the whole configuration of the layer
        found = found.get("params", {}).get("in_features")
    return found if isinstance(found, int) else None
