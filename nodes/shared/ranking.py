"""The sheet of Verifier Score: every picture with its score, its faults and their boxes."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ...reflectionflow_core.record import Verdict
from ...reflectionflow_core.report import counted
from ...reflectionflow_core.report.ranking import Ranking, ranking_sheet


def score_sheet(
    pictures: Sequence[Image.Image], prompts: Sequence[str], verdicts: Sequence[Verdict]
) -> Image.Image:
    """The pictures by rank, each with its number in the input, from 1, as in the node's text."""
    several = len({*prompts})
    title = prompts[0] if several == 1 else counted(several, "prompt")
    names = [str(number) for number in range(1, len(pictures) + 1)]
    return ranking_sheet(Ranking.of(title, names, pictures, verdicts, "No.", prompts))
