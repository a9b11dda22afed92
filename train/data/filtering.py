"""The last check of a pair: its texts, its pictures, and the agreement of the scorers."""

from __future__ import annotations

from reflectionflow_core.protocols import Verifier
from train.data.asking import check_judged
from train.data.ranking import build_scorers
from train.data.records import BY_PERSON, Pair, Slice
from train.data.settings import Filter, Judges
from train.triplets import MAX_TEXT

NOT_JUDGED = "pair not judged"


def build_filtering(settings: Filter, judges: Judges) -> FilterStage:
    scorers = build_scorers(settings.scorers, judges) if settings.scorers else {}
    return FilterStage(scorers, settings.margin)


class FilterStage:
    """Stage: keeps pairs whose good picture every scorer prefers by more than `margin`.

    Pairs chosen by a person are always kept.
    """

    def __init__(self, scorers: dict[str, Verifier], margin: float) -> None:
        self.scorers, self.margin = scorers, margin
        self.reason = ""  # why the last pair was not judged

    def __call__(self, work: Slice) -> Slice:
        found = [(pair, self._fault(pair)) for pair in work.pairs]
        asked = [fault for pair, fault in found if self._asks_about(pair)]
        check_judged([fault != NOT_JUDGED for fault in asked], self.reason)
        kept = [pair for pair, fault in found if not fault]
        return work.paired(kept, [fault for _, fault in found if fault])

    def _asks_about(self, pair: Pair) -> bool:
        by_person = pair.metadata.items() >= BY_PERSON.items()
        return bool(self.scorers) and not by_person and not fault_of(pair)

    def _fault(self, pair: Pair) -> str:
        return fault_of(pair) or (self._disagreement(pair) if self._asks_about(pair) else "")

    def _disagreement(self, pair: Pair) -> str:
        images = [pair.good.image, pair.bad.image]
        for scorer in self.scorers.values():
            good, bad = scorer.verify(pair.prompt, images)
            if good.score is None or bad.score is None:
                self.reason = (good if good.score is None else bad).explanation
                return NOT_JUDGED
            if not good.score - bad.score > self.margin:
                return "verifier disagrees"
        return ""


def fault_of(pair: Pair) -> str:
    """Why a pair is unusable whatever the scorers say; "" if it is usable."""
    if not pair.prompt.strip():
        return "prompt empty"
    if not pair.reflection.strip():
        return "reflection empty"
    if max(len(pair.prompt), len(pair.reflection)) > MAX_TEXT:
        return "text too long"
    if pair.good.data == pair.bad.data:
        return "pictures equal"
    return ""
