"""What several graphs are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import notes
from .canvas import GAP, HEADER, NOTE, TITLE, Group, Node, Point, Wire, node, stack

BLUE, GREEN, GOLD = "#3f789e", "#8A8", "#b58b2a"
LEFT = 20  # x of what stands below the note, in a group's frame
NOTE_TOP = -50  # its title is level with the titles of groups
TALL = 1020  # a search, and what came of it
THREE = "a photo of three red circles"  # seed 11: both drafts are wrong, and are fixed
REPO = "https://huggingface.co/diffusion-cot/FLUX-Corrector/resolve/main/"
CORRECTOR_FILE = {
    "name": notes.CORRECTOR,
    "url": REPO + notes.CORRECTOR,
    "directory": "loras",
}


def named(name: str, dev: bool) -> str:
    return name if dev else f"{name}_miniature"


def note(text: str, height: int, name: str = "note", title: str = "Read me") -> Node:
    return node(name, NOTE, height, title, text=text)


def read_me(text: str, height: int, width: int = 360) -> list[Node]:
    return stack(0, NOTE_TOP, width, note(text, height))


def full_note(dev: bool, text: str, files: str = notes.CORRECTOR_FILES) -> str:
    return notes.text(text, *((files, notes.SHAPES_ONLY) if dev else (notes.MINIATURE,)))


def flux(dev: bool, corrector: bool = True) -> list[Node]:
    """FLUX is the last of these; FLUX.1-dev with its corrector is two nodes."""
    model = "FLUX.1-dev" if dev else "miniature"
    loaded = node("flux", "FluxLoader", model=model, dtype="bf16")
    if not (dev and corrector):
        return [loaded]
    given = {"flux": Wire("flux", "FLUX"), "lora": notes.CORRECTOR}
    return [loaded, node("corrector", "CorrectorLoader", models=[CORRECTOR_FILE], **given)]


def watchers() -> list[Node]:
    """Who asks the vision-language model of the node `vlm`, from top to bottom."""
    vlm_nodes = Wire("vlm", "vlm")
    return [
        node(
            "verifier",
            "VerifierLoader",
            verifier="checklist",
            error=0.0,
            detector="(none)",
            vlm=vlm_nodes,
        ),
        node("writer", "WriterLoader", writer="vlm", vlm=vlm_nodes),
        node("evolver", "EvolverLoader", evolver="vlm", vlm=vlm_nodes),
    ]


def judges() -> list[Node]:
    """Who judges, writes and rewrites, from top to bottom."""
    return [
        node("verifier", "VerifierLoader", verifier="exact", error=0.0, detector="(none)"),
        node("writer", "WriterLoader", writer="template"),
        node("evolver", "EvolverLoader", evolver="rules"),
    ]


def below(above: Sequence[Node]) -> int:
    """Where a node below them stands."""
    return above[-1].end[1] + GAP + TITLE


def group_below(above: Sequence[Node], free: int = GAP) -> int:
    """The y of the first node of a group whose frame starts `free` pixels below these nodes."""
    return above[-1].end[1] + free + HEADER + TITLE


def actor_wires(painter: str, **via: Iterable[Point]) -> dict[str, Wire]:
    """The wires from all actors of a search."""
    sources = {"flux": (painter, "FLUX")}
    sources |= {name: (name, name) for name in ("verifier", "writer", "evolver")}
    return {name: Wire(*sources[name], tuple(via.get(name, ()))) for name in sources}


def request(prompt: str, seed: int, **changes: Any) -> dict[str, Any]:
    """The inputs of a search without the loop's depth."""
    given = {"prompt": prompt, "width": 2, "drafts": 0, "seed": seed, "strategy": "reflection"}
    return given | {"stop": "never", "stop_score": 1.0, "save_run": False} | changes


def sampling(dev: bool, wire: Wire, **miniatures: int) -> Node:
    """FLUX Sampling; for the miniature 0 everywhere except in `miniatures`."""
    numbers = {"width": 1024, "height": 1024, "steps": 30, "guidance": 3.5, "condition_size": 512}
    if not dev:
        numbers = dict.fromkeys(numbers, 0) | {"guidance": 0.0} | miniatures
    return node("sampling", "FluxSampling", flux=wire, **numbers, condition_fit="squash")


def options(**changes: Any) -> Node:
    axes = dict.fromkeys(("noise_axis", "prompt_axis", "reflection_axis"), True)
    unlimited = dict.fromkeys(("max_images", "max_vlm_calls", "max_seconds"), 0)
    finer = {"parents": "best", "noise_search": "random", "radius": 0.3, "batch_size": 1}
    given = {**axes, **finer, **unlimited, "draft_prompt": "", "max_steps": 0}
    given |= {"policy": "progress", "recheck": False, "context": 3}
    return node("options", "SearchOptions", **given | changes)


def enlarged(dev: bool, images: Wire, name: str = "large") -> tuple[list[Node], Wire]:
    """The miniature's pictures, large enough to look at; FLUX.1-dev's are."""
    if dev:
        return [], images
    how = {"upscale_method": "lanczos", "scale_by": 6.0}
    large = node(name, "ImageScaleBy", title="Enlarge, to look at", image=images, **how)
    return [large], Wire(name, "IMAGE")


def search(x: int, change: str, tall: int, **asked: Any) -> list[Node]:
    """The loop, and below its widgets which of them to change first."""
    text = note(notes.text(change), tall, "change", "What to change first")
    rest = TALL - tall - GAP - TITLE
    return stack(x, 0, 420, node("loop", "ReflectionLoop", rest, **asked), text)


def results(
    dev: bool, x: int, name: str, source: str = "loop", how: str = notes.READ_SHEET
) -> list[Node]:
    """The contact sheet of a search, and below it the best picture beside a note."""
    sheet = stack(
        x,
        0,
        760,
        node(
            "trail", "ReflectionTrail", TALL - 350, history=Wire(source, "history"), save_run=False
        ),
    )
    large, picture = enlarged(dev, Wire("loop" if source == "loop" else "trail", "best"))
    title, prefix = "The best of all pictures", f"reflectionflow/{name}"
    best = node("best", "SaveImage", 0, title, images=picture, filename_prefix=prefix)
    y, text = below(sheet), note(notes.text(how), 90, "how", "How to read the sheet")
    if dev:
        return [*sheet, *stack(x, y, 380, best), *stack(x + 400, y, 360, text)]
    return [*sheet, *stack(x, y, 360, *large, text), *stack(x + 400, y, 360, best)]


def results_group(members: Sequence[Node]) -> Group:
    return Group("3 · What came of it", GOLD, members)
