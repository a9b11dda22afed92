"""The templates on models of today, each from the files of its official template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import files, notes
from .canvas import GAP, TITLE, Graph, Node, Wire, node, stack
from .files import File
from .loaders import edit_corrector, flux_model, parts, qwen, vision_of_comfyui
from .notes import Notes
from .parts import SLOT, STEP, around, below, critic, seeing_judge
from .searches import CUPS, JURY, SEARCH_APP, WIDER, WIDTHS, asked_of, columns, in_columns, painted

A, B, C = columns(*WIDTHS, wider=WIDER)[:3]
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
    return edit_corrector(parts() | {"model": Wire(model, "MODEL")})


def todays_search(
    name: str,
    title: str,
    words: Notes,
    loaded: Sequence[Node],
    painting: Sequence[Node],
    jury: int = JURY,
    **changes: Any,
) -> Graph:
    """A search by the model of `loaded`; the judge stands at y `jury`."""
    judging = stack(C, jury, WIDTHS[2], seeing_judge(), critic())
    asked = asked_of(CUPS) | changes
    actors = "Who paints, corrects, judges, criticises"
    graph = in_columns(name, title, words, loaded, painting, judging, asked, actors)
    return replace(graph, app=SEARCH_APP)


def loaded_by(*loaders: Node) -> list[Node]:
    return stack(A, 0, WIDTHS[0], *loaders)


def painting_by(loaded: Sequence[Node], eyes: str) -> list[Node]:
    """The painter, and who looks on with the CLIP of the node `eyes`."""
    return painted(B, loaded, painter(), vision_of_comfyui(eyes), second=BELOW)


def krea2() -> Graph:
    title = "4.1 Reflection, Krea 2 judged by its own encoder"
    loaded = loaded_by(flux_model("model", files.KREA2), clip(files.KREA2_CLIP, "krea2"))
    beneath = stack(B, BELOW, WIDTHS[1], vae(files.KREA2_VAE))
    paints, sees = painted(B, loaded, painter(), vision_of_comfyui("clip"), second=below(beneath))
    lane = BELOW - TITLE - GAP // 2
    led = around(beneath[0], "VAE", lane, SLOT + 2 * STEP)
    paints = replace(paints, inputs=paints.inputs | {"vae": led})
    return todays_search("krea2", title, notes.KREA2, loaded, [*beneath, paints, sees])


def klein() -> Graph:
    title = "4.2 Reflection, FLUX.2 klein paints and corrects"
    reads = clip(files.QWEN, "flux2")
    loaded = loaded_by(flux_model("model", files.KLEIN), reads, vae(files.FLUX2_VAE), qwen())
    return todays_search("klein", title, notes.KLEIN, loaded, painting_by(loaded, "qwen"))


def qwen_image() -> Graph:
    title = "4.3 Reflection, Qwen-Image with Qwen-Image-Edit"
    loaded = loaded_by(
        flux_model("model", files.QWEN_IMAGE),
        flux_model("editing", files.QWEN_EDIT, "Load Diffusion Model: the editor"),
        clip(files.QWEN_CLIP, "qwen_image"),
        vae(files.QWEN_VAE),
    )
    paints, edits = painted(B, loaded, painter(), editor("editing"), second=BELOW, lane=2)
    led = around(paints, "FLUX", BELOW - TITLE - GAP // 2, BELOW + SLOT, 8)
    edits = replace(edits, inputs=edits.inputs | {"flux": led})
    seeing = vision_of_comfyui("clip")
    seeing = painted(B, loaded, paints, seeing, second=below([edits]), lane=1)[1:]
    flux, painting = Wire("edits", "FLUX"), [paints, edits, *seeing]
    return todays_search(
        "qwen_image", title, notes.QWEN_IMAGE, loaded, painting, BESIDE_EDITOR, flux=flux
    )


def z_image() -> Graph:
    title = "4.4 Reflection, Z-Image"
    reads = clip(files.Z_IMAGE_CLIP, "lumina2")
    loaded = loaded_by(flux_model("model", files.Z_IMAGE), reads, vae(files.Z_IMAGE_VAE), qwen())
    return todays_search("z_image", title, notes.Z_IMAGE, loaded, painting_by(loaded, "qwen"))
