"""Draws the templates' thumbnails from what the miniature's workflows paint on a running ComfyUI.

    cd workflows; python -m drawing.thumbnails 127.0.0.1:8188 [first_look ...]

Its folder input/my_pictures must hold pictures for score_folder. Needs Pillow and websocket-client.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from api.client import run
from PIL import Image, ImageDraw, ImageFont

from .canvas import KINDS, Graph, as_api, pairs
from .graphs import GRAPHS, score_folder
from .native import native_search

HERE = Path(__file__).parent.parent
SIDE, GAP, BAND = 512, 14, 40  # pixels; the template browser shows squares
PAPER, GOLD, INK = "#e9e6df", "#c8860d", "#333333"
Picture = Image.Image
Rows = Sequence[Sequence[Picture | None]]
Shown = tuple[Rows, Picture | None]  # and which of them is to have a frame


def main(server: str, *names: str) -> None:
    by_name = {graph.name: graph for graph in GRAPHS}
    for name in names or SHOWN:
        shown = SHOWN[name]
        rows, best = shown(server, by_name.get(f"{name}_miniature", by_name[name]))
        for graph in (name, f"{name}_miniature"):
            if graph in by_name:
                band = "for FLUX.1-dev · pictures by the miniature"
                free = name in FREE or graph.endswith("_miniature")
                drawn = drawing(rows, best, "" if free else band)
                drawn.save(HERE / f"{graph}.jpg", quality=88, optimize=True)


def shown_by(server: str, graph: Graph, kind: str, source: str, output: str) -> dict:
    """What a node of that kind shows of an output."""
    names = [name for name, _ in pairs(KINDS[graph.named(source).kind].outputs)]
    link = [str(graph.ids[source]), names.index(output)]
    inputs = {"images" if kind == "PreviewImage" else "source": link}
    looked = {"looked": {"class_type": kind, "inputs": inputs}}
    return run(server, as_api(graph) | looked)["outputs"]["looked"]


def painted(server: str, graph: Graph, source: str, output: str = "images") -> list[Picture]:
    images = shown_by(server, graph, "PreviewImage", source, output)["images"]
    urls = [f"http://{server}/view?{urlencode(image)}" for image in images]
    return [Image.open(io.BytesIO(urlopen(url).read())).convert("RGB") for url in urls]


def searched(server: str, graph: Graph) -> tuple[list[Picture], dict]:
    text = shown_by(server, graph, "PreviewAny", "trail", "report")["text"][0]
    return painted(server, graph, "trail"), json.loads(text)


def chains(server: str, graph: Graph) -> Shown:
    """Of every chain its draft, and its best picture beside it where that is another."""
    pictures, report = searched(server, graph)
    candidates = report["candidates"]
    found: dict[int, list[int]] = {}  # draft: those that descend from it
    for candidate in candidates:
        first = candidate["index"]
        while candidates[first]["parent"] is not None:
            first = candidates[first]["parent"]
        found.setdefault(first, []).append(candidate["index"])
    rows = []
    for draft, line in found.items():
        best = max(line, key=lambda index: candidates[index]["score"])
        rows.append([pictures[draft], pictures[best] if best != draft else None])
    return sorted(rows, key=lambda row: row[1] is None)[:3], pictures[report["best"]]


def every(server: str, graph: Graph) -> Shown:
    pictures, report = searched(server, graph)
    return [pictures[start : start + 3] for start in range(0, 9, 3)], pictures[report["best"]]


def rounds(server: str, graph: Graph) -> Shown:
    columns = [painted(server, graph, f"score{index}") for index in range(3)]
    return list(zip(*columns, strict=True)), None


def ranked(server: str, graph: Graph) -> Shown:
    pictures = painted(server, graph, "score")[:4]
    return [pictures[:2], pictures[2:]], pictures[0]


def before_and_after(*names: str, output: str = "images") -> Callable[[str, Graph], Shown]:
    def shown(server: str, graph: Graph) -> Shown:
        columns = (painted(server, graph, name, output)[:2] for name in names)
        return list(zip(*columns, strict=True)), None

    return shown


def drafts_only(server: str, _: Graph) -> Shown:
    """The miniature cannot edit: beside each of its drafts an empty card for who can."""
    drafts = searched(server, native_search(False))[0][:2]
    card = Image.new("RGB", (256, 256), "#ffffff")
    ImageDraw.Draw(card).text(
        (128, 128), "Kontext\nedits", INK, ImageFont.load_default(36), anchor="mm", align="center"
    )
    return [(draft, card) for draft in drafts], None


SHOWN: dict[str, Callable[[str, Graph], Shown]] = {
    "first_look": chains,
    "full_search": chains,
    "by_hand": rounds,
    "rounds_by_hand": chains,
    "noise_only": every,
    **dict.fromkeys(
        ("adaptive", "potential", "paths", "staged_search", "interleaved", "in_context"), chains
    ),
    "staged_by_hand_miniature": before_and_after("draft", "correct2"),
    "score_folder": ranked,
    "correct_my_picture": before_and_after("picture", "correct"),
    "native_search": chains,
    **dict.fromkeys(
        ("vlm_search", "vlm_local_search", "vlm_clip_search", "think_first"),
        lambda server, _: chains(server, native_search(False)),
    ),
    "verifier_ensemble": lambda server, _: ranked(server, score_folder()),
    "native_ksampler": before_and_after("before", "after", output="IMAGE"),
    "edit_search": drafts_only,
    "image_to_image_search": chains,
}
FREE = ("first_look", "score_folder")  # these need no files


def drawing(rows: Rows, best: Picture | None, band: str) -> Picture:
    """The rows in a square, one picture framed, with a line of text below if there is one."""
    height = SIDE - (BAND if band else 0)
    cell = min(SIDE // max(map(len, rows)), height // len(rows)) - GAP
    sheet = Image.new("RGB", (SIDE, SIDE), PAPER)
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            if picture is None:
                continue
            left = (SIDE - len(row) * (cell + GAP)) // 2 + x * (cell + GAP) + GAP // 2
            top = (height - len(rows) * (cell + GAP)) // 2 + y * (cell + GAP) + GAP // 2
            sheet.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (left, top))
            if picture is best:
                pen.rectangle((left - 4, top - 4, left + cell + 3, top + cell + 3), None, GOLD, 5)
    if band:
        pen.text(
            (SIDE // 2, SIDE - BAND // 2 - 4), band, INK, ImageFont.load_default(19), anchor="mm"
        )
    return sheet


if __name__ == "__main__":
    main(*sys.argv[1:])
