"""The parts of a search as text, for reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal

from ..evidence import place_in_words
from ..record import (
    SHARED,
    Candidate,
    Cost,
    History,
    InputError,
    Inspection,
    Neighbour,
    Restart,
    Seed,
    Verdict,
)
from ..search import Forecast, unjudged_text
from ..search.budget import out_of_time
from ..search.forecast import AverageCost
from ..search.loop import replayed, stopped
from ..search.strategies import STRATEGIES
from ..search.strategies.scouts import FINISH
from ..settings import Budget, SearchSettings
from ..verdict import NOT_LOOKED_AT

DEFAULTS = SearchSettings()
ELSEWHERE = "another search"  # where a picture comes from that is not in the history
# What a budget limits, by History.ended.
LIMITS = {
    "images": "pictures",
    "steps": "steps",
    "vlm_calls": "VLM calls",
    "seconds": "seconds",
    SHARED: "all prompts",
}
PREVIEW_ONLY = "preview only"
NOT_ACCEPTED = "No chain goes on from it."
OBVIOUS_ACTIONS = ("draft", "correct", "noise")  # clear from rounds, reflections and seeds


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun; `plural` is for nouns whose plural is not an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shortened(text: str, most: int) -> str:
    """The text on one line, at most `most` characters long; a longer one ends in dots."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def duration(seconds: float) -> str:
    if 0 < seconds < 0.05:
        return "less than 0.1 s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def cost_text(cost: Cost) -> str:
    parts = [counted(cost.images, "picture"), counted(cost.steps, "step")]
    if cost.vlm_calls:
        parts.append(counted(cost.vlm_calls, "VLM call"))
    return ", ".join([*parts, duration(cost.total_seconds)])


def forecast_text(
    found: Forecast | None, seconds_each: float | None = None, price_each: float | None = None
) -> str:
    """What a search will cost: "At most 8 pictures, 240 steps, 24 VLM calls, 4 min; ...".

    What depends on previews is not sure: "About 204 steps, 1 picture or more painted to the end".
    `seconds_each` is the earlier time per picture, `price_each` the price of a call of the judge,
    in any currency; None is unknown. Retried calls are not included.
    """
    if found is None:
        return "This search is too large for a forecast of its cost."
    most = _price_text(found.most, seconds_each, price_each, " without repeats")
    text = f"At most {most}"
    if not found.sure:
        ended = f"{counted(found.most.images, 'picture')} or more painted to the end"
        text = f"About {counted(found.most.steps, 'step')}, {ended}"
        if found.most.vlm_calls:
            text += f", {counted(found.most.vlm_calls, 'VLM call')}"
    if found.usual is not None and found.pass_rate is not None:
        usual = _price_text(found.usual, seconds_each, price_each)
        text += f"; on average {usual}, as {found.pass_rate:.0%} of such pictures passed so far"
    if found.seconds is not None:
        text += f"; no batch begins that would exceed {duration(found.seconds)}"
    return f"{text}."


def _price_text(
    cost: Cost | AverageCost,
    seconds_each: float | None,
    price_each: float | None,
    calls_are: str = "",
) -> str:
    pictures = f"{cost.images:,.1f}".removesuffix(".0")
    parts = [
        counted(cost.images, "picture") if isinstance(cost, Cost) else f"{pictures} pictures",
        counted(round(cost.steps), "step"),
    ]
    if cost.vlm_calls:
        parts.append(counted(round(cost.vlm_calls), "VLM call") + calls_are)
    known = seconds_each is not None
    parts.append(duration(cost.images * seconds_each) if known else "an unknown time")
    if cost.vlm_calls and price_each is not None:
        price = _two_digits(cost.vlm_calls * price_each)
        parts.append(f"a price of {price} ({_two_digits(price_each)} a call)")
    return ", ".join(parts)


def _two_digits(value: float) -> str:
    """The value rounded to two digits, without an exponent: 1,200 or 0.00003."""
    return f"{Decimal(f'{value:.2g}'):,f}"


def ended_text(history: History, settings: SearchSettings | None) -> str:
    """How far a search came and why it ended: "Ended after round 1 of 3: a picture passed."

    "" without settings, and for settings that are not those of the history.
    """
    if settings is None or not len(history):
        return ""
    try:
        index, left = replayed(history, settings)
    except InputError:  # such as a plugin's strategy, in a program without it
        return ""
    reached = _reached(history, settings)
    if stopped(history, settings):
        score = settings.stop != "passed"
        why = f"the score {settings.stop} was reached" if score else "a picture passed"
        return f"Ended {reached}: {why}."
    if not left:
        known = STRATEGIES[settings.strategy]  # since it could be replayed
        passed = known.ends and any(c.finished and c.verdict.passed for c in history.eligible)
        return f"Ended {reached}: a picture passed." if passed else f"Complete, {reached}."
    if spent := history.ended or _spent(history, settings):
        return f"Ended {reached}: the budget of {LIMITS.get(spent, spent)} is used up."
    painted = len(history.rounds[index]) if index < len(history.rounds) else 0
    inside = f", {painted} of {counted(len(left), 'picture')} of it painted" if painted else ""
    return f"Not complete: {reached}{inside}."


def _reached(history: History, settings: SearchSettings) -> str:
    if last := len(history.rounds) - 1:
        return f"after round {last}" + (f" of {settings.depth}" if last < settings.depth else "")
    ahead = f", before {counted(settings.depth, 'round')}" if settings.depth else ""
    return f"after the drafts{ahead}"


def _spent(history: History, settings: SearchSettings) -> str:
    """Which limit leaves nothing at all, whatever a picture costs, as the name of its field; ""."""
    for name in ("images", "steps", "vlm_calls"):
        limit = getattr(settings.budget, name)
        if limit is not None and getattr(history.cost, name) >= limit:
            return name
    return "seconds" if out_of_time(history, settings) else ""


def settings_text(settings: SearchSettings | None, model: str = "") -> str:
    """The size of a search, and its other settings where they differ from the defaults."""
    return " · ".join(_settings(settings, model))


def _settings(settings: SearchSettings | None, model: str) -> Iterator[str]:
    if settings:
        yield f"strategy {settings.strategy}"
        yield from _size(settings)
        yield from _ways(settings)
        yield f"seed {settings.seed}"
        if settings.stop != "never":
            yield f"stop {'when passed' if settings.stop == 'passed' else f'at {settings.stop}'}"
        if settings.budget != Budget():
            yield f"at most {', '.join(_limits(settings.budget))}"
    if model:
        yield f"model {model}"


def _size(settings: SearchSettings) -> Iterator[str]:
    """How many pictures the strategy paints."""
    known = STRATEGIES.get(settings.strategy)  # or a plugin's, not loaded
    drafts = settings.drafts or (1 if known and known.one_draft else settings.width)
    if settings.drafts or not settings.depth:
        yield counted(drafts, "draft")
    if settings.depth:
        yield _width(settings)
        ends = settings.stop != "never" or settings.budget != Budget()
        fewer = ends or (known and known.ends) or settings.strategy == "staged"
        yield f"{'up to ' if fewer else ''}{counted(settings.depth, 'round')}"
    if settings.stages:
        yield counted(len(settings.stages), "stage")


def _width(settings: SearchSettings) -> str:
    if settings.strategy in ("noise", "paths"):
        return f"{counted(settings.width, 'picture')} a round"
    if settings.strategy == "scouts":
        return f"{counted(settings.width, 'scout')} a round"
    if settings.strategy == "potential":
        return f"the steps of {counted(settings.width, 'picture')} a round"
    chains = counted(settings.width, "chain")
    return f"up to {chains}" if settings.strategy == "adaptive" else chains


def _ways(settings: SearchSettings) -> Iterator[str]:
    """Settings that differ from the defaults and that the strategy reads."""
    if settings.strategy == "adaptive" and settings.policy != DEFAULTS.policy:
        yield f"policy {settings.policy}"
    if settings.strategy == "in-context" and settings.context != DEFAULTS.context:
        yield f"context {settings.context}"
    known = STRATEGIES.get(settings.strategy)  # or a plugin's, not loaded
    usable = known.axes if known else settings.axes
    if off := [axis for axis in usable if axis not in settings.axes]:
        yield f"without {' and '.join(off)}"
    if known and known.continues and settings.parents != DEFAULTS.parents:
        yield f"{settings.parents} parents"
    if settings.noise_search != DEFAULTS.noise_search and settings.strategy != "paths":
        yield f"{settings.noise_search.replace('_', '-')} noise, radius {settings.radius:g}"
    if settings.recheck:
        yield "recheck"
    if settings.mask is not None:
        yield "corrects inside a mask"
    elif settings.correct != DEFAULTS.correct and _corrects(settings, usable):
        yield "corrects in regions" + (" where it can" if settings.correct == "auto" else "")
    if settings.accept != DEFAULTS.accept:
        yield f"accepts {settings.accept}"
    if settings.draft_prompt and settings.strategy != "interleaved":
        yield "with a draft prompt"  # thought out, or given by hand


def _corrects(settings: SearchSettings, usable: Collection[str]) -> bool:
    return settings.depth > 0 and "reflection" in usable and "reflection" in settings.axes


def _limits(budget: Budget) -> Iterator[str]:
    for number, noun in (
        (budget.images, "picture"),
        (budget.steps, "step"),
        (budget.vlm_calls, "VLM call"),
    ):
        if number is not None:
            yield counted(number, noun)
    if budget.seconds is not None:
        yield duration(budget.seconds)


def round_name(index: int, candidates: int = 2) -> str:
    if index:
        return f"Round {index}"
    return "Draft" if candidates == 1 else "Drafts"


def candidate_name(index: int, position: int) -> str:
    return f"round {index} no. {position + 1}" if index else f"draft {position + 1}"


def score_text(score: float | None) -> str:
    if score is None:
        return "not judged"
    return f"{score:.3f}" if abs(score) < 100 else f"{score:.4g}"


def shown_score(verdict: Verdict) -> str:
    """The score, or that there is none that says anything about the picture."""
    return NOT_LOOKED_AT.lower() if verdict.left_out else score_text(verdict.score)


def seed_text(seed: Seed) -> str:
    if isinstance(seed, Neighbour):
        return f"{seed_text(seed.pivot)} + {seed.radius:g} towards {seed.seed}"
    if isinstance(seed, Restart):
        return f"{seed.seed}, from noise level {seed.level:g}"
    return str(seed)


def wrong_text(candidate: Candidate) -> str:
    return "; ".join(candidate.verdict.unmet)


def region_text(candidate: Candidate) -> str:
    """Where a correction could change its parent: "at the left; in the middle"; "" everywhere."""
    if candidate.region is None:
        return ""
    if candidate.region.mask is not None:
        return "inside the mask"
    places = (place_in_words(box) or "nearly all of it" for box in candidate.region.boxes)
    return "; ".join(dict.fromkeys(places))


def stage_text(candidate: Candidate) -> str:
    """The stage of a picture and its inspection: "2, missing a blue square"."""
    if candidate.stage is None or candidate.inspection is None:
        return ""
    return f"{candidate.stage + 1}, {inspection_text(candidate.inspection)}"


def inspection_text(found: Inspection) -> str:
    if found.accepted:
        return f"accepted; still to come: {'; '.join(found.later)}" if found.later else "accepted"
    return "; ".join((*found.wrong, *found.missing)) or "not inspected"


def verdict_text(verdict: Verdict) -> str:
    """The score and its reasons: "0.667, not passed: missing blue circle"; or why there is none."""
    if verdict.failure is not None:
        return f"{score_text(None)}: {' '.join(verdict.failure.split())}"
    if verdict.left_out:
        return shown_score(verdict) + verdict.explanation.removeprefix(NOT_LOOKED_AT).rstrip(".")
    passed, wrong = passed_text(verdict), "; ".join(verdict.unmet)
    fate = f", {passed}" if passed else ""
    return f"{score_text(verdict.score)}{fate}{f': {wrong}' if wrong else ''}"


def passed_text(verdict: Verdict) -> str:
    """Whether a picture passed: "passed after 2 more looks (posterior 0.97)"; "" if unknown.

    The posterior is the probability that it is right, if the judge's error rates are known.
    """
    trust = verdict.trust
    said = {True: "passed", False: "not passed", None: "passed, in doubt" if trust else ""}
    passed = said[verdict.passed]
    if trust is None:
        return passed
    more = len(trust.looks) - 1
    after = f" after {counted(more, 'more look')}" if more else ""
    return f"{passed}{after} (posterior {trust.posterior:.2f})"


def notable_action(candidate: Candidate) -> str:
    """The strategy's action, where the rest of a line does not show it."""
    return "" if candidate.action in OBVIOUS_ACTIONS else candidate.action


def finished_from(history: History) -> dict[int, str]:
    """The names of the pictures that were finished from previews, by the identity of these."""
    names: dict[int, str] = {}
    for slot, candidate in history.placed:
        if candidate.action == FINISH and candidate.parent is not None:
            names.setdefault(id(candidate.parent), candidate_name(*slot))
    return names


def preview_text(candidate: Candidate, finished: Mapping[int, str]) -> str:
    """What became of a preview: "finished as round 2 no. 1"; "" for a finished picture.

    `finished` is that of `finished_from`.
    """
    name = finished.get(id(candidate))
    return "" if candidate.finished else f"finished as {name}" if name else PREVIEW_ONLY


def history_text(history: History) -> str:
    """One line per picture: its action, its reflection and its verdict.

    Where pictures could not be judged one more line says how many.
    """
    lines, finished = [], finished_from(history)
    for (index, position), candidate in history.placed:
        reflection = " ".join(candidate.reflection.split())  # a person may write several lines
        asked = f"{reflection} → " if reflection else ""
        best = "★ " if candidate is history.best and candidate.verdict.judged else ""
        name = candidate_name(index, position).capitalize()
        action = notable_action(candidate)
        done = f", {action}" if action else ""
        previewed = preview_text(candidate, finished)
        fate = f"{previewed}, " if previewed else ""
        stage = f" (stage {stage_text(candidate)})" if candidate.inspection else ""
        broke = (
            f"; not accepted, it broke: {', '.join(candidate.broken)}" if candidate.broken else ""
        )
        said = f"{verdict_text(candidate.verdict)}{broke}{stage}"
        lines.append(f"{best}{name}{done}: {asked}{fate}{said}")
    return "\n".join([*lines, *filter(None, [unjudged_text(history)])])
