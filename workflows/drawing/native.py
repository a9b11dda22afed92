"""The searches on FLUX as ComfyUI loads it: MODEL, CLIP and VAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import notes
from .canvas import Graph, Group, Node, Wire, node, stack
from .parts import (
    BLUE,
    CORRECTOR_FILE,
    GREEN,
    LEFT,
    THREE,
    actor_wires,
    group_below,
    judges,
    named,
    read_me,
    request,
    results,
    results_group,
    search,
)


def file(name: str, repo: str, directory: str, path: str = "") -> dict[str, str]:
    return {"name": name, "url": f"{repo}/resolve/main/{path}{name}", "directory": directory}


FLUX_FILE = file(notes.FLUX, notes.FLUX_REPO, "diffusion_models")
KONTEXT_FILE = file(
    notes.KONTEXT, notes.KONTEXT_REPO, "diffusion_models", "split_files/diffusion_models/"
)
TEXT_FILES = [file(name, notes.ENCODERS_REPO, "text_encoders") for name in (notes.CLIP_L, notes.T5)]
VAE_FILE = file(notes.VAE, notes.VAE_REPO, "vae", "split_files/vae/")


# ---------------------------------------------------------------- what they are made of


def models(dev: bool, *between: Node) -> list[Node]:
    """The loaders, from top to bottom; some nodes may stand below the loader of the MODEL."""
    if not dev:
        return [node("model", "MiniatureLoader"), *between]
    clip = {"clip_name1": notes.CLIP_L, "clip_name2": notes.T5, "type": "flux", "device": "default"}
    return [
        unet("model", FLUX_FILE),
        *between,
        node("clip", "DualCLIPLoader", models=TEXT_FILES, **clip),
        node("vae", "VAELoader", models=[VAE_FILE], vae_name=notes.VAE),
    ]


def unet(name: str, held: dict[str, str], title: str = "") -> Node:
    given = {"unet_name": held["name"], "weight_dtype": "default"}
    return node(name, "UNETLoader", 0, title, [held], **given)


def part(dev: bool, name: str, *via: tuple[int, int]) -> Wire:
    """MODEL, CLIP or VAE, from the node that loads it."""
    return Wire(name if dev else "model", name.upper(), via)


def parts(dev: bool) -> dict[str, Wire]:
    return {name: part(dev, name) for name in ("model", "clip", "vae")}


def corrector(dev: bool) -> Node:
    given = {"model": part(dev, "model"), "lora": notes.CORRECTOR if dev else "miniature"}
    return node("corrector", "LoadCorrector", models=[CORRECTOR_FILE] if dev else (), **given)


def native_flux(dev: bool, model: Wire) -> Node:
    side, steps, seen = (1024, 30, 512) if dev else (64, 12, 64)
    return node(
        "flux",
        "FluxFromModel",
        **parts(dev) | {"model": model},
        width=side,
        height=side,
        steps=steps,
        guidance=3.5,
        sampler="euler",
        scheduler="as FLUX.1-dev",
        condition_size=seen,
        condition_fit="squash",
    )


def as_corrector(kind: str, model: dict[str, Wire], **numbers: Any) -> Node:
    """A node that lets another model correct."""
    rest = {"sampler": "euler", "scheduler": "simple", "cfg": 1.0}
    return node("recast", kind, flux=Wire("flux", "FLUX"), **model, **numbers, **rest)


def searched(
    name: str,
    dev: bool,
    read: list[Node],
    loaders: list[Node],
    painters: list[Node],
    change: str,
    asked: dict[str, Any],
    jury: Sequence[Node] = (),
) -> Graph:
    """A search by the last of the painters; `jury` judges in place of the miniature's judges."""
    who = stack(LEFT, group_below(read), 320, *loaders)
    how = stack(420, 0, 320, *painters, *(jury or judges()))
    loop = search(820, change, 90, **asked, depth=3, **actor_wires(painters[-1].name))
    shown = results(dev, 1300, name)
    return Graph(
        name,
        [*read, *who, *how, *loop, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("Who corrects, and who judges", BLUE, how),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


# ---------------------------------------------------------------- the graphs


def native_search(dev: bool) -> Graph:
    sections = (notes.NATIVE_CORRECTOR_FILES, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.NATIVE_SEARCH, *sections), 360 if dev else 205)
    painters = [corrector(dev), native_flux(dev, Wire("corrector", "MODEL"))]
    name = named("native_search", dev)
    return searched(
        name, dev, read, models(dev), painters, notes.CHANGE_NATIVE_SEARCH, request(THREE, 11)
    )


def image_to_image_search(dev: bool) -> Graph:
    sections = (notes.NATIVE_FILES, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.IMAGE_TO_IMAGE, *sections), 320 if dev else 190)
    numbers = {"denoise": 0.75, "steps": 20 if dev else 12, "guidance": 3.5}
    over = as_corrector("ImageToImageCorrector", parts(dev), **numbers)
    painters = [native_flux(dev, part(dev, "model")), over]
    name = named("image_to_image_search", dev)
    return searched(
        name, dev, read, models(dev), painters, notes.CHANGE_IMAGE_TO_IMAGE, request(THREE, 4)
    )


def edit_search() -> Graph:
    sections = (notes.KONTEXT_FILES, notes.SHAPES_VERIFIER, notes.UNTESTED_EDITOR)
    read = read_me(notes.text(notes.EDIT_SEARCH, *sections), 390)
    loaders = models(True, unet("kontext", KONTEXT_FILE, "Load Diffusion Model: the editor"))
    editor = parts(True) | {"model": Wire("kontext", "MODEL")}
    edits = as_corrector("EditCorrector", editor, steps=20, guidance=2.5)
    painters = [native_flux(True, part(True, "model")), edits]
    change = notes.CHANGE_EDIT_SEARCH
    return searched("edit_search", True, read, loaders, painters, change, request(THREE, 11))
