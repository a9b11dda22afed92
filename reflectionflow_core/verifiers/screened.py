"""A cheap verifier ranks the pictures of a batch, and another one judges only the best of them.

As RAISE (CVPR 2026), which ranks the candidates of a round by a scalar and shows the best to its
checklist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress, Rechecking, Remembering, Verifier
from ..record import Candidate, InputError
from ..search.budget import calls_so_far, metered
from ..verdict import NOT_LOOKED_AT, SCREENED_BY, Verdict
from .ensemble import EnsembleMember, scored

SHORTLIST = 2  # pictures per batch that the verifier judges


class ScreenedVerifier:
    """The verdicts of `verifier` on the best `shortlist` pictures of each call, chosen by `screen`.

    `lowest` is the verifier's lowest score. Other pictures score between lowest - 1 and lowest, in
    the order of the screen; they neither pass nor fail, and their `explanation` says that they were
    not judged. So the best of a search is always a judged picture. `aspects` include the screen's
    score (SCREENED_BY with its name). Pictures that the screen cannot judge are judged by the
    verifier. InputError for a shortlist below 1.
    """

    def __init__(
        self,
        screen: EnsembleMember,
        verifier: Verifier,
        lowest: float,
        shortlist: int = SHORTLIST,
    ) -> None:
        if shortlist < 1:
            raise InputError(f"The shortlist is {shortlist}. Give a number of 1 or more.")
        self.screen, self.verifier = screen, verifier
        self.lowest, self.shortlist = lowest, shortlist
        self._aspect = f"{SCREENED_BY}{screen.name}"
        self.calls = self._estimate()
        self._spent = 0
        self._first: dict[str, float] = {}  # by prompt: the screen's score of its first picture

    @property
    def spent(self) -> int | None:
        asked = (self.screen.verifier, self.verifier)
        return self._spent if any(calls_so_far(each) is not None for each in asked) else None

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        names = (self._aspect, self.screen.name)  # the second: as runs of 0.2 recorded it
        ranked = [(c, n) for c in candidates for n in names if n in c.verdict.aspects]
        self._first.pop(prompt, None)
        if ranked:
            first, name = ranked[0]
            self._first[prompt] = first.verdict.aspects[name]
        if isinstance(self.screen.verifier, Remembering):
            self.screen.verifier.remember(prompt, [scored(*each) for each in ranked])
        if isinstance(self.verifier, Remembering):
            looked_at = [c for c in candidates if c.verdict.rank >= self.lowest]
            self.verifier.remember(prompt, looked_at)

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return self.recheck(prompt, images, [None] * len(images), progress)

    def recheck(
        self,
        prompt: str,
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        progress: Progress = SILENT,
    ) -> list[Verdict]:
        """`Rechecking.recheck` if the verifier supports it, otherwise `verify`."""
        if not images:  # whether both can judge the prompt
            for each in (self.screen.verifier, self.verifier):
                each.verify(prompt, [], progress)
            self.calls = self._estimate()
            return []
        screen = self.screen.verifier
        cheap = self._ask(screen, len(images), lambda: screen.verify(prompt, images, progress))
        chosen = self._chosen(cheap)
        seen = [images[i] for i in chosen]
        parents = [before[i] for i in chosen]

        def look() -> list[Verdict]:
            if isinstance(self.verifier, Rechecking) and any(parents):
                return self.verifier.recheck(prompt, seen, parents, progress)
            return self.verifier.verify(prompt, seen, progress)

        looked = dict(zip(chosen, self._ask(self.verifier, len(seen), look), strict=True))
        self.calls = self._estimate()
        first = next((v.score for v in cheap if v.score is not None), 0.0)
        first = self._first.setdefault(prompt, first)
        return [
            self._with_screen(looked[i], verdict) if i in looked else self._left(first, verdict)
            for i, verdict in enumerate(cheap)
        ]

    def _chosen(self, cheap: Sequence[Verdict]) -> list[int]:
        """The pictures to judge, in their order; of equal ones the earlier."""
        ranked = sorted(
            (i for i, verdict in enumerate(cheap) if verdict.judged),
            key=lambda i: cheap[i].rank,
            reverse=True,
        )
        unknown = [i for i, verdict in enumerate(cheap) if not verdict.judged]
        return sorted([*ranked[: self.shortlist], *unknown])

    def _with_screen(self, verdict: Verdict, cheap: Verdict) -> Verdict:
        if cheap.score is None:
            return verdict
        aspects = {**verdict.aspects, self._aspect: cheap.score}
        return replace(verdict, aspects=MappingProxyType(aspects))

    def _left(self, first: float, cheap: Verdict) -> Verdict:
        assert cheap.score is not None  # judged by the verifier, as the screen cannot judge it
        return Verdict(
            self.lowest - 1 + self.screen.relative(cheap.score, first),
            aspects=MappingProxyType({self._aspect: cheap.score}),
            explanation=f"{NOT_LOOKED_AT}: {self.shortlist} of its batch rank higher by "
            f"{self.screen.name.partition(':')[0]}.",  # the name without its folder
        )

    def _ask(
        self, actor: Verifier, items: int, question: Callable[[], list[Verdict]]
    ) -> list[Verdict]:
        verdicts, calls = metered(actor, items, question)
        self._spent += calls
        return verdicts

    def _estimate(self) -> int:
        return self.screen.verifier.calls + self.verifier.calls


def behind_screen(
    screen: EnsembleMember,
    verifier: Verifier,
    lowest: float | None,
    shortlist: int | None,
    name: str,
) -> ScreenedVerifier:
    """The named verifier behind a screen; a `shortlist` of None means SHORTLIST.

    InputError if the verifier has no `lowest` score.
    """
    if lowest is None:
        raise InputError(
            f"The scores of {name} have no lower limit, so other pictures cannot rank below. "
            "Choose checklist, rubric or yes-no behind a screen."
        )
    return ScreenedVerifier(screen, verifier, lowest, SHORTLIST if shortlist is None else shortlist)
