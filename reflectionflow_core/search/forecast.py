"""Forecasts what a search will cost, before its first picture is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from ..protocols import Actors
from ..record import Candidate, Cost, History, Inspection, Request, Verdict
from ..settings import Budget, SearchSettings
from .budget import most_calls, most_images, most_steps, only_previewed
from .loop import EMPTY, next_batch
from .strategies import axes_in_force, strategy_named

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEWING = ("potential", "scouts")  # strategies whose previews decide what else is painted
MOST = 500  # pictures to look ahead; each of them replays the strategy from the start
UNFINISHED = Inspection(False, missing=("all of it",), refine="paint it")


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rest of a search costs: `most` if no picture passes, `usual` on average, if each
    picture passes with `pass_rate` (0 to 1) and the search stops at the first that does.

    `usual` is None if the search does not stop at a pass, or the pass rate is unknown. VLM calls
    are the actors' estimates. `most` is not `sure` if previews decide what is painted.
    """

    most: Cost
    sure: bool = True
    usual: Cost | None = None
    pass_rate: float | None = None


def forecast(
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    pass_rate: float | None = None,
) -> Forecast | None:
    """What the rest of a search costs, or None for one with more than MOST pictures.

    The search is simulated with empty pictures that all fail.
    """
    begun, prices, spent = history, [], history.cost
    while batch := next_batch(history, settings, actors):
        for request in batch.requests[batch.recorded :]:
            price = _most(request, bool(batch.round_index), settings, actors)
            prices.append(price)
            failed = _failed(request, price, only_previewed(request, actors))
            history = history.extended(batch.round_index, (failed,)).charged(price)
        if len(prices) > MOST:
            return None
    most = _within(settings.budget, sum(prices, Cost()), spent)
    sure = settings.strategy not in PREVIEWING
    ends = settings.stop == "passed" or strategy_named(settings.strategy).ends
    if pass_rate is None or not ends or history is begun:
        return Forecast(most, sure)
    return Forecast(most, sure, _usual(prices, pass_rate), pass_rate)


def forecast_together(
    found: Sequence[Forecast | None], budget: Budget, spent: Cost
) -> Forecast | None:
    """The joint forecast of searches that share a `budget`; None if one of them has none."""
    each = [one for one in found if one is not None]
    if len(each) < len(found):
        return None
    most = _within(budget, sum((one.most for one in each), Cost()), spent)
    sure, rates = all(one.sure for one in each), [one.pass_rate for one in each if one.usual]
    if not rates:
        return Forecast(most, sure)
    usual = sum((one.usual or one.most for one in each), Cost())
    return Forecast(most, sure, _smaller(usual, most), rates[0])


def _smaller(one: Cost, other: Cost) -> Cost:
    return Cost(
        min(one.images, other.images),
        min(one.steps, other.steps),
        min(one.vlm_calls, other.vlm_calls),
    )


def _most(request: Request, later: bool, settings: SearchSettings, actors: Actors) -> Cost:
    """The most that a request costs, or one that other verdicts would put in its place."""
    asked, axes = [request], axes_in_force(settings)
    if later and request.stage is None:
        corrects, evolves = "reflection" in axes, "prompt" in axes
        asked.append(replace(request, corrects=corrects, evolves=evolves))
    return Cost(
        most_images(request, actors),
        max(most_steps(one, actors) for one in asked),
        max(most_calls(one, actors, settings) for one in asked),
    )


def _within(budget: Budget, most: Cost, spent: Cost) -> Cost:
    """The cost, limited to what is left of the budget."""

    def paid(name: str) -> int:
        limit, cost = getattr(budget, name), getattr(most, name)
        return cost if limit is None else min(cost, max(0, limit - getattr(spent, name)))

    return Cost(paid("images"), paid("steps"), paid("vlm_calls"))


def _usual(prices: list[Cost], pass_rate: float) -> Cost:
    """The expected cost if each picture may be the last, rounded up."""
    reached, images, steps, calls = 1.0, 0.0, 0.0, 0.0
    for price in prices:
        images += reached * price.images
        steps += reached * price.steps
        calls += reached * price.vlm_calls
        reached *= 1 - pass_rate
    return Cost(ceil(images), ceil(steps), ceil(calls))


@cache
def _blank() -> Image:
    from PIL import Image

    return Image.new("RGB", (1, 1))


def _failed(request: Request, price: Cost, previewed: bool) -> Candidate:
    verdict = Verdict(0.0, False, unmet=("all of it",))
    inspection = UNFINISHED if request.stage is not None else None
    return Candidate(
        _blank(),
        request.prompt,
        request.seed,
        verdict,
        request.reflection,
        request.parent,
        request.action,
        price.steps,
        not previewed,
        request.stage,
        inspection,
    )
