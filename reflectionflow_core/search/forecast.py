"""Forecasts what a search will cost, before its first picture is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import floor, inf
from typing import TYPE_CHECKING

from ..protocols import Actors
from ..record import COUNTED, Candidate, Cost, History, Inspection, Request, Verdict
from ..settings import Budget, SearchSettings
from .budget import counts_calls, most_calls, most_images, most_steps, only_previewed
from .loop import EMPTY, next_batch
from .strategies import axes_in_force, strategy_named

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEWING = ("potential", "scouts")  # strategies whose previews decide what else is painted
ROUNDING = 1e-9
MOST = 500  # pictures to look ahead; each of them replays the strategy from the start
UNFINISHED = Inspection(False, missing=("all of it",), refine="paint it")


@dataclass(frozen=True, slots=True)
class AverageCost:
    """What a search costs on average."""

    images: float = 0.0
    steps: float = 0.0
    vlm_calls: float = 0.0

    def plus(self, other: AverageCost | Cost) -> AverageCost:
        return AverageCost(*(a + b for a, b in zip(counts_of(self), counts_of(other), strict=True)))

    def times(self, share: float) -> AverageCost:
        return AverageCost(*(share * count for count in counts_of(self)))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the rest of a search costs: `most` if no picture passes, `usual` on average, if each
    picture passes with `pass_rate` (0 to 1) and the search stops at the first that does.

    `usual` is None if the search does not stop at a pass, the pass rate is unknown, or the forecast
    is not `sure`: previews decide what is painted, or counted VLM calls end it. VLM calls are the
    actors' estimates. `prices` are those of the single pictures, `seconds` the limit of the budget.
    """

    most: Cost
    sure: bool = True
    usual: AverageCost | None = None
    pass_rate: float | None = None
    prices: tuple[Cost, ...] = ()
    seconds: float | None = None


def counts_of(cost: Cost | AverageCost) -> tuple[float, float, float]:
    return cost.images, cost.steps, cost.vlm_calls


def forecast(
    settings: SearchSettings,
    actors: Actors,
    history: History = EMPTY,
    pass_rate: float | None = None,
) -> Forecast | None:
    """What the rest of a search costs, or None for one with more than MOST pictures.

    The search is simulated with empty pictures that all fail.
    """
    begun, spent, budget = history, history.cost, settings.budget
    prices: list[Cost] = []
    groups: list[list[Cost]] = []  # of pictures that are painted before a pass can end the search
    round_index = -1
    while batch := next_batch(history, settings, actors):
        if settings.stop == "passed" or batch.round_index != round_index:
            groups.append([])
        round_index = batch.round_index
        for request in batch.requests[batch.recorded :]:
            price = _most(request, bool(batch.round_index), settings, actors)
            prices.append(price)
            groups[-1].append(price)
            failed = _failed(request, price, only_previewed(request, actors))
            history = history.extended(batch.round_index, (failed,)).charged(price)
        if len(prices) > MOST:
            return None
    most = _within(budget, prices, spent)
    calls_end_it = budget.vlm_calls is not None and counts_calls(actors)
    sure = settings.strategy not in PREVIEWING and not calls_end_it
    found = Forecast(most, sure, prices=tuple(prices), seconds=budget.seconds)
    ends = settings.stop == "passed" or strategy_named(settings.strategy).ends
    if pass_rate is None or not ends or not sure or history is begun:
        return found
    return replace(found, usual=_usual(groups, pass_rate), pass_rate=pass_rate)


def forecast_together(
    found: Sequence[Forecast | None], budget: Budget, spent: Cost
) -> Forecast | None:
    """The joint forecast of searches that share a `budget`; None if one of them has none."""
    each = [one for one in found if one is not None]
    if len(each) < len(found):
        return None
    prices = tuple(price for one in each for price in one.prices)
    joint = Forecast(
        _within(budget, prices, spent),
        all(one.sure for one in each),
        prices=prices,
        seconds=budget.seconds,
    )
    rates = [one.pass_rate for one in each if one.usual]
    if not rates or not joint.sure:
        return joint
    usual = AverageCost()
    for one in each:
        usual = usual.plus(one.usual or one.most)
    shares = [b / a for a, b in zip(counts_of(usual), counts_of(joint.most), strict=True) if a]
    return replace(joint, usual=usual.times(min([1.0, *shares])), pass_rate=rates[0])


def _most(request: Request, later: bool, settings: SearchSettings, actors: Actors) -> Cost:
    """The most that a request costs, or one that other verdicts would put in its place."""
    asked, axes = [request], axes_in_force(settings)
    if later:
        corrects, evolves = "reflection" in axes, "prompt" in axes
        asked.append(replace(request, corrects=corrects, evolves=evolves, reflection=""))
    return Cost(
        most_images(request, actors),
        max(most_steps(one, actors) for one in asked),
        max(most_calls(one, actors, settings) for one in asked),
    )


def _within(budget: Budget, prices: Sequence[Cost], spent: Cost) -> Cost:
    """The most that pictures of these prices cost together, whichever the budget still pays for."""
    left = {
        name: max(0, limit - getattr(spent, name))
        for name in COUNTED
        if (limit := getattr(budget, name)) is not None
    }

    def most(name: str) -> int:
        bounds = [_most_of(name, prices, limited, rest) for limited, rest in left.items()]
        return min(bounds, default=sum(getattr(price, name) for price in prices))

    images, steps, vlm_calls = map(most, COUNTED)
    return Cost(images, steps, vlm_calls)


def _most_of(name: str, prices: Sequence[Cost], limited: str, left: int) -> int:
    """The most of a count that is had where another one is `limited`: from those pictures first
    that give most for it."""
    total, rest = 0.0, float(left)

    def gain(price: Cost) -> float:
        paid = getattr(price, limited)
        return getattr(price, name) / paid if paid else inf

    for price in sorted(prices, key=gain, reverse=True):
        paid = getattr(price, limited)
        if paid > rest:
            return floor(total + gain(price) * rest + ROUNDING)
        total, rest = total + getattr(price, name), rest - paid
    return floor(total)


def _usual(groups: Sequence[Sequence[Cost]], pass_rate: float) -> AverageCost:
    """The expected cost if each group may be the last."""
    reached, usual = 1.0, AverageCost()
    for group in groups:
        usual = usual.plus(AverageCost().plus(sum(group, Cost())).times(reached))
        reached *= (1 - pass_rate) ** len(group)
    return usual


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
