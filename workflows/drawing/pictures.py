"""The templates for pictures that exist or that need no correction: fix, rank, pick the best."""

from __future__ import annotations

from typing import Any

from . import notes
from .canvas import HEADER, Graph, Group, Node, Wire, node, stack
from .loaders import (
    corrector,
    flux,
    flux_clip,
    flux_model,
    flux_vae,
    qwen,
    vision_of_comfyui,
)
from .notes import Notes
from .parts import (
    BLUE,
    GOLD,
    GREEN,
    TALL,
    below,
    bus,
    columns,
    critic,
    enlarged,
    explained,
    miniature,
    request,
    results_group,
    seeing_judge,
)
from .searches import CUPS, JURY, WIDER, WIDTHS, in_columns, painted

SCORED = 660  # a Verifier Score's height
TABLE = "a red apple and a green mug on a wooden table"


# ---------------------------------------------------------------- one picture, fixed


def fix_by_words_miniature() -> Graph:
    """Its picture is painted, so that it runs at once: shapes are not what people have at hand."""
    name, title = (
        "fix_by_words_miniature",
        "1.2 Reflection, fix a picture by words without a download",
    )
    a, b, c, d = columns(300, 300, 420, 560)
    who = stack(a, 0, 300, miniature())
    painted = {"flux": Wire("flux", "FLUX"), "prompt": "a photo of a red circle", "count": 1}
    given = {"seed": 2, "batch_size": 1}
    text = "A picture (or Load Image)"
    picture = stack(b, 150, 300, node("picture", "DraftSampler", 420, text, **painted, **given))
    source = Wire("picture", "images")
    fix = fixed(c, **fix_inputs(source, "a photo of a blue circle", "recolor the red circle blue"))
    shown = fixed_pictures(name, d, 560, small=True)
    groups = [
        Group("1 · Who paints", BLUE, who),
        Group("The picture", BLUE, picture),
        Group("2 · My words", GREEN, fix),
        results_group(shown),
    ]
    nodes = [*who, *picture, *fix, *shown]
    return explained(name, title, notes.FIX_MINIATURE, nodes, groups)


def fix_inputs(image: Wire, prompt: str, words: str = "", **more: Wire) -> dict[str, Any]:
    given = {"prompt": prompt, "words": words, "seed": 2, "feather": 4}
    return {"flux": Wire("flux", "FLUX"), "image": image} | given | more


def fixed(x: int, **inputs: Any) -> list[Node]:
    return stack(x, 0, 420, node("fix", "FixPicture", TALL, **inputs))


def fixed_pictures(name: str, x: int, width: int, small: bool = False) -> list[Node]:
    """The fixed picture, and below it both side by side."""
    picture, both = Wire("fix", "image"), Wire("fix", "before_after")
    beside: list[Node] = []
    left = x
    if small:
        y = 465
        beside = stack(x, 0, 240, enlarged(picture)) + stack(
            x, y, 240, enlarged(both, "large_both")
        )
        picture, both = Wire("large", "IMAGE"), Wire("large_both", "IMAGE")
        left = x + 300
    given = {"images": picture, "filename_prefix": f"reflectionflow/{name}"}
    saved = node("fixed", "SaveImage", 390, "The fixed picture", **given)
    compared = node("both", "PreviewImage", 385, "Before and after", images=both)
    return [*beside, *stack(left, 0, x + width - left, saved, compared)]


def fix_by_words() -> Graph:
    title = "2.3 Reflection, fix my picture by my words"
    return fixing("fix_by_words", title, notes.FIX_BY_WORDS, "turn the mug green")


def fix_what_the_critic_finds() -> Graph:
    title = "2.4 Reflection, fix what the critic finds"
    return fixing("fix_what_the_critic_finds", title, notes.FIX_CRITIC, "")


def fixing(name: str, title: str, words: Notes, said: str) -> Graph:
    """One's own picture, corrected by FLUX; without words by what a critic finds."""
    watched = not said
    a, b, c, d, e = columns(290, 300, 300, 420, 420, wider={1: 30, 3: 40})
    own = [flux_model(), corrector(), flux_clip(), flux_vae()]
    loaded = stack(a, 0, 290, *own, *[qwen()] * watched)
    painting = painted(b, loaded, flux(), *[vision_of_comfyui()] * watched)
    picture = stack(
        c, 110, 300, node("picture", "LoadImage", 440, "My picture", image="example.png")
    )
    jury: list[Node] = []
    if watched:
        jury = stack(c, below(picture) + HEADER, 300, critic())
    wires = {"writer": Wire("critic", "writer")} if watched else {"mask": Wire("picture", "MASK")}
    given = fix_inputs(Wire("picture", "IMAGE"), TABLE, said, **wires)
    fix = fixed(d, **bus(given, [*painting, *picture, *jury], "FixPicture", c + 315))
    shown = fixed_pictures(name, e, 420)
    groups = [
        Group("1 · Models", BLUE, loaded),
        Group("2 · Who paints", BLUE, painting),
        Group("3 · My picture", BLUE, picture),
        *[Group("Who finds what is wrong", BLUE, jury)] * watched,
        Group("4 · My words" if said else "4 · The fix", GREEN, fix),
        results_group(shown, 5),
    ]
    nodes = [*loaded, *painting, *picture, *jury, *fix, *shown]
    return explained(name, title, words, nodes, groups)


# ---------------------------------------------------------------- many pictures, the best of them


def rank_folder() -> Graph:
    name, title = "rank_folder", "2.5 Reflection, rank a folder, the best first"
    a, b, c, d, e = columns(290, 280, 300, 380, 560)
    loaded = stack(a, 161, 290, qwen())
    seeing = stack(b, 161, 280, vision_of_comfyui())
    folder = node("pictures", "LoadImageDataSetFromFolder", folder="my_pictures")
    given = stack(c, 0, 300, folder, seeing_judge())
    score = node(
        "score",
        "VerifierScore",
        SCORED,
        images=Wire("pictures", "images"),
        prompt=CUPS,
        verifier=Wire("verifier", "verifier"),
        order="best first",
        keep=0,
    )
    judged = stack(d, 0, 380, score)
    boxed = "Ranked, best first, with what is right and what is wrong"
    ranked = node("ranked", "PreviewImage", 400, boxed, images=Wire("score", "sheet"))
    title_ = "Report: scores, and what is wrong"
    report = node("report", "PreviewAny", 185, title_, source=Wire("score", "report"))
    shown = stack(e, 0, 560, report, ranked)
    groups = [
        Group("1 · Model", BLUE, loaded),
        Group("2 · The pictures, and who judges", BLUE, [*seeing, *given]),
        Group("3 · Score and rank", GREEN, judged),
        Group("4 · Result", GOLD, shown),
    ]
    nodes = [*loaded, *seeing, *given, *judged, *shown]
    return explained(name, title, notes.RANK_FOLDER, nodes, groups)


def best_of_many() -> Graph:
    """Nothing is corrected, so neither corrector nor critic is needed."""
    name, title = "best_of_many", "2.6 Reflection, best of many"
    a, b, c = columns(*WIDTHS, wider=WIDER)[:3]
    loaded = stack(a, 0, WIDTHS[0], flux_model(), flux_clip(), flux_vae(), qwen())
    painting = painted(b, loaded, flux("model"), vision_of_comfyui())
    judging = stack(c, JURY, WIDTHS[2], seeing_judge())
    asked = request(CUPS, 2, strategy="noise", stop="when passed")
    wires = {"flux": Wire("flux", "FLUX"), "verifier": Wire("verifier", "verifier")}
    given = {**asked, "depth": 3, **wires}
    actors = "Who paints, and who judges"
    return in_columns(name, title, notes.BEST_OF_MANY, loaded, painting, judging, given, actors)
