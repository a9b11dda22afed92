"""The report as one HTML file with embedded pictures, which needs no network.

Its script moves the slider and changes the picture on top. Without it, and in print, before and
after are side by side.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from ..feedback import excluded
from ..phases import doing
from ..record import Candidate, Cost, History
from ..search import unjudged_text
from ..settings import SearchSettings
from .cards import (
    Names,
    anchor,
    asked_line,
    boxes_switch,
    captions,
    details,
    facts,
    link_to,
    picture,
    rows,
    score_line,
    thumbnail,
)
from .chains import Chain, chains_of
from .chart import score_chart
from .words import (
    ELSEWHERE,
    candidate_name,
    cost_text,
    counted,
    duration,
    ended_text,
    finished_from,
    preview_text,
    round_name,
    score_text,
    settings_text,
    shortened,
)

FEW = 64  # with more pictures, they are embedded in a small size
CHOICES = 24  # pictures to choose from on top
LONG = 240  # longest title in characters
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


def html_page(
    history: History,
    prompt: str,
    settings: SearchSettings | None = None,
    model: str = "",
    judge: str = "",
) -> str:
    """The best picture next to its parent, followed by all chains; ValueError for an empty history.

    `judge` is what was measured about the vision-language model.
    """
    if not len(history):
        raise ValueError("An empty history has no report.")
    page = _ReportPage(history, prompt, 640 if len(history) <= FEW else 256)
    body = (page.header(settings, model), page.result(judge), page.chains(), page.singles())
    return document(prompt, "\n".join(body), script=_file("page.js"))


def document(title: str, body: str, script: str = "") -> str:
    """A page in our style; a `script` is the only one that the page allows."""
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"{POLICY}; script-src 'sha256-{known}'\">\n"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{policy if script else ''}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(shortened(title, LONG))}</title>\n<style>\n{_file('page.css')}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{f'<script>{script}</script>' if script else ''}\n</body>\n</html>\n"
    )


@lru_cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class _ReportPage:
    """The parts of a history's page."""

    def __init__(self, history: History, prompt: str, edge: int) -> None:
        self.history, self.prompt, self.edge = history, prompt, edge
        self.names: Names = {id(c): candidate_name(*slot) for slot, c in history.placed}
        self.finished = finished_from(history)
        self.rounds = {id(c): slot[0] for slot, c in history.placed}
        self.ranked = history.ranked
        self.best = self.ranked[0]
        self.place = {candidate: place for place, candidate in enumerate(self.ranked)}
        self.long, self.short = [], []
        for chain in chains_of(history):
            (self.long if len(chain) > 1 else self.short).append(chain)
        out, candidates = excluded(history.feedback), list(history)
        picked = {id(candidates[s.picked]) for s in history.feedback if s.picked is not None}
        self.said = {id(candidates[number]): "out by a person's choice" for number in out}
        self.said |= dict.fromkeys(picked, "picked by a person")

    def header(self, settings: SearchSettings | None, model: str) -> str:
        failed = unjudged_text(self.history)
        alert = f'<p class="failed" role="alert">{escape(failed)}</p>' if failed else ""
        title = '<h1 class="long" tabindex="0"' if len(self.prompt) > LONG else "<h1"
        ended = ended_text(self.history, settings)
        return (
            f'<header>{title} dir="auto">{escape(self.prompt)}</h1>{_paragraph(ended)}'
            f"{_paragraph(settings_text(settings, model))}{alert}{_plan(settings)}</header>"
        )

    def result(self, judge: str) -> str:
        """The best picture, its parent, and the reflection between them."""
        best = self.best
        title = "Best picture" if best.verdict.judged else "First picture, none was judged"
        found = f"<h3>The judge, as it was checked</h3><p>{escape(judge)}</p>" if judge else ""
        return (
            f'<section class="result" aria-labelledby="result"><h2 id="result">{title}: '
            f"{link_to(best, self.names)}</h2>{boxes_switch(self.history)}"
            f'<div class="compare">{self._before()}'
            f'<figure class="after">{picture(best, self.edge, self.names[id(best)])}'
            f"<figcaption>{_summary('After' if best.parent else 'Score', best)}</figcaption>"
            "</figure></div>"
            f'<div class="side"><h3>What the judge said</h3><div class="verdict">'
            f"{self._said(best, opened=True)}</div>{found}{self._costs(self.history.cost)}"
            f"{self._chart()}</div>{self._choices()}</section>"
        )

    def _before(self) -> str:
        parent = self.best.parent
        if parent is None:
            return ""
        name = self.names.get(id(parent), ELSEWHERE)
        return (
            f'<figure class="before">{picture(parent, self.edge, name)}'
            f"<figcaption>{_summary('Before', parent)}</figcaption></figure>"
            f'<div class="words">{asked_line(self.best) or _paragraph("painted again")}</div>'
            '<input type="range" min="0" max="100" value="50" hidden '
            'aria-label="How much of the picture before is shown, in percent">'
        )

    def _choices(self) -> str:
        """The best pictures as links; the script shows them on top."""
        if len(self.ranked) == 1:
            return ""
        links = "".join(map(self._choice, self.ranked[:CHOICES]))
        more = len(self.ranked) - CHOICES
        rest = f"<p>{counted(more, 'more picture')} below.</p>" if more > 0 else ""
        return (
            f'<nav aria-label="Other pictures"><h3>Other pictures</h3><ul>{links}</ul>{rest}</nav>'
        )

    def _choice(self, candidate: Candidate) -> str:
        name = self.names[id(candidate)]
        current = ' aria-current="true"' if candidate is self.best else ""
        return (
            f'<li><a href="#{anchor(name)}"{current}>{thumbnail(candidate.image, 128)}'
            f"<span>{score_text(candidate.score)}</span><span>{name}</span></a></li>"
        )

    def _costs(self, cost: Cost) -> str:
        facts = [
            ("Pictures", f"{cost.images:,}"),
            ("Diffusion steps", f"{cost.steps:,}"),
            ("VLM calls", f"{cost.vlm_calls:,}"),
            *((f"Time {doing(phase)}", duration(spent)) for phase, spent in cost.seconds.items()),
            ("Time in all", duration(cost.total_seconds)),
        ]
        label = f"Cost: {escape(cost_text(cost))}"
        return f'<h3>Cost</h3><table aria-label="{label}">{rows(facts)}</table>'

    def _chart(self) -> str:
        chart = score_chart(self.history)
        if not chart:
            return ""
        previews = len(self.history) - len(self.history.finished)
        rings = " Rings are previews." if previews else ""
        crosses = " Crosses could not be judged." if self.history.unjudged else ""
        return (
            f"<figure>{chart}<figcaption>Score of each picture, in the order they were "
            f"painted. The line is the best so far.{rings}{crosses}</figcaption></figure>"
        )

    def chains(self) -> str:
        """A row per chain, with rounds as columns."""
        if not self.long:
            return ""
        last = len(self.history.rounds)
        heads = "".join(
            f"<span>{round_name(index, len(candidates))}</span>"
            for index, candidates in enumerate(self.history.rounds)
        )
        lists = "\n".join(self._chain(number, chain) for number, chain in enumerate(self.long, 1))
        return (
            '<section aria-labelledby="chains"><h2 id="chains">Chains</h2><p class="about">'
            "Each row is a picture and its corrections: before, what was asked (→), after.</p>"
            f'<div class="rounds" role="region" aria-labelledby="chains" tabindex="0" '
            f'style="--rounds:{last}"><div class="heads" aria-hidden="true">{heads}</div>{lists}'
            "</div></section>"
        )

    def _chain(self, number: int, chain: Chain) -> str:
        top = min(chain, key=self.place.__getitem__)
        label = f"Chain {number}: {counted(len(chain), 'picture')}, best {score_text(top.score)}"
        cards = ((c, self._card(c, follows=c is not chain[0])) for c in chain)
        steps = "".join(
            f'<li style="--round:{self.rounds[id(c)] + 1}">{card}</li>' for c, card in cards
        )
        return f'<ol class="chain" aria-label="{label}">{steps}</ol>'

    def singles(self) -> str:
        """The pictures without children, round by round."""
        found: dict[int, list[Candidate]] = {}
        for (candidate,) in self.short:
            found.setdefault(self.rounds[id(candidate)], []).append(candidate)
        return "\n".join(self._singles(index, each) for index, each in sorted(found.items()))

    def _singles(self, index: int, candidates: Sequence[Candidate]) -> str:
        name = round_name(index, len(self.history.rounds[index]))
        title = f"{name} without a correction" if self.long else name
        cards = "\n".join(map(self._card, candidates))
        return f'<section><h2>{title}</h2><div class="cards">{cards}</div></section>'

    def _card(self, candidate: Candidate, follows: bool = False) -> str:
        name = self.names[id(candidate)]
        best = candidate is self.best and candidate.verdict.judged
        kind = " class=best" if best else "" if candidate.finished else " class=faded"
        parent = self.names.get(id(candidate.parent), "")
        before = f' data-before="{anchor(parent)}"' if parent else ""
        badges = "".join(self._badges(candidate, best))
        return (
            f'<article id="{anchor(name)}"{kind}{before} aria-label="{name.capitalize()}">'
            f"{asked_line(candidate)}{picture(candidate, self.edge, name)}"
            f'<div class="text"><div class="line">{score_line(candidate)}{badges}'
            f'<span class="name">{name}</span></div><div class="verdict">'
            f"{self._said(candidate, follows)}</div></div></article>"
        )

    def _badges(self, candidate: Candidate, best: bool) -> Iterator[str]:
        if best:
            yield '<span class="badge">best</span>'
        if not candidate.finished:
            yield f'<span class="preview">{preview_text(candidate, self.finished)}</span>'
        if said := self.said.get(id(candidate)):
            yield f'<span class="badge">{said}</span>'

    def _said(self, candidate: Candidate, follows: bool = False, opened: bool = False) -> str:
        known = facts(candidate, self.prompt)
        return f"{captions(candidate, self.names, follows)}{details(known, opened)}"


def _summary(title: str, candidate: Candidate) -> str:
    """Score and flaws as one line below a picture."""
    verdict = candidate.verdict
    wrong = shortened("; ".join(verdict.unmet), LONG)
    parts = [f"{title}: {score_text(verdict.score)}", "✓ passed" if verdict.passed else wrong]
    return escape(" · ".join(filter(None, parts)))


def _paragraph(text: str) -> str:
    return f'<p dir="auto">{escape(text)}</p>' if text else ""


def _plan(settings: SearchSettings | None) -> str:
    """For each stage of a staged search, what it adds and the resulting scene."""
    stages = settings.stages if settings else ()
    items = (f"<li>{escape(s.instruction)} → {escape(s.scene)}</li>" for s in stages)
    return f'<ol aria-label="Stages">{"".join(items)}</ol>' if stages else ""
