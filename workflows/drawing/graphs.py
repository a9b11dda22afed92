"""Every workflow that we ship, once; `python workflows/make.py` writes both formats of each.

A graph with a miniature twin is a function of `dev`: True for FLUX.1-dev, False for the miniature.
ComfyUI opens a graph at three quarters of the window, and draws text from a zoom of 57 % on: on
1600 x 950 pixels that is a graph of 2100 x 1250.
"""

from __future__ import annotations

from typing import Any

from . import notes
from .by_hand import by_hand
from .canvas import Graph, Group, Node, Wire, node, stack
from .ksampler import native_ksampler
from .native import edit_search, image_to_image_search, native_search
from .parts import (
    BLUE,
    GREEN,
    LEFT,
    THREE,
    actor_wires,
    enlarged,
    flux,
    full_note,
    group_below,
    judges,
    named,
    options,
    read_me,
    request,
    results,
    results_group,
    sampling,
    search,
)
from .stages import in_context, interleaved, staged_by_hand, staged_search
from .watched import think_first, verifier_ensemble, vlm_clip_search, vlm_local_search, vlm_search

PATIENT = ("a photo of two yellow circles", 5)  # six pictures, one of them from scratch


def first_look() -> Graph:
    read = read_me(notes.text(notes.FIRST_LOOK), 175)
    who = stack(LEFT, group_below(read), 320, *flux(False), *judges())
    asked = request(THREE, 11) | {"depth": 3} | actor_wires("flux")
    loop = search(440, notes.CHANGE_FIRST_LOOK, 120, **asked)
    shown = results(False, 940, "first_look")
    return Graph(
        "first_look",
        [*read, *who, *loop, *shown],
        [
            Group("1 · Who paints, judges, writes", BLUE, who),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def full_search(dev: bool) -> Graph:
    name = named("full_search", dev)
    read = read_me(full_note(dev, notes.FULL_SEARCH), 395 if dev else 280)
    who = stack(LEFT, group_below(read), 320, *flux(dev))
    painted = Wire(who[-1].name, "FLUX")
    how = stack(420, 0, 320, sampling(dev, painted), *judges(), options())
    asked = request("a photo of a red triangle and a green square", 10, width=3, drafts=4)
    asked |= {"save_run": True, "depth": 3, "options": Wire("options", "options")}
    loop = search(820, notes.CHANGE_FULL_SEARCH, 90, **asked, **actor_wires("sampling"))
    shown = results(dev, 1300, name)
    return Graph(
        name,
        [*read, *who, *how, *loop, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("How, and who judges", BLUE, how),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def adaptive(dev: bool) -> Graph:
    name = named("adaptive", dev)
    read = read_me(full_note(dev, notes.ADAPTIVE), 420 if dev else 305)
    who = stack(LEFT, group_below(read), 320, *flux(dev))
    painted = Wire(who[-1].name, "FLUX")
    how = stack(420, 0, 320, sampling(dev, painted), *judges(), options())
    asked = request(*PATIENT, strategy="adaptive", stop="when passed", depth=8)
    asked |= {"options": Wire("options", "options")}
    loop = search(820, notes.CHANGE_ADAPTIVE, 130, **asked, **actor_wires("sampling"))
    shown = results(dev, 1300, name)
    return Graph(
        name,
        [*read, *who, *how, *loop, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("Who judges, and how it searches", BLUE, how),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def noise_only(dev: bool) -> Graph:
    read = read_me(full_note(dev, notes.NOISE_ONLY, notes.FLUX_FILES), 255 if dev else 165)
    asked = request("a photo of a red triangle and a green square", 2, strategy="noise", depth=3)
    change, how = (notes.CHANGE_NOISE_ONLY, 90), notes.READ_NOISE
    return uncorrected(dev, named("noise_only", dev), read, asked, change, how)


def paths(dev: bool) -> Graph:
    read = read_me(full_note(dev, notes.PATHS, notes.FLUX_FILES), 320 if dev else 235)
    asked = request("a photo of a red triangle and a green square", 0, strategy="paths", depth=4)
    change, how = (notes.CHANGE_PATHS, 90), notes.READ_PATHS
    return uncorrected(dev, named("paths", dev), read, asked, change, how)


def uncorrected(
    dev: bool,
    name: str,
    read: list[Node],
    asked: dict[str, Any],
    change: tuple[str, int],
    how: str,
) -> Graph:
    """A search that needs a FLUX and a verifier only."""
    who = stack(LEFT, group_below(read), 320, *flux(dev, corrector=False), judges()[0])
    wires = actor_wires("flux")
    asked |= {name: wires[name] for name in ("flux", "verifier")}
    loop = search(440, *change, **asked)
    shown = results(dev, 940, name, how=how)
    return Graph(
        name,
        [*read, *who, *loop, *shown],
        [
            Group("1 · Who paints and judges", BLUE, who),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def potential(dev: bool) -> Graph:
    name = named("potential", dev)
    read = read_me(full_note(dev, notes.POTENTIAL), 420 if dev else 300)
    who = stack(LEFT, group_below(read), 320, *flux(dev))
    painted = Wire(who[-1].name, "FLUX")
    how = stack(420, 0, 320, sampling(dev, painted, steps=30), *judges())
    asked = request("a photo of a red triangle and a green square", 10, strategy="potential")
    asked |= {"drafts": 3, "depth": 3}
    loop = search(820, notes.CHANGE_POTENTIAL, 120, **asked, **actor_wires("sampling"))
    shown = results(dev, 1300, name, how=notes.READ_POTENTIAL)
    return Graph(
        name,
        [*read, *who, *how, *loop, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("How, and who judges", BLUE, how),
            Group("2 · The search", GREEN, loop),
            results_group(shown),
        ],
    )


def rounds_by_hand(dev: bool) -> Graph:
    """Two rows: what to search and the drafts, and the rounds; between them run the wires."""
    name = named("rounds_by_hand", dev)
    read = read_me(full_note(dev, notes.ROUNDS_BY_HAND), 380 if dev else 265)
    loaders = flux(dev)
    who = stack(LEFT, group_below(read), 320, *loaders, *judges())
    lanes = {"flux": 455, "verifier": 475, "writer": 495, "evolver": 515}
    far = actor_wires(loaders[-1].name, **{name: [(390, y), (805, y)] for name, y in lanes.items()})
    start = node("start", "ReflectionStart", **request(THREE, 11))
    begun = stack(440, 0, 320, start)

    def played(x: int, y: int, name: str, title: str, history: Wire, wires: dict) -> list[Node]:
        made = node(name, "ReflectionRound", 0, title, history=history, **wires)
        return stack(x, y, 340, made)

    back = ((1200, 535), (410, 535))
    first = played(850, 0, "round0", "Drafts", Wire("start", "history"), far)
    near = actor_wires(loaders[-1].name)
    rounds = [
        *played(440, 640, "round1", "Round 1", Wire("round0", "history", back), near),
        *played(850, 640, "round2", "Round 2", Wire("round1", "history"), far),
    ]
    shown = results(dev, 1270, name, source="round2")
    return Graph(
        name,
        [*read, *begun, *who, *first, *rounds, *shown],
        [
            Group("Who paints, judges, writes", BLUE, who),
            Group("1 · What to search", BLUE, begun),
            Group("2 · The drafts", GREEN, first),
            Group("Round by round", GREEN, rounds),
            results_group(shown),
        ],
    )


def score_folder() -> Graph:
    read = read_me(notes.text(notes.SCORE_FOLDER), 275)
    pictures = node("pictures", "LoadImageDataSetFromFolder", folder="my_pictures")
    given = stack(LEFT, group_below(read), 320, pictures, judges()[0])
    score = node(
        "score",
        "VerifierScore",
        560,
        images=Wire("pictures", "images"),
        prompt=THREE,
        verifier=Wire("verifier", "verifier"),
        order="best first",
        keep=0,
    )
    judged = stack(440, 0, 420, score)
    images, report = Wire("score", "images"), Wire("score", "report")
    shown = stack(
        940,
        0,
        760,
        node("ranked", "PreviewImage", 560, "Ranked, best first", images=images),
        node("report", "PreviewAny", 250, "Report: scores, and what is wrong", source=report),
    )
    return Graph(
        "score_folder",
        [*read, *given, *judged, *shown],
        [
            Group("1 · Pictures, and who judges", BLUE, given),
            Group("2 · Score and rank", GREEN, judged),
            results_group(shown),
        ],
    )


def correct_my_picture() -> Graph:
    read = read_me(notes.text(notes.CORRECT, notes.CORRECTOR_FILES, notes.ANY_PROMPT), 335)
    who = stack(440, 0, 320, *flux(True))
    loaded = node("picture", "LoadImage", title="My picture", image="example.png")
    picture = stack(440, group_below(who, 40), 320, loaded)
    prompt = "a photo of a red apple and a green mug on a wooden table"
    texts = stack(840, 0, 420, words("picture", "IMAGE", "corrector", prompt, "turn the mug green"))
    after = {"images": Wire("correct", "images")}
    after |= {"filename_prefix": "reflectionflow/correct_my_picture"}
    shown = stack(1340, 0, 660, node("after", "SaveImage", 720, "After", **after))
    return Graph(
        "correct_my_picture",
        [*read, *who, *picture, *texts, *shown],
        [
            Group("1 · Who paints", BLUE, who),
            Group("My picture", BLUE, picture),
            Group("2 · My words", GREEN, texts),
            results_group(shown),
        ],
    )


def correct_my_picture_miniature() -> Graph:
    """Its picture is painted, so that it runs at once: shapes are not what people have at hand."""
    read = read_me(notes.text(notes.CORRECT_MINIATURE, notes.MINIATURE), 275)
    who = stack(LEFT, group_below(read), 320, *flux(False))
    title = "Pictures to correct (or Load Image)"
    draft = {"flux": Wire("flux", "FLUX"), "prompt": "a photo of a red circle", "count": 4}
    draft |= {"seed": 2, "batch_size": 1}
    picture = stack(440, 0, 320, node("picture", "DraftSampler", 470, title, **draft))
    asked = ("a photo of a blue circle", "recolor the red circle blue")
    texts = stack(840, 0, 420, words("picture", "images", "flux", *asked, around=(400, 815)))
    y = group_below(texts, 80)  # wires run between
    way = ((795, 535), (410, 535))
    small, before = enlarged(False, Wire("picture", "images", way), "large_before")
    earlier = stack(440, y, 280, *small)
    earlier += stack(760, y, 500, node("before", "PreviewImage", title="Before", images=before))
    large, after = enlarged(False, Wire("correct", "images"), "large_after")
    rest = earlier[-1].end[1] - 132
    later = stack(1340, 0, 640, *large, node("after", "PreviewImage", rest, "After", images=after))
    return Graph(
        "correct_my_picture_miniature",
        [*read, *who, *picture, *texts, *later, *earlier],
        [
            Group("1 · Who paints", BLUE, who),
            Group("My pictures", BLUE, picture),
            Group("2 · My words", GREEN, texts),
            Group("Before", BLUE, earlier),
            results_group(later),
        ],
    )


def words(
    source: str, output: str, painter: str, prompt: str, said: str, around: tuple[int, ...] = ()
) -> Node:
    return node(
        "correct",
        "CorrectorSampler",
        title="My words",
        images=Wire(source, output),
        prompt=prompt,
        reflections=said,
        flux=Wire(painter, "FLUX", tuple((x, 510) for x in around)),
        seed=2,
        round=1,
        batch_size=1,
    )


GRAPHS = (
    first_look(),
    *(make(dev) for make in (full_search, by_hand, rounds_by_hand) for dev in (True, False)),
    *(make(dev) for make in (noise_only, adaptive) for dev in (True, False)),
    score_folder(),
    correct_my_picture(),
    correct_my_picture_miniature(),
    *(make(dev) for make in (native_search, native_ksampler) for dev in (True, False)),
    edit_search(),
    vlm_search(),
    vlm_local_search(),
    vlm_clip_search(),
    think_first(),
    verifier_ensemble(),
    *(image_to_image_search(dev) for dev in (True, False)),
    *(make(dev) for make in (potential, paths) for dev in (True, False)),
    *(make(dev) for make in (staged_search, interleaved, in_context) for dev in (True, False)),
    staged_by_hand(),
)
