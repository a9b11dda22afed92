"""Pairwise comparison: a chat model says which of two pictures shows the prompt better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Pictures
from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Candidate, InputError, Verdict
from ..vlm.actor import VlmActor
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import probabilities
from ..vlm.texts import DATA_RULE, quoted

CHOICES = ("first", "second")
KEPT = 8  # prompts whose champions are kept; a search restores its own each round

_COMPARE = """\
Both pictures were painted from this prompt: {prompt}
Which of them shows better what the prompt asks for? Look at the things, their number, colours and
places before you look at beauty. Answer first or second, nothing else."""


@dataclass(frozen=True, slots=True)
class Rung:
    image: Image
    score: float


class TournamentVerifier(VlmActor):
    """A ladder of champions: each picture that beats the best so far is the next rung.

    The first picture of a prompt is rung 0 (it is compared with a grey one, whatever comes of it:
    what cannot be compared is not judged), the picture that beats it rung 1, and so on. Any other
    picture is compared with at most `rungs` rungs from the top down. It gets the score of the first
    rung that it ties with; half a point more than the first rung that it beats; or half a point
    less than the lowest one if it loses to all. So scores never change, and the best of a search is
    the last champion; below the champions the order is approximate.

    Every pair is asked in both orders, because models prefer one position (found by SANA-1.5).
    Answers that disagree are a tie. A picture whose comparison fails is not judged.

    At every round the search passes all pictures so far to `remember`, so the ladder is that of one
    search, also after a crash. Without a search the ladder of the prompt continues to grow.
    """

    calls = 2

    def __init__(self, vlm: Vlm, rungs: int = 3) -> None:
        if rungs < 1:
            raise InputError(f"The number of rungs is {rungs}. Give at least 1.")
        super().__init__(vlm)
        self.rungs = rungs
        self._ladders: dict[str, list[Rung]] = {}

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        ladder: list[Rung] = []
        for candidate in candidates:
            if candidate.rank == len(ladder):  # each champion scores 1 more than the last
                ladder.append(Rung(candidate.image, candidate.rank))
        self._keep(prompt, ladder)

    def _keep(self, prompt: str, ladder: list[Rung]) -> list[Rung]:
        """Drops the least recently used prompts: their pictures take memory."""
        others = {known: rungs for known, rungs in self._ladders.items() if known != prompt}
        self._ladders = dict([*others.items()][1 - KEPT :]) | {prompt: ladder}
        return ladder

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return [self._verdict(prompt, image, progress) for image in images]

    def _verdict(self, prompt: str, image: Image, progress: Progress) -> Verdict:
        ladder = self._keep(prompt, self._ladders.get(prompt, []))
        if not ladder:
            return self._first(prompt, image, ladder, progress)
        lowest = 0.0
        for rung in ladder[: -self.rungs - 1 : -1]:
            better = self._compare(prompt, image, rung.image, progress)
            if isinstance(better, Failure):
                return Verdict.unjudged(better.reason)
            if better == 0.5:
                return Verdict(rung.score, explanation=f"as good as rung {rung.score:g}")
            if better == 1 and rung is ladder[-1]:
                ladder.append(Rung(image, rung.score + 1))
                return Verdict(rung.score + 1, explanation=f"beats rung {rung.score:g}")
            if better == 1:
                return Verdict(rung.score + 0.5, explanation=f"beats rung {rung.score:g}")
            lowest = rung.score
        return Verdict(lowest - 0.5, explanation=f"loses against rung {lowest:g}")

    def _first(self, prompt: str, image: Image, ladder: list[Rung], progress: Progress) -> Verdict:
        grey = Pictures.new("RGB", image.size, "grey")
        answer = self._compare(prompt, image, grey, progress)
        if isinstance(answer, Failure):
            return Verdict.unjudged(answer.reason)
        ladder.append(Rung(image, 0.0))
        return Verdict(0.0, explanation="the first picture")

    def _compare(
        self, prompt: str, image: Image, rival: Image, progress: Progress
    ) -> float | Failure:
        """1 if `image` wins in both orders, 0 if it loses in both, else 0.5."""
        text = _COMPARE.format(prompt=quoted(prompt))
        pairs = ((image, rival), (rival, image))
        questions = [Question(text, pair, DATA_RULE, max_tokens=1) for pair in pairs]
        as_first, as_second = probabilities(self.vlm, questions, CHOICES, progress, "verify")
        if isinstance(as_first, Failure):
            return as_first
        if isinstance(as_second, Failure):
            return as_second
        wins = (as_first[0] > as_first[1]) + (as_second[1] > as_second[0])
        losses = (as_first[0] < as_first[1]) + (as_second[1] < as_second[0])
        return {2: 1.0, -2: 0.0}.get(wins - losses, 0.5)
