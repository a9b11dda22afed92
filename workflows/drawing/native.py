"""The graphs on FLUX as ComfyUI loads it: MODEL, CLIP and VAE."""

from __future__ import annotations

from typing import Any

from . import notes
from .canvas import GAP, TITLE, Graph, Group, Node, Wire, node, stack
from .parts import (
    BLUE,
    CORRECTOR_FILE,
    GOLD,
    GREEN,
    LEFT,
    THREE,
    below,
    came_of_it,
    enlarged,
    group_below,
    judges,
    named,
    note,
    read_me,
    request,
    results,
    search,
    seats,
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
        unet("model", FLUX_FILE, "Load Diffusion Model: paints"),
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


def recast(kind: str, model: dict[str, Wire], **numbers: Any) -> Node:
    """Somebody else in the corrector's seat."""
    rest = {"sampler": "euler", "scheduler": "simple", "cfg": 1.0}
    return node("recast", kind, flux=Wire("flux", "FLUX"), **model, **numbers, **rest)


def searched(
    name: str,
    dev: bool,
    read: list[Node],
    who: list[Node],
    how: list[Node],
    change: str,
    asked: Any,
) -> Graph:
    """A search by the last FLUX among the nodes that say how."""
    painter = [each.name for each in how if each.name in ("flux", "recast")][-1]
    loop = search(820, change, 90, **asked, **seats(painter))
    shown = results(dev, 1300, name)
    return Graph(
        name,
        [*read, *who, *how, *loop, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("Who corrects, and who judges", BLUE, how),
            Group("2 · The search", GREEN, loop),
            came_of_it(shown),
        ],
    )


# ---------------------------------------------------------------- the graphs


def native_search(dev: bool) -> Graph:
    told = (notes.NATIVE_CORRECTOR_FILES, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.NATIVE_SEARCH, *told), 360 if dev else 205)
    who = stack(LEFT, group_below(read), 320, *models(dev))
    how = stack(
        420, 0, 320, corrector(dev), native_flux(dev, Wire("corrector", "MODEL")), *judges()
    )
    asked = request(THREE, 11) | {"depth": 3}
    name = named("native_search", dev)
    return searched(name, dev, read, who, how, notes.CHANGE_NATIVE_SEARCH, asked)


def image_to_image_search(dev: bool) -> Graph:
    told = (notes.NATIVE_FILES, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.IMAGE_TO_IMAGE, *told), 320 if dev else 190)
    who = stack(LEFT, group_below(read), 320, *models(dev))
    numbers = {"denoise": 0.75, "steps": 20 if dev else 12, "guidance": 3.5}
    over = recast("ImageToImageCorrector", parts(dev), **numbers)
    how = stack(420, 0, 320, native_flux(dev, part(dev, "model")), over, *judges())
    asked = request(THREE, 4) | {"depth": 3}
    name = named("image_to_image_search", dev)
    return searched(name, dev, read, who, how, notes.CHANGE_IMAGE_TO_IMAGE, asked)


def edit_search() -> Graph:
    told = (notes.KONTEXT_FILES, notes.SHAPES_VERIFIER, notes.UNTESTED_EDITOR)
    read = read_me(notes.text(notes.EDIT_SEARCH, *told), 370)
    editor = unet("kontext", KONTEXT_FILE, "Load Diffusion Model: corrects")
    who = stack(LEFT, group_below(read), 320, *models(True, editor))
    edits = recast(
        "EditCorrector", parts(True) | {"model": Wire("kontext", "MODEL")}, steps=20, guidance=2.5
    )
    how = stack(420, 0, 320, native_flux(True, part(True, "model")), edits, *judges())
    asked = request(THREE, 11) | {"depth": 3}
    return searched("edit_search", True, read, who, how, notes.CHANGE_EDIT_SEARCH, asked)


# Of native_ksampler: y of its two rows, and x of their columns.
DRAFT, CORRECTION = 0, 640
TEXTS, SAMPLERS, BEFORE, AFTER = 440, 860, 1270, 1690
LANES = {"base": 475, "corrector": 493, "vae": 511, "picture": 529}  # y, between the rows


def native_ksampler(dev: bool) -> Graph:
    """Two rows: the draft, and the correction; between them run the wires."""
    told = (notes.NATIVE_CORRECTOR_FILES, notes.ANY_PROMPT) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.NATIVE_KSAMPLER, *told), 350 if dev else 230)
    who = stack(LEFT, group_below(read), 320, *models(dev, corrector(dev)))
    side, count, seed = (1024, 1, 2) if dev else (64, 4, 2)
    prompts = ["a photo of a red circle", "a photo of a blue circle"]
    said = "recolor the red circle blue"
    if dev:
        wooden = "on a wooden table"
        prompts = [f"a photo of a red apple and a {mug} mug {wooden}" for mug in ("red", "green")]
        said = "turn the mug green"

    def text(name: str, title: str, prompt: str, reflection: str = "") -> Node:
        texts = {"clip_l": prompt, "t5xxl": prompt + reflection, "guidance": 3.5}
        return node(name, "CLIPTextEncodeFlux", 0, title, clip=part(dev, "clip"), **texts)

    def led(x: int, name: str, y: int) -> tuple[tuple[int, int], ...]:
        return (x, LANES[name]), (x + 430, LANES[name]), (x + 430, y)

    def sampler(name: str, title: str, row: int, model: Wire, positive: Wire) -> list[Node]:
        drawn = node(
            f"{name}_latent",
            "KSampler",
            0,
            title,
            model=model,
            positive=positive,
            negative=Wire("negative", "CONDITIONING"),
            latent_image=Wire("empty", "LATENT"),
            seed=seed,
            steps=30 if dev else 12,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        )
        vae = part(dev, "vae", *led(385, "vae", row + 345))
        decoded = node(name, "VAEDecode", samples=Wire(drawn.name, "LATENT"), vae=vae)
        return stack(SAMPLERS, row, 320, drawn, decoded)

    painted = Wire("prompt", "CONDITIONING")
    draft = stack(
        TEXTS,
        DRAFT,
        340,
        text("prompt", "What to paint", prompts[0]),
        node("negative", "ConditioningZeroOut", 0, "No negative", conditioning=painted),
        node("empty", "EmptySD3LatentImage", width=side, height=side, batch_size=count),
    )
    base = part(dev, "model", *led(370, "base", DRAFT + 10))
    draft += sampler("before", "Draft", DRAFT, base, painted)
    picture = ((1215, LANES["picture"]), (410, LANES["picture"]), (410, CORRECTION + 270))
    correction = stack(
        TEXTS,
        CORRECTION,
        340,
        text("words", "My words", prompts[1], f" [Reflexion] {said}"),
        node(
            "shown",
            "CorrectorConditioning",
            conditioning=Wire("words", "CONDITIONING"),
            vae=part(dev, "vae"),
            images=Wire("before", "IMAGE", picture),
            condition_size=512 if dev else 64,
            condition_fit="squash",
        ),
    )
    model = Wire("corrector", "MODEL", led(398, "corrector", CORRECTION + 10))
    seen = Wire("shown", "CONDITIONING")
    correction += sampler("after", "Correction", CORRECTION, model, seen)

    before = pictured(dev, BEFORE, "before", Wire("before", "IMAGE"))
    y = below(before)
    lane = y - TITLE - GAP // 2
    up = ((1215, CORRECTION), (1235, lane), (AFTER - 10, lane), (AFTER - 10, 10))
    after = pictured(dev, AFTER, "after", Wire("after", "IMAGE", up))
    change = note(notes.text(notes.CHANGE_KSAMPLER), 150, "change", "What to change first")
    why = note(notes.text(notes.WHY_KSAMPLER), 150, "why", "Good to know")
    shown = [*before, *after, *stack(BEFORE, y, 400, change), *stack(AFTER, y, 400, why)]
    return Graph(
        named("native_ksampler", dev),
        [*read, *who, *draft, *correction, *shown],
        [
            Group("1 · FLUX and its corrector", BLUE, who),
            Group("2 · The draft", GREEN, draft),
            Group("3 · The correction", GREEN, correction),
            Group("4 · Before and after", GOLD, shown),
        ],
    )


def pictured(dev: bool, x: int, name: str, images: Wire) -> list[Node]:
    large, images = enlarged(dev, images, f"large_{name}")
    return stack(
        x, 0, 400, *large, node(f"seen_{name}", "PreviewImage", 470, name.title(), images=images)
    )


NATIVE = (
    *(make(dev) for make in (native_search, native_ksampler) for dev in (True, False)),
    edit_search(),
    *(image_to_image_search(dev) for dev in (True, False)),
)
