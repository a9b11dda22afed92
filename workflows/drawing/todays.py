"""The templates on models of today, each from the files of its official template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import files, notes
from .canvas import Graph, Node, Wire, node, stack
from .files import File
from .loaders import flux_model, parts, qwen, vision_of_comfyui
from .notes import Notes
from .parts import critic, seeing_judge
from .searches import CUPS, JURY, SEARCH_APP, WIDER, WIDTHS, asked_of, columns, in_columns, painted

BELOW = 590  # y of what stands below Painter from MODEL, CLIP, VAE
BESIDE_EDITOR = 700  # y of the judge where an editor stands above the vision model


def clip(file: File, kind: str, name: str = "clip", title: str = "") -> Node:
    given = {"clip_name": file["name"], "type": kind, "device": "default"}
    return node(name, "CLIPLoader", 0, title, [file], **given)


def vae(file: File) -> Node:
    return node("vae", "VAELoader", 0, "", [file], vae_name=file["name"])


def painter() -> Node:
    """As the model's own template paints."""
    numbers = {"width": 1024, "height": 1024, "steps": 0, "cfg": 0.0, "guidance": 0.0, "shift": 0.0}
    names: dict[str, Any] = dict.fromkeys(("sampler", "scheduler"), "as its template")
    ways = {"negative": "", "variant": "recognise", "corrections": "as it can"}
    return node("flux", "PainterFromModel", **parts(), **numbers, **names, **ways)


def editor(model: str) -> Node:
    wires = parts() | {"model": Wire(model, "MODEL")}
    numbers = {"steps": 0, "guidance": 0.0}
    names: dict[str, Any] = dict.fromkeys(("sampler", "scheduler"), "as its template")
    rest = {"cfg": 0.0, "shift": 0.0, "variant": "recognise"}
    return node(
        "edits", "EditCorrector", flux=Wire("flux", "FLUX"), **wires, **numbers, **names, **rest
    )


def todays_search(
    name: str,
    title: str,
    words: Notes,
    loaders: Sequence[Node],
    eyes: str,
    *correcting: Node,
    **changes: Any,
) -> Graph:
    """A search by the model of `loaders`; `eyes` is the one that loads who looks on."""
    a, b, c = columns(*WIDTHS, wider=WIDER)[:3]
    loaded = stack(a, 0, WIDTHS[0], *loaders)
    seeing = vision_of_comfyui(eyes)
    painting = painted(b, loaded, painter(), *correcting, seeing, second=BELOW)
    judging = stack(c, BESIDE_EDITOR if correcting else JURY, WIDTHS[2], seeing_judge(), critic())
    asked = asked_of(CUPS) | changes
    actors = "Who paints, corrects, judges, criticises"
    graph = in_columns(name, title, words, loaded, painting, judging, asked, actors)
    return replace(graph, app=SEARCH_APP)


def krea2() -> Graph:
    title = "4.1 Reflection, Krea 2 judged by its own encoder"
    loaders = [
        flux_model("model", files.KREA2),
        clip(files.KREA2_CLIP, "krea2"),
        vae(files.KREA2_VAE),
    ]
    return todays_search("krea2", title, notes.KREA2, loaders, "clip")


def klein() -> Graph:
    title = "4.2 Reflection, FLUX.2 klein paints and corrects"
    loaders = [
        flux_model("model", files.KLEIN),
        clip(files.QWEN, "flux2"),
        vae(files.FLUX2_VAE),
        qwen(),
    ]
    return todays_search("klein", title, notes.KLEIN, loaders, "qwen")


def qwen_image() -> Graph:
    title = "4.3 Reflection, Qwen-Image with Qwen-Image-Edit"
    loaders = [
        flux_model("model", files.QWEN_IMAGE),
        flux_model("editing", files.QWEN_EDIT, "Load Diffusion Model: the editor"),
        clip(files.QWEN_CLIP, "qwen_image"),
        vae(files.QWEN_VAE),
        qwen(),
    ]
    flux = Wire("edits", "FLUX")
    return todays_search(
        "qwen_image", title, notes.QWEN_IMAGE, loaders, "qwen", editor("editing"), flux=flux
    )


def z_image() -> Graph:
    title = "4.4 Reflection, Z-Image"
    loaders = [
        flux_model("model", files.Z_IMAGE),
        clip(files.Z_IMAGE_CLIP, "lumina2"),
        vae(files.Z_IMAGE_VAE),
        qwen(),
    ]
    return todays_search("z_image", title, notes.Z_IMAGE, loaders, "qwen")
