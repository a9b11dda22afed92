"""Draws the templates' thumbnails: their names, and pictures that the miniature paints.

    cd workflows; python -m drawing.thumbnails 127.0.0.1:8188 [first_look ...]

The server's folder input/my_pictures must hold pictures for rank_folder. Needs Pillow, matplotlib
(for its font) and websocket-client.
"""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import matplotlib
from api.client import run
from PIL import Image, ImageDraw, ImageFont

from . import miniatures
from .canvas import Graph, as_api
from .graphs import TEMPLATES
from .kinds import KINDS, pairs
from .searches import first_look

HERE = Path(__file__).parent.parent
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SIDE, GAP, NAME, FOOT = 512, 14, 128, 40  # pixels; the template browser shows squares
PAPER, GOLD, INK, WHITE = "#e9e6df", "#c8860d", "#333333", "#ffffff"
COLOURS = {"1": "#3b6e4c", "2": "#2f5d86", "3": "#7a5a1e", "4": "#6b3a6e"}  # of the groups
FEET = {"1": "nothing to download", "4": "for models of today · pictures by the miniature"}
FEET |= {"2.5": "judged by Qwen3-VL · pictures by the miniature"}
FOR_FLUX = "for FLUX.1-dev · pictures by the miniature"
Picture = Image.Image
Rows = Sequence[Sequence[Picture | None]]
Shown = tuple[Rows, Picture | None]  # and which of them is to have a frame


def main(server: str, *names: str) -> None:
    for graph in TEMPLATES:
        if names and graph.name not in names:
            continue
        foot = FEET.get(graph.title[:3]) or FEET.get(graph.title[0], FOR_FLUX)
        drawn = drawing(graph.title, *SHOWN[graph.name](server), foot)
        drawn.save(HERE / f"{graph.title}.jpg", quality=86, optimize=True)


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


def chains(graph: Graph, count: int = 2) -> Callable[[str], Shown]:
    """Of every chain its draft, and its best picture beside it where that is another."""

    def shown(server: str) -> Shown:
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
        rows.sort(key=lambda row: row[1] is None)
        return rows[:count], pictures[report["best"]]

    return shown


def every(server: str) -> Shown:
    pictures, report = searched(server, miniatures.noise_only())
    return [pictures[:4], pictures[4:8]], pictures[report["best"]]


def ranked(server: str) -> Shown:
    """Four pictures with their places."""
    pictures = painted(server, miniatures.score_folder(), "score")[:4]
    font = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 60)
    placed = [picture.resize((256, 256), Image.Resampling.LANCZOS) for picture in pictures]
    for place, picture in enumerate(placed, 1):
        ImageDraw.Draw(picture).text((18, 4), str(place), INK, font)
    return [placed[:2], placed[2:]], placed[0]


def bests(server: str) -> Shown:
    pictures = painted(server, miniatures.prompt_batch(), "batch", "best")
    return [pictures[:2], pictures[2:4]], None


def pair(graph: Graph, *names: str, output: str = "images") -> Callable[[str], Shown]:
    """A picture before and after."""

    def shown(server: str) -> Shown:
        before, after = (painted(server, graph, name, output)[0] for name in names)
        return [[before, after]], after

    return shown


def card(words: str) -> Callable[[str], Shown]:
    """A draft, and beside it a card for what the miniature cannot paint."""

    def shown(server: str) -> Shown:
        draft = searched(server, miniatures.native_search())[0][0]
        blank = worded(words)
        return [[draft, blank]], blank

    return shown


def worded(words: str) -> Picture:
    blank = Image.new("RGB", (256, 256), WHITE)
    pen, font = ImageDraw.Draw(blank), ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 40)
    pen.text((128, 128), words, INK, font, anchor="mm", align="center")
    return blank


SEARCH = chains(miniatures.native_search())
FIX = pair(miniatures.correct_my_picture(), "picture", "correct")
SHOWN: dict[str, Callable[[str], Shown]] = {
    "first_look": chains(first_look()),
    "fix_by_words_miniature": FIX,
    "by_hand": chains(miniatures.rounds_by_hand()),
    "search": SEARCH,
    "server_search": chains(miniatures.full_search()),
    "fix_by_words": FIX,
    "fix_what_the_critic_finds": chains(miniatures.full_search(), 1),
    "rank_folder": ranked,
    "best_of_many": every,
    "ksampler": pair(miniatures.native_ksampler(), "before", "after", output="IMAGE"),
    "kontext": card("Kontext\nedits"),
    "staged": pair(miniatures.staged_by_hand(), "draft", "correct2"),
    "exact_words": card("FRESH\nBREAD"),
    "many_prompts": bests,
    "krea2": card("Krea 2\npaints"),
    "klein": card("klein\nedits"),
    "qwen_image": card("Qwen\nedits"),
    "z_image": card("Z-Image\npaints"),
}


def drawing(title: str, rows: Rows, best: Picture | None, foot: str) -> Picture:
    """The rows, one picture framed, a line below them, and the name in large letters at the foot,
    since ComfyUI puts a badge over the top.
    """
    number, words = title.replace("Reflection, ", "").split(" ", 1)
    sheet = Image.new("RGB", (SIDE, SIDE), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, SIDE - NAME, SIDE, SIDE), COLOURS[number[0]])
    large = ImageFont.truetype(FONTS / "DejaVuSans-Bold.ttf", 36)
    lines = textwrap.fill(words[0].upper() + words[1:], 22)
    pen.multiline_text(
        (SIDE // 2, SIDE - NAME // 2), lines, WHITE, large, anchor="mm", align="center"
    )
    height = SIDE - NAME - FOOT
    cell = min(SIDE // max(map(len, rows)), height // len(rows)) - GAP
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            if picture is None:
                continue
            left = (SIDE - len(row) * (cell + GAP)) // 2 + x * (cell + GAP) + GAP // 2
            top = (height - len(rows) * (cell + GAP)) // 2 + y * (cell + GAP) + GAP // 2
            sheet.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), (left, top))
            if picture is best:
                pen.rectangle((left - 4, top - 4, left + cell + 3, top + cell + 3), None, GOLD, 5)
    small = ImageFont.truetype(FONTS / "DejaVuSans.ttf", 19)
    pen.text((SIDE // 2, height + FOOT // 2), foot, INK, small, anchor="mm")
    return sheet


if __name__ == "__main__":
    main(*sys.argv[1:])
