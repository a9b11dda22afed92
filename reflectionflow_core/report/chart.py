"""The scores of a search as a small SVG chart for a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from ..record import Candidate, History
from .words import round_name, score_text

RING = ' class="ring"'
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 220, 52, 30, 16


def score_chart(history: History) -> str:
    """A dot per picture, a line for the best so far, and a mark at the start of each round.

    An unjudged picture is a cross at the bottom. "" if fewer than two pictures were judged.
    """
    scores = [candidate.score for candidate in history if candidate.score is not None]
    if len(scores) < 2:
        return ""
    low, high = min(scores), max(scores)
    if low == high:
        low, high = low - 0.5, high + 0.5

    def x(index: float) -> float:
        return round(LEFT + (index + 0.5) * (WIDTH - LEFT) / len(history), 1)

    def y(score: float) -> float:
        return round(TOP + (high - score) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    size = 4 if len(history) <= 64 else 2
    dots = "".join(
        f'<circle{"" if c.finished else RING} cx="{x(i)}" cy="{y(c.score)}" r="{size}"/>'
        if c.score is not None
        else _cross(x(i), size)
        for i, c in enumerate(history)
    )
    reached = _best_so_far(history)
    best = [c.score if c.score is not None and c.finished else min(scores) for c in reached]
    steps = f"M{x(0)},{y(best[0])}" + "".join(
        f"H{x(i)}V{y(b)}" for i, b in enumerate(best[1:], start=1)
    )
    labels = "".join(
        f'<text x="{LEFT - 10}" y="{y(s) + 4}" text-anchor="end">{score_text(s)}</text>'
        for s in sorted({min(scores), max(scores)})
    )
    label = f"The best of {len(history)} pictures: {score_text(history.best.score)}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'{_rounds(history, x)}<path d="{steps}"/>{dots}{labels}</svg>'
    )


def _best_so_far(history: History) -> Iterator[Candidate]:
    """The best picture after each one, by the rule of `History.best`."""
    place = {candidate: i for i, candidate in enumerate(history.ranked)}
    return accumulate(history, lambda *two: min(two, key=place.__getitem__))


def _cross(x: float, size: float) -> str:
    y = HEIGHT - BOTTOM
    slash, backslash = (f"M{x - size},{y + s}L{x + size},{y - s}" for s in (size, -size))
    return f'<path class="unjudged" d="{slash}{backslash}"/>'


def _rounds(history: History, x: Callable[[float], float]) -> str:
    starts = list(accumulate((len(r) for r in history.rounds[:-1]), initial=0))
    every = max(1, -(-len(starts) // 8))  # at most eight names fit
    lines = (
        f'<line x1="{x(start - 0.5)}" x2="{x(start - 0.5)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for start in starts
    )
    names = (
        f'<text x="{x(start - 0.5) + 4}" y="{HEIGHT - 10}">'
        f"{round_name(index, len(history.rounds[index]))}</text>"
        for index, start in enumerate(starts)
        if index % every == 0
    )
    return "".join((*lines, *names))
