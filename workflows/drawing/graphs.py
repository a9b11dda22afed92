"""Every workflow that we ship, once; `python workflows/make.py` writes both formats of each.

A graph with a miniature twin is a function of `dev`: True for FLUX.1-dev, False for the miniature.
"""

from __future__ import annotations

from typing import Any

from . import notes
from .by_hand import by_hand
from .canvas import Graph, Group, Note, Wire, node
from .parts import (
    BLUE,
    GOLD,
    GREEN,
    RESULTS,
    THREE,
    enlarged,
    flux,
    full_note,
    judges,
    miniature,
    named,
    names,
    options,
    request,
    results,
    sampling,
    seats,
)


def first_look() -> Graph:
    """So narrow that ComfyUI opens it large enough to read."""
    asked = request(THREE, 1)
    return Graph(
        "first_look",
        Note(notes.text(notes.FIRST_LOOK), (0, 0), (360, 380)),
        (
            miniature(20, 500),
            *judges(20, 640, step=140),
            node(
                "loop", "ReflectionLoop", (440, 0), (420, 1000), **asked, **seats("flux"), depth=3
            ),
            *results(False, 940, Wire("loop", "history"), "first_look", height=1000),
        ),
        (
            Group("1 · Who paints, judges, writes", BLUE, ("flux", "evolver")),
            Group("2 · The search", GREEN, ("loop",)),
            RESULTS,
        ),
    )


def full_search(dev: bool) -> Graph:
    name = named("full_search", dev)
    loaders, painter = flux(dev, 400, 0)
    asked = request("a photo of a red triangle and a green square", 8, width=3, drafts=4)
    return Graph(
        name,
        Note(full_note(dev, notes.FULL_SEARCH), (0, 260), (720, 480)),
        (
            *loaders,
            sampling(dev, 800, 0, Wire(painter, "FLUX")),
            *judges(800, 300),
            options(800, 760),
            node(
                "loop",
                "ReflectionLoop",
                (1200, 0),
                (420, 1040),
                **asked | {"save_run": True},
                **seats("sampling"),
                depth=3,
                options=Wire("options", "options"),
            ),
            *results(dev, 1700, Wire("loop", "history"), name),
        ),
        (
            Group("1 · Who paints, and how", BLUE, (*names(loaders), "sampling")),
            Group("Who judges · options", BLUE, ("verifier", "options")),
            Group("2 · The search", GREEN, ("loop",)),
            RESULTS,
        ),
    )


def noise_only(dev: bool) -> Graph:
    name = named("noise_only", dev)
    prompt = "a photo of a yellow triangle and a blue circle"
    asked = request(prompt, 5, width=4, strategy="noise")
    return Graph(
        name,
        Note(full_note(dev, notes.NOISE_ONLY, notes.FLUX_FILES), (0, 0), (360, 500)),
        (
            *flux(dev, 20, 620, corrector=False)[0],
            judges(20, 760)[0],
            node(
                "loop",
                "ReflectionLoop",
                (440, 0),
                (420, 850),
                **asked,
                flux=Wire("flux", "FLUX"),
                verifier=Wire("verifier", "verifier"),
                depth=1,
            ),
            *results(dev, 940, Wire("loop", "history"), name, height=850),
        ),
        (
            Group("1 · Who paints and judges", BLUE, ("flux", "verifier")),
            Group("2 · The search", GREEN, ("loop",)),
            RESULTS,
        ),
    )


def rounds_by_hand(dev: bool) -> Graph:
    name = named("rounds_by_hand", dev)
    loaders, painter = flux(dev, 440, 560)
    lanes = {"flux": 560, "verifier": 585, "writer": 610, "evolver": 635}  # below the rounds
    titles = ("Drafts", "Round 1", "Round 2, if still needed")
    begun = node("start", "ReflectionStart", (440, 0), **request(THREE, 1, stop="when passed"))
    chain = [begun]
    for i, title in enumerate(titles):
        # The first round is reached directly; wires to the others run in their lanes.
        via = {w: [(x, y) for x in (860, 1320, 1780)[: i + 1]] for w, y in lanes.items()}
        wires = seats(painter, **via) if i else seats(painter)
        history = Wire(chain[-1].name, "history")
        at = (900 + 460 * i, 0)
        chain.append(
            node(f"round{i}", "ReflectionRound", at, title=title, history=history, **wires)
        )
    return Graph(
        name,
        Note(full_note(dev, notes.ROUNDS_BY_HAND), (-420 if dev else 0, 0), (380, 500)),
        (*loaders, *judges(440, 720), *chain, *results(dev, 2300, Wire("round2", "history"), name)),
        (
            Group("1 · What to search", BLUE, ("start",)),
            Group("Who paints, judges, writes", BLUE, (*names(loaders), "evolver")),
            Group("2 · The rounds", GREEN, ("round0", "round2")),
            RESULTS,
        ),
    )


def score_folder() -> Graph:
    return Graph(
        "score_folder",
        Note(notes.text(notes.SCORE_FOLDER), (0, 0), (380, 460)),
        (
            node("pictures", "LoadImageDataSetFromFolder", (460, 0), folder="my_pictures"),
            node("verifier", "VerifierLoader", (460, 160), verifier="exact", error=0.0),
            node(
                "score",
                "VerifierScore",
                (860, 0),
                (380, 460),
                images=Wire("pictures", "images"),
                prompt=THREE,
                verifier=Wire("verifier", "verifier"),
                order="best first",
                keep=0,
            ),
            node(
                "ranked",
                "PreviewImage",
                (1320, 0),
                (760, 460),
                title="Ranked, best first",
                images=Wire("score", "images"),
            ),
            node(
                "report",
                "PreviewAny",
                (1320, 520),
                (760, 260),
                title="Report: scores, and what is wrong",
                source=Wire("score", "report"),
            ),
        ),
        (
            Group("1 · Pictures, and who judges", BLUE, ("pictures", "verifier")),
            Group("2 · Score and rank", GREEN, ("score",)),
            Group("3 · What came of it", GOLD, ("ranked", "report")),
        ),
    )


def correct_my_picture() -> Graph:
    loaders, painter = flux(True, 460, 0)
    return Graph(
        "correct_my_picture",
        Note(
            notes.text(notes.CORRECT, notes.CORRECTOR_FILES, notes.ANY_PROMPT), (0, 200), (380, 580)
        ),
        (
            *loaders,
            node("picture", "LoadImage", (460, 240), (320, 540), "My picture", image="example.png"),
            node(
                "correct",
                "CorrectorSampler",
                (860, 0),
                (460, 780),
                "My words",
                images=Wire("picture", "IMAGE"),
                prompt="a photo of a red apple and a green mug on a wooden table",
                reflections="turn the mug green",
                **painted_with(painter, round=1),
            ),
            node(
                "after",
                "SaveImage",
                (1400, 0),
                (760, 780),
                "After",
                images=Wire("correct", "images"),
                filename_prefix="reflectionflow/correct_my_picture",
            ),
        ),
        (
            Group("1 · Who paints", BLUE, names(loaders)),
            Group("My picture", BLUE, ("picture",)),
            Group("2 · My words", GREEN, ("correct",)),
            Group("3 · What came of it", GOLD, ("after",)),
        ),
    )


def correct_my_picture_miniature() -> Graph:
    """Its picture is painted, so that it runs at once: shapes are not what people have at hand."""
    around = ((1230, 560),)  # below the corrector
    picture = "a photo of a red circle"
    after, before = Wire("large_after", "IMAGE"), Wire("large_before", "IMAGE")
    return Graph(
        "correct_my_picture_miniature",
        Note(notes.text(notes.CORRECT_MINIATURE, notes.MINIATURE), (0, 0), (380, 400)),
        (
            miniature(460, 0),
            node(
                "picture",
                "DraftSampler",
                (860, 160),
                (320, 380),
                "Pictures to correct (or Load Image)",
                **painted_with("flux", prompt=picture, count=4),
            ),
            node(
                "correct",
                "CorrectorSampler",
                (1260, 0),
                (460, 460),
                "My words",
                images=Wire("picture", "images"),
                prompt="a photo of a blue circle",
                reflections="recolor the red circle blue",
                **painted_with("flux", round=1),
            ),
            enlarged("large_after", (1800, 0), Wire("correct", "images")),
            node(
                "after",
                "PreviewImage",
                (2160, 0),
                title="After",
                images=after,
            ),
            enlarged("large_before", (1800, 540), Wire("picture", "images", around)),
            node(
                "before",
                "PreviewImage",
                (2160, 540),
                title="Before",
                images=before,
            ),
        ),
        (
            Group("1 · Who paints, and what", BLUE, ("flux", "picture")),
            Group("2 · My words", GREEN, ("correct",)),
            Group("3 · What came of it", GOLD, ("large_after", "before")),
        ),
    )


def painted_with(painter: str, **first: Any) -> dict[str, Any]:
    return first | {"flux": Wire(painter, "FLUX"), "seed": 2, "batch_size": 1}


GRAPHS = (
    first_look(),
    *(make(dev) for make in (full_search, by_hand, rounds_by_hand) for dev in (True, False)),
    *(noise_only(dev) for dev in (True, False)),
    score_folder(),
    correct_my_picture(),
    correct_my_picture_miniature(),
)
