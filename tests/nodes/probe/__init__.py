"""A node pack for tests only: looks into the ComfyUI that it lives in, and makes odd inputs."""

# pyright: reportMissingImports=false
from __future__ import annotations

import gc
import json
import sys
from importlib import import_module
from pathlib import Path

import comfy.model_management as mm
import psutil
import torch
from aiohttp import web
from comfy.model_patcher import ModelPatcher
from server import PromptServer

HEAVY = ("diffusers", "transformers", "peft")


@PromptServer.instance.routes.get("/probe/state")
async def state(_request):
    return web.json_response(
        {
            "rss": psutil.Process().memory_info().rss,  # bytes
            "imported": [name for name in HEAVY if name in sys.modules],
            "flags": list(PromptServer.instance.prompt_queue.flags),
            # Another thread may be unloading one, which then has no model any more.
            "models": [described(each) for each in [*mm.current_loaded_models] if each.model],
        }
    )


@PromptServer.instance.routes.get("/probe/alive/{name}")
async def alive(request):
    """How many objects of a class of this name there are."""
    gc.collect()
    found = (type(thing).__name__ for thing in gc.get_objects())
    return web.json_response(sum(name == request.match_info["name"] for name in found))


def described(loaded):
    """A loaded model: the class that our holder holds, or its own, and where its weights are."""
    model = loaded.model.model
    held = getattr(model, "module", model)
    weight = next(held.parameters(), None)
    return {
        "class": type(held).__name__,
        "held": held is not model,
        "size": loaded.model_memory(),
        "loaded": loaded.model_loaded_memory(),
        "device": str(weight.device) if weight is not None else "",
    }


class ProbePicture:
    """An IMAGE of any shape: grey, but with `value` in its first pixel."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"shape": ("STRING",), "value": ("STRING", {"default": "0.5"})}}

    def make(self, shape, value="0.5"):
        image = torch.full(json.loads(shape), 0.5)
        image.view(-1)[0] = float(value)
        return (image,)


class ProbeTexts:
    """A list of texts, one by one."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("STRING",)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"texts": ("STRING",)}}

    def make(self, texts):
        return (json.loads(texts),)


class AnyType(str):
    """A type that ComfyUI lets into every input."""

    __hash__ = str.__hash__

    def __eq__(self, _other):
        return True

    def __ne__(self, _other):
        return False


class ProbeValue:
    """Whatever its JSON says, for any input."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = (AnyType("*"),)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"value": ("STRING",)}}

    def make(self, value):
        return (json.loads(value),)


class ProbeItems(ProbeValue):
    """The values of a JSON list, one by one, for any input."""

    OUTPUT_IS_LIST = (True,)


class ProbeList:
    """Two of anything as a list of two."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = (AnyType("*"),)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"first": (AnyType("*"),), "second": (AnyType("*"),)}}

    def make(self, first, second):
        return ([first, second],)


class ProbeProfile:
    """A profile of the pack's, as its nodes will find it; a name of none is an error."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("PROFILE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"name": ("STRING",)}}

    def make(self, name):
        pack = next(m for n, m in sys.modules.items() if n.endswith(".nodes.shared.profiles"))
        return (pack.find_profile(name, pack.profiles_folder()),)


class ProbeFailure:
    """Fails with whatever it is given, in words; ComfyUI adds its inputs and a stack."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"profile": ("PROFILE,REFLECTIONFLOW_VLM",)}}

    def make(self, profile):
        raise RuntimeError(f"It did not work with {profile} or {profile!r}.")


class ProbeClip:
    """A CLIP that sees pictures and always writes the same; without words one that cannot write."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"says": ("STRING",)}}

    def make(self, says):
        return (Writer(says) if says else Reader(),)


class Reader:
    def tokenize(self, text, **_):
        return {"probe": [[(len(text), 1.0)]]}


class Writer:
    def __init__(self, says):
        self.says = says
        weights = torch.nn.Linear(1, 1)
        self.patcher = ModelPatcher(weights, mm.get_torch_device(), mm.unet_offload_device())

    def tokenize(self, text, image=None, **_):
        return {"probe": [[({"type": "image"} if image is not None else len(text), 1.0)]]}

    def generate(self, tokens, **_):
        return [list(self.says.encode())]

    def decode(self, ids, **_):
        return bytes(ids).decode()


class ProbeModel:
    """A small random model in place of a file of today's models, with a VAE: see todays_models."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("MODEL", "VAE")

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"file": ("STRING",)}}

    def make(self, file):
        return todays_models().model_and_vae(file)


class ProbeEncoder:
    """A small random text encoder in place of a file; what it writes is fixed."""

    CATEGORY = "probe"
    FUNCTION = "make"
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"file": ("STRING",), "type": ("STRING",), "says": ("STRING",)}}

    def make(self, file, type, says):
        return (todays_models().clip_for(file, type, says),)


def todays_models():
    folder = str(Path(__file__).resolve().parents[1])
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module("todays_models")


NODES = (
    *(ProbePicture, ProbeTexts, ProbeValue, ProbeItems, ProbeList, ProbeProfile, ProbeFailure),
    *(ProbeClip, ProbeModel, ProbeEncoder),
)
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
