"""The corrector in ComfyUI's own nodes: a row for the draft, and one for its correction.

Wires that both rows share run between the columns, and in lanes between the rows.
"""

from __future__ import annotations

from . import notes
from .canvas import GAP, TITLE, Graph, Group, Node, Point, Wire, node, stack
from .native import corrector, models, part
from .parts import BLUE, GOLD, GREEN, LEFT, below, enlarged, group_below, named, note, read_me

DRAFT, CORRECTION = 0, 640  # y of the rows
TEXTS, SAMPLERS, BEFORE, AFTER = 440, 860, 1255, 1665  # x of the columns
# By what a wire carries: its x before the texts and before the samplers, its y between the rows.
LANES = {"base": (370, 800, 475), "vae": (384, 814, 493), "corrector": (398, 828, 511)}
PICTURE = 529  # y of the lane in which the draft is led back to be seen
RED, BLUER = "a photo of a red circle", "a photo of a blue circle"
MUG = "a photo of a red apple and a {} mug on a wooden table"


def native_ksampler(dev: bool) -> Graph:
    sections = (notes.NATIVE_CORRECTOR_FILES, notes.ANY_PROMPT) if dev else (notes.MINIATURE,)
    read = read_me(notes.text(notes.NATIVE_KSAMPLER, *sections), 350 if dev else 230)
    who = stack(LEFT, group_below(read), 320, *models(dev, corrector(dev)))
    first, second, shown = draft(dev), correction(dev), before_and_after(dev)
    return Graph(
        named("native_ksampler", dev),
        [*read, *who, *first, *second, *shown],
        [
            Group("1 · FLUX and its corrector", BLUE, who),
            Group("2 · The draft", GREEN, first),
            Group("3 · The correction", GREEN, second),
            Group("4 · Before and after", GOLD, shown),
        ],
    )


def draft(dev: bool) -> list[Node]:
    side, count = (1024, 1) if dev else (64, 4)
    asked = stack(
        TEXTS,
        DRAFT,
        340,
        text(dev, "prompt", "What to paint", MUG.format("red") if dev else RED),
        node("negative", "ConditioningZeroOut", 0, "No negative", conditioning=words("prompt")),
        node("empty", "EmptySD3LatentImage", width=side, height=side, batch_size=count),
    )
    model = part(dev, "model", *led("base", DRAFT + 10))
    return [*asked, *sampler(dev, "before", DRAFT, model, "prompt", 1)]


def correction(dev: bool) -> list[Node]:
    prompt = MUG.format("green") if dev else BLUER
    change = "turn the mug green" if dev else "recolor the red circle blue"
    back = ((SAMPLERS + 345, PICTURE), (412, PICTURE), (412, CORRECTION + 270))
    seen = node(
        "seen",
        "CorrectorConditioning",
        conditioning=words("words"),
        vae=part(dev, "vae"),
        images=Wire("before", "IMAGE", back),
        condition_size=512 if dev else 64,
        condition_fit="squash",
    )
    said = text(dev, "words", "My words", prompt, f" [Reflexion] {change}")
    model = Wire("corrector", "MODEL", led("corrector", CORRECTION + 10))
    asked = stack(TEXTS, CORRECTION, 340, said, seen)
    return [*asked, *sampler(dev, "after", CORRECTION, model, "seen", 2)]


def text(dev: bool, name: str, title: str, prompt: str, change: str = "") -> Node:
    given = {"clip": part(dev, "clip"), "clip_l": prompt, "t5xxl": prompt + change}
    return node(name, "CLIPTextEncodeFlux", 0, title, **given, guidance=3.5)


def words(name: str) -> Wire:
    return Wire(name, "CONDITIONING")


def sampler(dev: bool, name: str, row: int, model: Wire, positive: str, seed: int) -> list[Node]:
    """A row's KSampler, and its pictures."""
    title = "Draft" if row == DRAFT else "Correction"
    latents = node(
        f"{name}_latents",
        "KSampler",
        0,
        title,
        model=model,
        positive=words(positive),
        negative=words("negative"),
        latent_image=Wire("empty", "LATENT"),
        seed=seed,
        steps=30 if dev else 12,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    vae = part(dev, "vae", *led("vae", row + 345))
    pictures = node(name, "VAEDecode", samples=Wire(latents.name, "LATENT"), vae=vae)
    return stack(SAMPLERS, row, 320, latents, pictures)


def led(name: str, y: int) -> tuple[Point, ...]:
    left, right, lane = LANES[name]
    return (left, lane), (right, lane), (right, y)


def before_and_after(dev: bool) -> list[Node]:
    before = pictured(dev, BEFORE, "before", Wire("before", "IMAGE"))
    y = below(before)
    lane, right = y - TITLE - GAP // 2, AFTER - 10
    up = ((BEFORE - 30, CORRECTION), (BEFORE - 30, lane), (right, lane), (right, 10))
    after = pictured(dev, AFTER, "after", Wire("after", "IMAGE", up))
    change = note(notes.text(notes.CHANGE_KSAMPLER), 150, "change", "What to change first")
    why = note(notes.text(notes.WHY_KSAMPLER), 150, "why", "Good to know")
    return [*before, *after, *stack(BEFORE, y, 390, change), *stack(AFTER, y, 390, why)]


def pictured(dev: bool, x: int, name: str, images: Wire) -> list[Node]:
    large, images = enlarged(dev, images, f"large_{name}")
    shown = node(f"shown_{name}", "PreviewImage", 470, name.title(), images=images)
    return stack(x, 0, 390, *large, shown)
