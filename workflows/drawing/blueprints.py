"""What the pack puts into ComfyUI's library of nodes as blueprints: searches inside one node."""

from __future__ import annotations

from dataclasses import replace

from .canvas import Graph, Node, Wire, node, stack
from .loaders import corrector, flux, vision_of_comfyui
from .parts import columns, critic, critics_wires, request, seeing_judge
from .subgraphs import Blueprint, Widget, outside

MODELS = (("model", "MODEL"), ("clip", "CLIP"), ("vae", "VAE"))
PAINTING = (
    Widget("corrector", "lora", "COMBO", "corrector"),
    *(Widget("flux", name, "INT") for name in ("width", "height", "steps")),
)
WORDS = "turn the mug green"


def painters(x: int, wide: int) -> list[Node]:
    """FLUX with its corrector, from a MODEL, a CLIP and a VAE outside."""
    paints = flux()
    paints.inputs.update(clip=outside("clip"), vae=outside("vae"))
    return stack(x, 0, wide, corrector(outside("model")), paints)


def fix_by_words() -> Blueprint:
    a, b = columns(300, 420)
    given = {"prompt": "a green mug on a wooden table", "words": WORDS, "seed": 2, "feather": 4}
    pictures = {name: outside(name) for name in ("image", "mask")}
    fix = node("fix", "FixPicture", flux=Wire("flux", "FLUX"), **pictures, **given)
    nodes = [*painters(a, 300), *stack(b, 0, 420, fix)]
    return Blueprint(
        Graph("fix_by_words", nodes, title="Fix picture by words"),
        [*MODELS, ("image", "IMAGE"), ("mask", "MASK")],
        [("image", Wire("fix", "image")), ("before_after", Wire("fix", "before_after"))],
        [
            *(Widget("fix", name, "STRING") for name in ("prompt", "words")),
            Widget("fix", "seed", "INT"),
            *PAINTING,
        ],
        "FLUX.1 changes one picture as you say and leaves the rest alone. With a mask nothing "
        "outside of it changes.",
        ["reflection", "fix image", "edit image", "corrector", "inpaint"],
    )


def search_until_right() -> Blueprint:
    a, b, c, d = columns(300, 300, 420, 400)
    sees = replace(vision_of_comfyui(), inputs=seeing())
    jury = stack(b, 0, 300, sees, seeing_judge(), critic())
    ways = {"strategy": "adaptive", "stop": "when passed"}
    asked = request("two red cups to the left of a white plate", 11, **ways)
    loop = node("loop", "ReflectionLoop", **asked, depth=3, **critics_wires("flux"))
    trail = node("trail", "ReflectionTrail", history=Wire("loop", "history"), save_run=False)
    nodes = [*painters(a, 300), *jury, *stack(c, 0, 420, loop), *stack(d, 0, 400, trail)]
    return Blueprint(
        Graph("search_until_right", nodes, title="Search until it is right"),
        [*MODELS, ("seeing_clip", "CLIP")],
        [
            ("best", Wire("loop", "best")),
            ("sheet", Wire("trail", "sheet")),
            ("images", Wire("loop", "images")),
            ("report", Wire("loop", "report")),
        ],
        [
            Widget("loop", "prompt", "STRING"),
            Widget("loop", "width", "INT", "chains"),
            Widget("loop", "depth", "INT", "rounds"),
            Widget("loop", "seed", "INT"),
            *PAINTING,
        ],
        "FLUX.1 paints; a text encoder that sees, such as Qwen3-VL, says what is wrong, and the "
        "corrector fixes it, until a picture is right.",
        ["reflection", "best of n", "prompt adherence", "retry", "pick best"],
    )


def seeing() -> dict[str, str | Wire]:
    return {"source": "from ComfyUI's CLIP", "source.clip": outside("seeing_clip")}


BLUEPRINTS = (fix_by_words(), search_until_right())
