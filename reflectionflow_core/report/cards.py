"""A picture on a page: its boxes, its score, its reflection and the judge's findings."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from html import escape

from PIL import Image

from ..pictures import to_rgb
from ..record import Candidate, History
from .layout import PIXELATED
from .marks import BOXES, BoxMark, marked
from .words import (
    ELSEWHERE,
    NOT_ACCEPTED,
    notable_action,
    passed_text,
    region_text,
    score_text,
    seed_text,
    shortened,
    shown_score,
    stage_text,
)

MARKED = {"fault": "Fault at", "seen": "Seen at", "changed": "Changed"}  # kinds of boxes
MOST_WORDS = 400  # longest reflection above a picture, in characters
MOST_ALT = 160  # longest prompt or reflection in an alt text, in characters
Names = Mapping[int, str]  # names of candidates, by identity


def anchor(name: str) -> str:
    return name.replace(" no. ", "-").replace(" ", "-")


def link_to(candidate: Candidate, names: Names) -> str:
    """The candidate's name as a link to its card, without a link if it is not on the page."""
    name = names.get(id(candidate), "")
    return f'<a href="#{anchor(name)}">{name}</a>' if name else ELSEWHERE


def score_line(candidate: Candidate) -> str:
    passed = candidate.verdict.passed
    mark = ""
    said = escape(passed_text(candidate.verdict))
    if said and candidate.finished:
        mark = f'<span class="yes">✓ {said}</span>' if passed else f"<span>{said}</span>"
    return f'<p class="score"><strong>{shown_score(candidate.verdict)}</strong> {mark}</p>'


def asked_line(candidate: Candidate) -> str:
    """The reflection that the parent was corrected with; "" if there was none."""
    words = escape(shortened(candidate.reflection, MOST_WORDS))
    return f'<p class="asked" dir="auto">{words}</p>' if words else ""


def captions(candidate: Candidate, names: Names, follows: bool = False) -> str:
    """A picture's flaws, and its origin unless it `follows` its parent."""
    parts = []
    if candidate.parent is not None and not follows:
        parts.append(("From", link_to(candidate.parent, names)))
    if action := notable_action(candidate):
        parts.append(("Action", escape(action)))
    if place := region_text(candidate):
        parts.append(("Place", escape(place)))
    if candidate.broken:
        parts.append(("Broke", escape(f"{'; '.join(candidate.broken)}. {NOT_ACCEPTED}")))
    if candidate.inspection:
        parts.append(("Stage", escape(stage_text(candidate))))
    if candidate.verdict.failure is not None:
        parts.append(("Failed", escape(candidate.verdict.failure)))
    if unmet := candidate.verdict.unmet:
        items = "".join(f'<li dir="auto">{escape(fault)}</li>' for fault in unmet)
        parts.append(("Wrong", f"<ul>{items}</ul>"))
    items = (
        f'<div class="{t.lower()}"><dt>{t}</dt><dd dir="auto">{html}</dd></div>'
        for t, html in parts
    )
    return f"<dl>{''.join(items)}</dl>" if parts else ""


def details(facts: Iterable[tuple[str, str]], opened: bool = False) -> str:
    """A collapsible table of names and texts."""
    state = " open" if opened else ""
    return f"<details{state}><summary>Details</summary><table>{rows(facts)}</table></details>"


def facts(candidate: Candidate, prompt: str) -> Iterator[tuple[str, str]]:
    """What was seen in a picture, and how it was painted."""
    yield from judged_facts(candidate)
    if candidate.inspection and candidate.inspection.explanation:
        yield "Inspection", candidate.inspection.explanation
    if candidate.action:
        yield "Action", candidate.action
    if candidate.steps:
        yield "Diffusion steps", str(candidate.steps)
    yield "Seed", seed_text(candidate.seed)
    yield "Painted from", "the prompt" if candidate.prompt == prompt else candidate.prompt
    if len(candidate.reflection) > MOST_WORDS:
        yield "Asked", candidate.reflection


def judged_facts(
    candidate: Candidate, size: tuple[int, int] | None = None
) -> Iterator[tuple[str, str]]:
    """What each verifier saw in a picture; `size` is that of its file."""
    for aspect, value in candidate.verdict.aspects.items():
        yield aspect, score_text(value)
    if candidate.verdict.judged and candidate.verdict.explanation:
        yield "Explanation", candidate.verdict.explanation
    for mark in marked(candidate):
        yield MARKED[mark.kind], mark.words
    width, height = size or candidate.image.size
    yield "Size", f"{width} x {height}"


def rows(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(name)}</th><td dir="auto">{escape(value)}</td></tr>'
        for name, value in facts
    )


def picture(candidate: Candidate, edge: int, name: str) -> str:
    """The picture with the boxes of its verdict, and an alt text."""
    judged = candidate.verdict.judged
    scored = judged and not candidate.verdict.left_out
    score = f"{'score ' if scored else ''}{shown_score(candidate.verdict)}"
    alt = f"{name.capitalize()}, {score}, painted from: {shortened(candidate.prompt, MOST_ALT)}"
    if candidate.reflection:
        alt += f"; corrected as asked: {shortened(candidate.reflection, MOST_ALT)}"
    return boxed_picture(candidate, edge, alt)


def boxed_picture(candidate: Candidate, edge: int, alt: str) -> str:
    """The picture, at most `edge` pixels wide and high, with its verdict's boxes."""
    pixels = ' class="pixels"' if max(candidate.image.size) <= PIXELATED else ""
    width, height = candidate.image.size
    boxes = "".join(map(_box, marked(candidate)))
    return (
        f'<span class="boxed"><img{pixels} width="{width}" height="{height}" alt="{escape(alt)}" '
        f'src="{_data_uri(candidate.image, edge)}">{boxes}</span>'
    )


def boxes_switch(history: History) -> str:
    """A legend of the boxes with a switch that hides them; "" without boxes."""
    kinds = {mark.kind for candidate in history for mark in marked(candidate)}
    if not kinds:
        return ""
    words = ", ".join(f'<b class="{k}">{t}</b>' for k, (_, t) in BOXES.items() if k in kinds)
    return f'<label class="boxes"><input type="checkbox" checked> Boxes: {words}</label>'


def thumbnail(image: Image.Image, edge: int) -> str:
    """A small copy with an empty alt text, for a link that has a name."""
    pixels = ' class="pixels"' if max(image.size) <= PIXELATED else ""
    return f'<img{pixels} alt="" src="{_data_uri(image, edge)}">'


def _box(mark: BoxMark) -> str:
    left, top, right, bottom = (100 * edge for edge in mark.box)
    style = f"left:{left:g}%;top:{top:g}%;width:{right - left:.4g}%;height:{bottom - top:.4g}%"
    return f'<i class="{mark.kind}" style="{style}" title="{escape(mark.words)}"></i>'


def _data_uri(image: Image.Image, edge: int) -> str:
    """A small picture as PNG; a large one scaled down, as JPEG."""
    buffer = io.BytesIO()
    kind = "PNG" if max(image.size) <= PIXELATED else "JPEG"
    shown = to_rgb(image)
    shown.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    shown.save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
