"""The forecast of a run or of a batch, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..archive import Run, read_recording
from ..archive.experience import Experience, experience
from ..protocols import Actors
from ..record import Cost, History
from ..report.words import forecast_text
from ..search import Forecast, count_to_judge_again, forecast
from ..search.forecast import forecast_together
from ..settings import Budget
from .preparing import Author, continuing, expected_start, lacks_text
from .run import price_of


@dataclass(frozen=True, slots=True)
class RestOfBatch:
    """The cost left for all prompts together, what is `spent`, and their number of pictures.

    `most` is how many they have at most in the end; None if previews decide that.
    """

    text: str
    spent: Cost
    painted: int
    most: int | None = None


def rest_of(
    asked: Run, author: Author | None, actors: Actors, history: History, pass_rate: float | None
) -> Forecast | None:
    """The forecast of a search, including pictures to judge again and what its author still has to
    write.

    None if its stages are still to be written.
    """
    if author is not None and author.setting == "stages":
        return None
    settings, before = expected_start(asked, author)
    past = history.without_last(count_to_judge_again(history, settings, actors)).charged(
        before.cost
    )
    ahead = forecast(settings, actors, past, pass_rate)
    if ahead is None:
        return None
    usual = ahead.usual.plus(before.cost) if ahead.usual else None
    prices = (*ahead.prices, before.cost)
    return replace(ahead, most=ahead.most + before.cost, usual=usual, prices=prices)


def rest_of_batch(
    folder: Path,
    asked: Run,
    runs: Mapping[str, Run],
    author: Author | None,
    actors: Actors,
    begun: bool,
) -> RestOfBatch:
    """The rest of the `runs`, by folder in `folder`, of a batch that is new or was `begun`."""
    known = experience(folder if begun else folder.parent, asked)
    found, spent, painted = [], Cost(), 0
    new: Forecast | None = None  # a prompt that has no run costs what every other such one does
    for name, run in runs.items():
        recording = read_recording(folder / name)
        history = recording.history
        if recording.run is None:
            new = new or rest_of(run, author, actors, history, known.pass_rate)
            found.append(new)
            continue
        recorded = continuing(run, recording.run, author)
        writes = author if author and lacks_text(recorded, author.setting, history) else None
        found.append(rest_of(recorded, writes, actors, history, known.pass_rate))
        spent, painted = spent + history.cost, painted + len(history)
    budget = asked.settings.budget
    ahead = forecast_together(found, budget, spent)
    most = spent.images + ahead.most.images if ahead is not None and ahead.sure else None
    text = cost_text(author, ahead, known, asked)
    shared = " All prompts together keep to the budget." if budget != Budget() else ""
    return RestOfBatch(text + shared, spent, painted, most)


def cost_text(author: Author | None, ahead: Forecast | None, known: Experience, asked: Run) -> str:
    if ahead is None and author is not None and author.setting == "stages":
        return "As many stages as the plan has, which is written first."
    return forecast_text(ahead, known.seconds_each, price_of(asked))
