"""The contact sheet: a search in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from ..pictures import to_rgb
from ..record import Candidate, History
from ..search import unjudged_text
from ..settings import SearchSettings
from .layout import PIXELATED, Column, columns, parents_elsewhere
from .lettering import lettered, wrapped
from .marks import BOXES, BoxMark, marked
from .words import (
    ELSEWHERE,
    PREVIEW_ONLY,
    candidate_name,
    cost_text,
    counted,
    ended_text,
    finished_from,
    notable_action,
    region_text,
    settings_text,
    shown_score,
    stage_text,
    wrong_text,
)

PAPER, INK, MUTED, LINE = "#fbfaf8", "#22262b", "#777d86", "#dcd8d0"
ARROW, GOLD, GREEN, RED, BLUE = "#a9a59c", "#c58a1b", "#2f7d4f", "#b0452c", "#3a5f95"
MARKS = {"fault": RED, "seen": GREEN, "changed": BLUE}
FADED = 0.6  # share of the background mixed into a preview
MARGIN, GUTTER, ROW_GAP = 40, 48, 36
LEAST_WIDTH = 640
DONE = "Done"  # the label of what a preview became
NAME_LINES = 3  # lines of a name
BOX = 3  # line width of a box in pixels, with its light edge

Origins = dict[Candidate, list[tuple[str, str]]]  # labels followed by names of candidates


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text; a `label` is drawn in the indent, in its own colour."""

    text: str
    font: FreeTypeFont
    colour: str
    leading: int  # pixels to the next line
    indent: int = 0
    label: str = ""
    label_colour: str = INK


@dataclass(frozen=True, slots=True)
class Cell:
    """A candidate on the sheet; `x`, `y` are its top left corner, `fate` that of a preview."""

    candidate: Candidate
    caption: tuple[Line, ...]
    row: int
    x: int
    y: int
    fate: str = PREVIEW_ONLY


def contact_sheet(
    history: History,
    prompt: str,
    settings: SearchSettings | None = None,
    model: str = "",
    note: str = "",
) -> Image.Image:
    """All candidates with score, parent, reflection, faults; a legend; `note` ends the heading."""
    if not len(history):
        raise ValueError("An empty history has no contact sheet.")
    laid, left_out = columns(history)
    box = box_size(history, len(laid))
    width = max(LEAST_WIDTH, 2 * MARGIN + len(laid) * (box[0] + GUTTER) - GUTTER)
    notes = [settings_text(settings, model)]
    notes.append(" ".join(filter(None, [ended_text(history, settings), cost_text(history.cost)])))
    if left_out:
        notes.append(f"{counted(left_out, 'more picture')} in the report")
    head = list(heading(history, prompt, [*notes, note], width - 2 * MARGIN))
    top = MARGIN + sum(line.leading for line in head) + 28
    cells, bottom = _cells(laid, _origins(laid, history), prompt, box, top + 48)
    foot = list(legend(history, prompt, width - 2 * MARGIN))
    height = bottom + sum(line.leading for line in foot) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_lines(draw, head, MARGIN, MARGIN)
    draw_rule(draw, top - 18, width)
    draw_rule(draw, bottom - 10, width)
    write_lines(draw, foot, MARGIN, bottom)
    _titles(draw, laid, box[0], top)
    _arrows(sheet, cells, box)
    best = history.best if history.best.verdict.judged else None
    for cell in cells:
        paint_cell(sheet, cell, box, best=cell.candidate is best)
    return sheet


def box_size(history: History, count: int) -> tuple[int, int]:
    """The box in pixels for each picture."""
    edge = 320 if count <= 3 else 256 if count <= 8 else 192
    sizes = {_shown_size(size, edge) for size in {c.image.size for c in history}}
    return max(min(edge, 224), *(w for w, _ in sizes)), max(h for _, h in sizes)


def _shown_size(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """Small pictures are enlarged by a whole factor, large ones reduced to `edge`."""
    longest = max(size)
    if longest <= PIXELATED:
        return size[0] * max(1, edge // longest), size[1] * max(1, edge // longest)
    scale = min(1.0, edge / longest)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def heading(history: History, prompt: str, notes: list[str], width: int) -> Iterator[Line]:
    texts, font = wrapped(prompt, 26, width, 4)
    for text in texts:
        yield Line(text, font, INK, leading=34)
    yield Line("", font, MUTED, leading=6)
    coloured = [*((note, MUTED) for note in notes), (unjudged_text(history), RED)]
    for note, colour in filter(lambda each: each[0], coloured):
        texts, font = wrapped(note, 15, width, 6)
        for text in texts:
            yield Line(text, font, colour, leading=22)


def legend(history: History, prompt: str, width: int) -> Iterator[Line]:
    """What the parts of this sheet mean."""
    texts, font = wrapped(" ".join(_meanings(history, prompt)), 14, width, 6)
    for text in texts:
        yield Line(text, font, MUTED, leading=21)


def _meanings(history: History, prompt: str) -> Iterator[str]:
    kinds = {mark.kind for candidate in history for mark in marked(candidate)}
    if any(candidate.parent for candidate in history):
        yield "Each row is a chain: an arrow leads from a picture to its correction."
    if len(history.unjudged) < len(history):
        yield "Number: the judge's score, higher is better. Gold frame: the best picture."
    if any(candidate.reflection for candidate in history):
        yield "Asked: what the correction was told to change."
    if any(candidate.verdict.unmet for candidate in history):
        yield "Wrong: what the judge finds wrong."
    if kinds:
        boxes = (f"{colour} {what}" for kind, (colour, what) in BOXES.items() if kind in kinds)
        yield f"Boxes: {', '.join(boxes)}."
    if any(candidate.prompt != prompt for candidate in history):
        yield "Prompt: the words that a picture was painted from, where they are others."


def _origins(laid: list[Column], history: History) -> Origins:
    """Captions for arrows to another row: a name at both ends; and what a preview became."""
    names = {candidate: candidate_name(*slot) for slot, candidate in history.placed}
    pairs = list(parents_elsewhere(laid))
    origins: Origins = {parent: [("Name", names[parent])] for _, parent in pairs if parent in names}
    for child, parent in pairs:
        origins.setdefault(child, []).append(("From", names.get(parent, ELSEWHERE)))
    finished = finished_from(history)
    for candidate in names:
        if name := finished.get(id(candidate)):
            origins.setdefault(candidate, []).append((DONE, f"as {name}"))
    return origins


def _cells(
    laid: list[Column],
    origins: Origins,
    prompt: str,
    box: tuple[int, int],
    top: int,
) -> tuple[list[Cell], int]:
    """The cells, and the bottom of the last row; rows are as high as their longest caption."""
    cells: list[Cell] = []
    for row in range(len(laid[0].cells)):
        lowest = top
        for index, column in enumerate(laid):
            candidate = column.cells[row]
            if candidate is not None:
                origin = origins.get(candidate, [])
                caption = tuple(caption_of(candidate, origin, prompt, box[0]))
                x = MARGIN + index * (box[0] + GUTTER)
                fate = "preview" if DONE in dict(origin) else PREVIEW_ONLY
                cells.append(Cell(candidate, caption, row, x, top, fate))
                height = box[1] + 12 + 26 + sum(line.leading for line in caption)
                lowest = max(lowest, top + height)
        top = lowest + ROW_GAP
    return cells, top


def caption_of(
    candidate: Candidate,
    origin: Sequence[tuple[str, str]],
    prompt: str,
    width: int,
    most: int = 3,
) -> Iterator[Line]:
    """The lines below a picture, with at most `most` lines of faults."""
    for label, name in origin:
        yield from _labelled(label, MUTED, name, INK, width, NAME_LINES)
    if action := notable_action(candidate):
        yield from _labelled("Action", MUTED, action, INK, width, 1)
    if candidate.reflection:
        yield from _labelled("Asked", BLUE, candidate.reflection, INK, width, 4)
    if place := region_text(candidate):
        yield from _labelled("Place", BLUE, place, INK, width, 2)
    if candidate.broken:
        yield from _labelled("Broke", RED, "; ".join(candidate.broken), INK, width, 2)
    if candidate.inspection:
        yield from _labelled("Stage", BLUE, stage_text(candidate), INK, width, 3)
    if candidate.verdict.failure is not None:
        yield from _labelled("Failed", RED, candidate.verdict.failure, INK, width, 3)
    if candidate.verdict.unmet:
        yield from _labelled("Wrong", RED, wrong_text(candidate), INK, width, most)
    if candidate.prompt != prompt:
        yield from _labelled("Prompt", MUTED, candidate.prompt, MUTED, width, 3)


def _labelled(
    label: str, label_colour: str, text: str, colour: str, width: int, most: int
) -> Iterator[Line]:
    indent = _indent()
    lines, font = wrapped(text, 14, width - indent, most)
    for index, line in enumerate(lines):
        leading = 25 if index == len(lines) - 1 else 19
        yield Line(line, font, colour, leading, indent, label if index == 0 else "", label_colour)


def _indent() -> int:
    """The indent of a caption's text, wider than all labels."""
    return round(lettered("Prompt", 14)[1].getlength("Prompt")) + 10


def write_lines(draw: ImageDraw.ImageDraw, lines: Sequence[Line], x: int, y: int) -> None:
    for line in lines:
        if line.label:
            draw.text((x, y), line.label, line.label_colour, lettered(line.label, 14)[1])
        draw.text((x + line.indent, y), line.text, line.colour, line.font)
        y += line.leading


def draw_rule(draw: ImageDraw.ImageDraw, y: int, width: int) -> None:
    draw.line((MARGIN, y, width - MARGIN, y), LINE)


def _titles(draw: ImageDraw.ImageDraw, laid: list[Column], width: int, y: int) -> None:
    for index, column in enumerate(laid):
        x = MARGIN + index * (width + GUTTER)
        title, font = lettered(column.title, 17)
        draw.text((x, y + 20), title, INK, font, anchor="ls")
        note, small = lettered(column.note, 14)
        draw.text((x + width, y + 20), note, MUTED, small, anchor="rs")


def paint_cell(sheet: Image.Image, cell: Cell, box: tuple[int, int], best: bool) -> None:
    draw = ImageDraw.Draw(sheet)
    image = to_rgb(cell.candidate.image)
    size = _fitted(image.size, box)
    kind = Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.LANCZOS
    x, y = cell.x, cell.y + (box[1] - size[1]) // 2
    shown = image.resize(size, kind)
    if not cell.candidate.finished:
        shown = Image.blend(shown, Image.new("RGB", size, PAPER), FADED)
    sheet.paste(shown, (x, y))
    for mark in marked(cell.candidate):
        _outline(draw, mark, (x, y), size)
    frame = (x - 1, y - 1, x + size[0], y + size[1])
    draw.rectangle(frame, outline=LINE)
    if best:
        outer = (frame[0] - 5, frame[1] - 5, frame[2] + 5, frame[3] + 5)
        draw.rounded_rectangle(outer, 4, outline=GOLD, width=3)
    _score(sheet, cell, box, best)
    write_lines(draw, cell.caption, cell.x, cell.y + box[1] + 12 + 28)


def _outline(
    draw: ImageDraw.ImageDraw, mark: BoxMark, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    """A box on the picture shown at `corner` in `size`, with a light inner edge.

    It is drawn around its content, so that small writing stays legible.
    """
    last = size[0] - 1, size[1] - 1
    edges = [round(edge * last[i % 2]) for i, edge in enumerate(mark.box)]
    low = [corner[i] + max(0, edges[i] - BOX) for i in (0, 1)]
    high = [corner[i] + min(last[i], edges[i + 2] + BOX) for i in (0, 1)]
    draw.rectangle((*low, *high), outline=PAPER, width=BOX)
    draw.rectangle((*low, *high), outline=MARKS[mark.kind], width=BOX - 1)


def _fitted(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    shown = _shown_size(size, max(box))
    return shown if shown[0] <= box[0] and shown[1] <= box[1] else _shown_size(size, min(box))


def _score(sheet: Image.Image, cell: Cell, box: tuple[int, int], best: bool) -> None:
    draw = ImageDraw.Draw(sheet)
    base = cell.y + box[1] + 12 + 16
    text, font = lettered(shown_score(cell.candidate.verdict), 18)
    draw.text((cell.x, base), text, INK, font, anchor="ls")
    passed = cell.candidate.verdict.passed
    mark, colour = ("passed", GREEN) if passed else ("not passed", MUTED)
    x = cell.x + round(font.getlength(text)) + 12
    if not cell.candidate.finished:
        word, small = lettered(cell.fate, 14)
        draw.text((x, base), word, MUTED, small, anchor="ls")
    elif passed is not None:
        _mark(sheet, (x, base - 14), passed, colour)
        word, small = lettered(mark, 14)
        draw.text((x + 22, base), word, colour, small, anchor="ls")
    if best:
        word, small = lettered("best", 14)
        draw.text((cell.x + box[0], base), word, GOLD, small, anchor="rs")


def _mark(sheet: Image.Image, corner: tuple[int, int], passed: bool, colour: str) -> None:
    """A tick or a cross in a disc, drawn four times as large for smooth edges."""
    mask = Image.new("L", (64, 64))
    draw = ImageDraw.Draw(mask)
    draw.ellipse((0, 0, 63, 63), 255)
    if passed:
        draw.line([(17, 33), (28, 44), (47, 21)], 0, 8, joint="curve")
    else:
        draw.line([(21, 21), (43, 43)], 0, 8)
        draw.line([(43, 21), (21, 43)], 0, 8)
    sheet.paste(colour, corner, mask.resize((16, 16), Image.Resampling.LANCZOS))


def _arrows(sheet: Image.Image, cells: list[Cell], box: tuple[int, int]) -> None:
    by_id = {id(cell.candidate): cell for cell in cells}
    for cell in cells:
        parent = by_id.get(id(cell.candidate.parent))
        if parent:
            _arrow(sheet, list(path(parent, cell, box)))


def path(parent: Cell, child: Cell, box: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """A line straight to the next column, or above the pictures to a later column.

    Vertical parts of neighbouring and arriving arrows do not overlap.
    """
    out = parent.x + box[0] + 14 + parent.row % 3 * 4
    start = (parent.x + box[0] + 9, parent.y + box[1] // 2)
    end = (child.x - 9, child.y + box[1] // 2)
    yield start
    if child.x - parent.x > box[0] + GUTTER:
        lane = child.y - ROW_GAP // 2 + 4
        yield from ((out, start[1]), (out, lane))
        yield from ((end[0] - 12, lane), (end[0] - 12, end[1]))
    elif start[1] != end[1]:
        yield from ((out, start[1]), (out, end[1]))
    yield end


def _arrow(sheet: Image.Image, path: list[tuple[int, int]]) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.line(path, ARROW, 2)
    x, y = path[-1]
    scale = 4
    head = Image.new("L", (10 * scale, 12 * scale))
    ImageDraw.Draw(head).polygon(
        [(0, 0), (10 * scale - 1, 6 * scale), (0, 12 * scale - 1)], fill=255
    )
    sheet.paste(ARROW, (x - 8, y - 5), head.resize((10, 12), Image.Resampling.LANCZOS))
