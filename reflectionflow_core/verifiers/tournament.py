"""Pictures against each other: a chat model says which of two is nearer to the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from ..protocols import SILENT, Progress
from ..record import Candidate, InputError, Verdict
from ..vlm.interface import Failure, Question, Vlm
from ..vlm.odds import probabilities
from ..vlm.texts import DATA_RULE, quoted
from .unjudged import unjudged

CHOICES = ("first", "second")
WORST = -1.0  # the lowest rung is 0, and what loses against it has -0.5

_COMPARE = """\
Both pictures were painted from this prompt: {prompt}
Which of them shows better what the prompt asks for? Look at the things, their number, colours and
places before you look at beauty. Answer first or second, nothing else."""


@dataclass(frozen=True, slots=True)
class Rung:
    image: Image
    score: float


class TournamentVerifier:
    """A ladder of champions: each picture that beats the best so far is the next rung.

    The first picture of a prompt is rung 0, the picture that beats it rung 1, and so on. Any other
    picture is compared with the rungs from the top down: at the first that it equals it gets that
    rung's score, between two rungs the half, and half a point less than the lowest it was compared
    with if it loses throughout; no more than `rungs` are tried. So scores never change and the best
    of a search is the last champion; below the champions the order is rough.

    Every pair is asked in both orders, since models prefer a place (SANA-1.5 found them biased).
    Answers that disagree are a tie. A picture whose comparison fails scores -1, below all.

    The search tells it at every round which pictures there are (`remember`), so the ladder is that
    of one search, also of one that a crash has cut. Asked by hand, it goes on with the ladder that
    it has of the prompt.
    """

    def __init__(self, vlm: Vlm, rungs: int = 3) -> None:
        if rungs < 1:
            raise InputError(f"A tournament over {rungs} rungs compares nothing. Give at least 1.")
        self.vlm, self.rungs = vlm, rungs
        self.calls = 2
        self._ladders: dict[str, list[Rung]] = {}

    @property
    def spent(self) -> int:
        return self.vlm.usage.calls

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        ladder: list[Rung] = []
        for candidate in candidates:
            if candidate.score == len(ladder):  # a champion scores one more than the one before
                ladder.append(Rung(candidate.image, candidate.score))
        self._ladders[prompt] = ladder

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return [self._verdict(prompt, image, progress) for image in images]

    def _verdict(self, prompt: str, image: Image, progress: Progress) -> Verdict:
        ladder = self._ladders.setdefault(prompt, [])
        if not ladder:
            ladder.append(Rung(image, 0.0))
            return Verdict(0.0, explanation="the first picture")
        below = 0.0
        for rung in ladder[: -self.rungs - 1 : -1]:
            better = self._compare(prompt, image, rung.image, progress)
            if isinstance(better, Failure):
                return unjudged(WORST, better.reason)
            if better == 0.5:
                return Verdict(rung.score, explanation=f"as good as rung {rung.score:g}")
            if better == 1 and rung is ladder[-1]:
                ladder.append(Rung(image, rung.score + 1))
                return Verdict(rung.score + 1, explanation=f"beats rung {rung.score:g}")
            if better == 1:
                return Verdict(rung.score + 0.5, explanation=f"beats rung {rung.score:g}")
            below = rung.score
        return Verdict(below - 0.5, explanation=f"loses against rung {below:g}")

    def _compare(
        self, prompt: str, image: Image, rival: Image, progress: Progress
    ) -> float | Failure:
        """1 if `image` wins in both orders, 0 if it loses in both, else 0.5."""
        text = _COMPARE.format(prompt=quoted(prompt))
        pairs = ((image, rival), (rival, image))
        questions = [Question(text, pair, DATA_RULE, max_tokens=1) for pair in pairs]
        ahead, behind = probabilities(self.vlm, questions, CHOICES, progress, "verify")
        if isinstance(ahead, Failure):
            return ahead
        if isinstance(behind, Failure):
            return behind
        wins = (ahead[0] > ahead[1]) + (behind[1] > behind[0])
        losses = (ahead[0] < ahead[1]) + (behind[1] < behind[0])
        return {2: 1.0, -2: 0.0}.get(wins - losses, 0.5)
