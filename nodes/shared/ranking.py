"""The sheet of Verifier Score: every picture with its score, its faults and their boxes."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ...reflectionflow_core.record import Candidate, History, Verdict
from ...reflectionflow_core.report import counted
from ...reflectionflow_core.report.ranking import Ranking, ranking_sheet
from ...reflectionflow_core.search import UnjudgedError, unjudged_text


def score_sheet(
    pictures: Sequence[Image.Image], prompts: Sequence[str], verdicts: Sequence[Verdict]
) -> Image.Image:
    """The pictures by rank, each with its number in the input, from 1, as in the node's text."""
    several = len({*prompts})
    title = prompts[0] if several == 1 else counted(several, "prompt")
    names = [str(number) for number in range(1, len(pictures) + 1)]
    return ranking_sheet(Ranking.of(title, names, pictures, verdicts, "No.", prompts))


def judged_text(pictures: Sequence[Image.Image], verdicts: Sequence[Verdict]) -> str:
    """How many pictures could not be judged, and why; raises UnjudgedError if none could."""
    pairs = zip(pictures, verdicts, strict=True)
    history = History((tuple(Candidate(image, "", 0, verdict) for image, verdict in pairs),))
    if not history.best.verdict.judged:
        raise UnjudgedError(history, unjudged_text(history))
    return unjudged_text(history)
