"""What several graphs are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import notes
from .canvas import Group, Node, Point, Wire, node

BLUE, GREEN, GOLD = "#3f789e", "#8A8", "#b58b2a"
THREE = "a photo of three red circles"  # seed 1: both drafts are wrong, and are mended
REPO = "https://huggingface.co/diffusion-cot/FLUX-Corrector/resolve/main/"
CORRECTOR_FILE = {
    "name": notes.CORRECTOR,
    "url": REPO + notes.CORRECTOR,
    "directory": "loras",
}


def named(name: str, dev: bool) -> str:
    return name if dev else f"{name}_miniature"


def names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(each.name for each in nodes)


def full_note(dev: bool, note: str, files: str = notes.CORRECTOR_FILES) -> str:
    return notes.text(note, *((files, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)))


def miniature(x: int, y: int) -> Node:
    return node("flux", "FluxLoader", (x, y), model="miniature", dtype="bf16")


def flux(dev: bool, x: int, y: int, corrector: bool = True) -> tuple[list[Node], str]:
    """FLUX at a place, and which node it is; FLUX.1-dev is left of its corrector."""
    if not dev:
        return [miniature(x, y)], "flux"
    at = (x - 400 if corrector else x, y)
    loaded = node("flux", "FluxLoader", at, model="FLUX.1-dev", dtype="bf16")
    if not corrector:
        return [loaded], "flux"
    wire = Wire("flux", "FLUX")
    lora = node(
        "corrector",
        "CorrectorLoader",
        (x, y),
        models=[CORRECTOR_FILE],
        flux=wire,
        lora=notes.CORRECTOR,
    )
    return [loaded, lora], "corrector"


def judges(x: int, y: int, step: int = 150) -> list[Node]:
    """Who judges, writes and rewrites, from top to bottom."""
    return [
        node("verifier", "VerifierLoader", (x, y), verifier="exact", error=0.0),
        node("writer", "WriterLoader", (x, y + step), writer="template"),
        node("evolver", "EvolverLoader", (x, y + 2 * step - 20), evolver="rules"),
    ]


def seats(painter: str, **via: Iterable[Point]) -> dict[str, Wire]:
    """The wires from everyone whom a search may ask."""
    sources = {"flux": (painter, "FLUX")}
    sources |= {name: (name, name) for name in ("verifier", "writer", "evolver")}
    return {name: Wire(*sources[name], tuple(via.get(name, ()))) for name in sources}


def request(prompt: str, seed: int, **changes: Any) -> dict[str, Any]:
    """What a search is asked for; a loop is told its depth besides."""
    given = {"prompt": prompt, "width": 2, "drafts": 0, "seed": seed, "strategy": "reflection"}
    return given | {"stop": "never", "stop_score": 1.0, "save_run": False} | changes


def sampling(dev: bool, x: int, y: int, wire: Wire) -> Node:
    numbers = {"width": 1024, "height": 1024, "steps": 30, "guidance": 3.5, "condition_size": 512}
    if not dev:
        numbers = dict.fromkeys(numbers, 0) | {"guidance": 0.0}
    return node("sampling", "FluxSampling", (x, y), flux=wire, **numbers, condition_fit="squash")


def options(x: int, y: int) -> Node:
    axes = dict.fromkeys(("noise_axis", "prompt_axis", "reflection_axis"), True)
    unlimited = dict.fromkeys(("max_images", "max_vlm_calls", "max_seconds"), 0)
    finer = {"parents": "best", "noise_search": "random", "radius": 0.3, "batch_size": 1}
    return node("options", "SearchOptions", (x, y), **axes, **finer, **unlimited)


def results(dev: bool, x: int, history: Wire, name: str, height: int = 780) -> list[Node]:
    """Contact sheet, best picture and report. ComfyUI shows small pictures small."""
    taken, right = 400 if dev else 320, x + 760
    best = {"images": Wire("trail", "best"), "filename_prefix": f"reflectionflow/{name}"}
    below, left_over = (right, taken + 60), (340, height - taken - 60)
    kept = "The best of all pictures"
    return [
        node("trail", "ReflectionTrail", (x, 0), (700, height), history=history, save_run=False),
        node("best", "SaveImage", (right, 0), (340, taken), kept, **best),
        node("report", "PreviewAny", below, left_over, "Report", source=Wire("trail", "report")),
    ]


def enlarged(name: str, at: Point, images: Wire) -> Node:
    """The miniature's pictures, large enough to look at."""
    how = {"upscale_method": "lanczos", "scale_by": 6.0}
    return node(name, "ImageScaleBy", at, title="Enlarge, to look at", image=images, **how)


RESULTS = Group("3 · What came of it", GOLD, ("trail", "best", "report"))
