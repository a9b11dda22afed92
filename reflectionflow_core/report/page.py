"""The report as one HTML file with embedded pictures, without scripts or other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from PIL import Image

from ..phases import doing
from ..pictures import to_rgb
from ..record import Candidate, Cost, History
from ..search import unjudged_text
from ..settings import SearchSettings
from .chart import score_chart
from .layout import PIXELATED
from .marks import BoxMark, marked
from .words import (
    NOT_ACCEPTED,
    candidate_name,
    cost_text,
    duration,
    notable_action,
    passed_text,
    region_text,
    round_name,
    score_text,
    seed_text,
    settings_text,
    stage_text,
    wrong_text,
)

FEW = 64  # up to so many pictures are embedded in a large size
MARKED = {"fault": "Fault at", "seen": "Seen at", "changed": "Changed"}  # kinds of marks


def html_page(
    history: History,
    prompt: str,
    settings: SearchSettings | None = None,
    model: str = "",
    judge: str = "",
) -> str:
    """Everything on the contact sheet, and each candidate's details; `judge` is what was found out
    of the vision-language model."""
    if not len(history):
        raise ValueError("An empty history has no report.")
    names = {id(candidate): candidate_name(*slot) for slot, candidate in history.placed}
    edge = 640 if len(history) <= FEW else 256
    body = [
        f"<header><h1>{escape(prompt)}</h1>",
        f"<p>{escape(settings_text(settings, model))}</p>{_unjudged(history)}{_judge(judge)}"
        f"{_plan(settings)}</header>",
        _overview(history, names, edge),
        *(
            _round(index, candidates, history, prompt, names, edge)
            for index, candidates in enumerate(history.rounds)
        ),
    ]
    return document(prompt, "\n".join(body))


def document(title: str, body: str) -> str:
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _unjudged(history: History) -> str:
    text = unjudged_text(history)
    return f'<p class="failed" role="alert">{escape(text)}</p>' if text else ""


def _judge(found: str) -> str:
    return f"<p>Judge: {escape(found)}</p>" if found else ""


def _plan(settings: SearchSettings | None) -> str:
    """What each stage of a staged search is to add, and the scene after it."""
    stages = settings.stages if settings else ()
    items = (f"<li>{escape(s.instruction)} → {escape(s.scene)}</li>" for s in stages)
    return f'<ol aria-label="Stages">{"".join(items)}</ol>' if stages else ""


def _overview(history: History, names: dict[int, str], edge: int) -> str:
    best = history.best
    name = names[id(best)]
    link = f'href="#{_anchor(name)}"'
    title = "Best picture" if best.verdict.judged else "First picture, none was judged"
    return (
        f'<section class="overview"><a class="hero" {link}>{_picture(best, edge)}</a>'
        f"<div><h2>{title}: <a {link}>{name}</a></h2>{score_line(best)}"
        f"{captions(best, names)}{_costs(history.cost)}</div>"
        f"{_chart(history)}</section>"
    )


def _chart(history: History) -> str:
    chart = score_chart(history)
    if not chart:
        return ""
    return (
        f"<figure>{chart}<figcaption>Score of each picture, in the order they were "
        f"painted. The line is the best so far.{_marks(history)}</figcaption></figure>"
    )


def _marks(history: History) -> str:
    dropped = len(history) - len(history.finished)
    rings = " Rings were dropped after a preview." if dropped else ""
    crosses = " Crosses could not be judged." if history.unjudged else ""
    return rings + crosses


def _costs(cost: Cost) -> str:
    rows = [
        ("Pictures", f"{cost.images:,}"),
        ("Diffusion steps", f"{cost.steps:,}"),
        ("VLM calls", f"{cost.vlm_calls:,}"),
        *((f"Time {doing(phase)}", duration(seconds)) for phase, seconds in cost.seconds.items()),
        ("Time in all", duration(cost.total_seconds)),
    ]
    return f'<table aria-label="Cost: {escape(cost_text(cost))}">{_rows(rows)}</table>'


def _round(
    index: int,
    candidates: Iterable[Candidate],
    history: History,
    prompt: str,
    names: dict[int, str],
    edge: int,
) -> str:
    best = history.best if history.best.verdict.judged else None
    cards = "\n".join(_card(c, names, prompt, edge, best=c is best) for c in candidates)
    return (
        f"<section><h2>{round_name(index, len(history.rounds[index]))}</h2>"
        f'<div class="cards">{cards}</div></section>'
    )


def _card(candidate: Candidate, names: dict[int, str], prompt: str, edge: int, best: bool) -> str:
    name = names[id(candidate)]
    badge = '<span class="badge">best</span>' if best else ""
    if not candidate.finished:
        badge = '<span class="dropped">dropped after a preview</span>'
    kind = " class=best" if best else "" if candidate.finished else " class=faded"
    return (
        f'<article id="{_anchor(name)}"{kind}>{_picture(candidate, edge)}'
        f'<div class="line">{score_line(candidate)}{badge}<span class="name">{name}</span></div>'
        f"{captions(candidate, names)}{_details(candidate, prompt)}</article>"
    )


def _anchor(name: str) -> str:
    return name.replace(" no. ", "-").replace(" ", "-")


def score_line(candidate: Candidate) -> str:
    passed = candidate.verdict.passed
    mark = ""
    said = escape(passed_text(candidate.verdict))
    if said and candidate.finished:
        mark = f'<span class="yes">✓ {said}</span>' if passed else f"<span>{said}</span>"
    return f'<p class="score"><strong>{score_text(candidate.score)}</strong> {mark}</p>'


def captions(candidate: Candidate, names: dict[int, str]) -> str:
    """What was asked for, and what is wrong."""
    parts = []
    if candidate.parent is not None:
        parent = names.get(id(candidate.parent), "")
        parts.append(("From", f'<a href="#{_anchor(parent)}">{parent}</a>'))
    if action := notable_action(candidate):
        parts.append(("Action", escape(action)))
    if candidate.reflection:
        parts.append(("Asked", escape(candidate.reflection)))
    if place := region_text(candidate):
        parts.append(("Place", escape(place)))
    if candidate.broken:
        parts.append(("Broke", escape(f"{'; '.join(candidate.broken)}. {NOT_ACCEPTED}")))
    if candidate.inspection:
        parts.append(("Stage", escape(stage_text(candidate))))
    if candidate.verdict.failure is not None:
        parts.append(("Failed", escape(candidate.verdict.failure)))
    if candidate.verdict.unmet:
        parts.append(("Wrong", escape(wrong_text(candidate))))
    items = (f'<div class="{t.lower()}"><dt>{t}</dt><dd>{html}</dd></div>' for t, html in parts)
    return f"<dl>{''.join(items)}</dl>" if parts else ""


def _details(candidate: Candidate, prompt: str) -> str:
    return details(_facts(candidate, prompt))


def details(facts: Iterable[tuple[str, str]]) -> str:
    """A table to be opened, of names and texts."""
    return f"<details><summary>Details</summary><table>{_rows(facts)}</table></details>"


def _facts(candidate: Candidate, prompt: str) -> Iterator[tuple[str, str]]:
    if candidate.action:
        yield "Action", candidate.action
    if candidate.steps:
        yield "Diffusion steps", str(candidate.steps)
    yield "Seed", seed_text(candidate.seed)
    yield "Prompt", "as given" if candidate.prompt == prompt else candidate.prompt
    yield from judged_facts(candidate)
    if candidate.inspection and candidate.inspection.explanation:
        yield "Inspection", candidate.inspection.explanation


def judged_facts(candidate: Candidate) -> Iterator[tuple[str, str]]:
    """What the verifier has seen in a picture."""
    for mark in marked(candidate):
        yield MARKED[mark.kind], mark.words
    yield "Size", f"{candidate.image.width} x {candidate.image.height}"
    for aspect, value in candidate.verdict.aspects.items():
        yield aspect, score_text(value)
    if candidate.verdict.judged and candidate.verdict.explanation:
        yield "Explanation", candidate.verdict.explanation


def _rows(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts
    )


def _picture(candidate: Candidate, edge: int) -> str:
    alt = f"Picture {_scored(candidate)}, painted from: {candidate.prompt}"
    if candidate.reflection:
        alt += f"; corrected as asked: {candidate.reflection}"
    return boxed_picture(candidate, edge, alt)


def _scored(candidate: Candidate) -> str:
    judged = candidate.verdict.judged
    return f"with score {score_text(candidate.score)}" if judged else "that was not judged"


def boxed_picture(candidate: Candidate, edge: int, alt: str) -> str:
    """The picture, at most `edge` pixels wide and high, with its verdict's boxes on it."""
    pixels = ' class="pixels"' if max(candidate.image.size) <= PIXELATED else ""
    width, height = candidate.image.size
    boxes = "".join(map(_box, marked(candidate)))
    picture = (
        f'<img{pixels} width="{width}" height="{height}" alt="{escape(alt)}" '
        f'src="{_data_uri(candidate.image, edge)}">'
    )
    return f'<span class="boxed">{picture}{boxes}</span>' if boxes else picture


def _box(mark: BoxMark) -> str:
    left, top, right, bottom = (100 * edge for edge in mark.box)
    style = f"left:{left:g}%;top:{top:g}%;width:{right - left:.4g}%;height:{bottom - top:.4g}%"
    return f'<i class="{mark.kind}" style="{style}" title="{escape(mark.words)}"></i>'


def _data_uri(image: Image.Image, edge: int) -> str:
    """A small picture as PNG, a large one reduced, as JPEG."""
    buffer = io.BytesIO()
    kind = "PNG" if max(image.size) <= PIXELATED else "JPEG"
    shown = to_rgb(image)
    shown.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    shown.save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
