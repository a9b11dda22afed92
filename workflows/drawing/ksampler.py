"""The corrector in ComfyUI's own nodes: on the left the draft, on the right its correction.

MODELs and CLIP run in lanes above the columns, VAE in one below; there they cross.
"""

from __future__ import annotations

from . import notes
from .canvas import Graph, Group, Node, Point, Wire, node, stack
from .loaders import corrector, flux_clip, flux_model, flux_vae
from .parts import BLUE, GREEN, LANE, SLOT, STEP, bus, columns, explained, source_y

WIDTHS = (290, 330, 320, 330, 320)
X = columns(*WIDTHS, wider={1: 30, 2: 20, 3: 30, 4: 20})
ABOVE, UNDER = -112, 905  # y of the outermost lanes
DECODE = 270 + 75  # y of a VAE Decode
MUG = "a photo of a red apple and a {} mug on a wooden table"


def ksampler() -> Graph:
    name, title = "ksampler", "3.1 Reflection, KSampler with the corrector"
    loaded = stack(X[0], 0, WIDTHS[0], flux_model(), corrector(), flux_clip(), flux_vae())
    prompt = encoded("prompt", "What to paint", MUG.format("red"))
    base = led(loaded, "model", "MODEL", ABOVE, 0, X[2] - 30, SLOT)
    before = node("before", "PreviewImage", 390, "Before", images=Wire("draft", "IMAGE"))
    draft = stack(X[1], 0, WIDTHS[1], prompt, *plain("prompt", ""))
    drawn = sampled("draft", base, draft, 1, "", vae(loaded, X[2] - 20, DECODE))
    draft += stack(X[2], 0, WIDTHS[2], *drawn, before)
    clip = led(loaded, "clip", "CLIP", ABOVE + 2 * LANE, 2, X[3] - 40, SLOT)
    change = " [Reflexion] turn the mug green"
    said = encoded("words", "My words", MUG.format("green"), change, clip)
    seen = node(
        "seen",
        "CorrectorConditioning",
        conditioning=Wire("words", "CONDITIONING"),
        vae=vae(loaded, X[3] - 25, 275 + SLOT + STEP),
        images=Wire("draft", "IMAGE"),
        condition_size=512,
        condition_fit="squash",
    )
    model = led(loaded, "corrector", "MODEL", ABOVE + LANE, 1, X[4] - 30, SLOT)
    saved = {"images": Wire("corrected", "IMAGE"), "filename_prefix": f"reflectionflow/{name}"}
    after = node("after", "SaveImage", 390, "After", **saved)
    correction = stack(X[3], 0, WIDTHS[3], said, seen, *plain("seen", "2"))
    mended = sampled("corrected", model, correction, 2, "2", vae(loaded, X[4] - 20, DECODE))
    correction += stack(X[4], 0, WIDTHS[4], *mended, after)
    groups = [
        Group("1 · FLUX and its corrector", BLUE, loaded),
        Group("2 · The draft", GREEN, draft),
        Group("3 · The correction", GREEN, correction),
    ]
    return explained(name, title, notes.KSAMPLER, [*loaded, *draft, *correction], groups)


def plain(prompt: str, number: str) -> list[Node]:
    """No negative, and an empty latent."""
    given = {"conditioning": Wire(prompt, "CONDITIONING")}
    return [
        node(f"negative{number}", "ConditioningZeroOut", 0, "No negative", **given),
        node(f"empty{number}", "EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
    ]


def encoded(name: str, title: str, prompt: str, change: str = "", clip: Wire | None = None) -> Node:
    given = {"clip": clip or Wire("clip", "CLIP"), "clip_l": prompt, "t5xxl": prompt + change}
    return node(name, "CLIPTextEncodeFlux", 0, title, **given, guidance=3.5)


def sampled(
    name: str, model: Wire, given: list[Node], seed: int, number: str, vae: Wire
) -> list[Node]:
    """A KSampler, and its pictures; `given` is the column before it: its positive stands above its
    negative and its empty latent."""
    wires = {
        "model": model,
        "positive": Wire(given[-3].name, "CONDITIONING"),
        "negative": Wire(f"negative{number}", "CONDITIONING"),
        "latent_image": Wire(f"empty{number}", "LATENT"),
    }
    latents = node(
        f"{name}_latents",
        "KSampler",
        0,
        name.title(),
        **bus(wires, given, "KSampler", given[0].end[0] + 10),
        seed=seed,
        steps=30,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    pictures = node(name, "VAEDecode", samples=Wire(latents.name, "LATENT"), vae=vae)
    return [latents, pictures]


def vae(loaded: list[Node], x: int, y: int) -> Wire:
    return led(loaded, "vae", "VAE", UNDER, 1, x, y + SLOT + STEP if y == DECODE else y)


def led(loaded: list[Node], name: str, output: str, lane: int, turn: int, x: int, y: int) -> Wire:
    """From a loader to its lane, along it to x, and there to y."""
    (source,) = (node for node in loaded if node.name == name)
    left = X[0] + WIDTHS[0] + 20 + LANE * turn
    points: list[Point] = [(left, source_y(source, output)), (left, lane), (x, lane), (x, y)]
    return Wire(name, output, tuple(points))
