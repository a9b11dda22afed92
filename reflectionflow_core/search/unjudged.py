"""Pictures that could not be judged: how many, and in whose words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..record import Candidate, History

MOST_REASONS = 3  # that are quoted


def unjudged_text(history: History) -> str:
    """How many pictures could not be judged, and why: "2 of 8 pictures could not be judged: ...".

    "0 of 8 pictures could be judged: ..." where none could, "" where all could.
    """
    failed, count = history.unjudged, len(history)
    if not failed:
        return ""
    pictures = f"{count:,} picture{'' if count == 1 else 's'}"
    if len(failed) == count:
        return f"0 of {pictures} could be judged: {reasons_text(failed)}"
    return f"{len(failed):,} of {pictures} could not be judged: {reasons_text(failed)}"


def reasons_text(failed: Sequence[Candidate]) -> str:
    """The verifier's words, the most frequent first; with numbers where there are several."""
    found = Counter(c.verdict.failure for c in failed if c.verdict.failure is not None)
    if len(found) == 1:
        return next(iter(found))
    shown = [f"{reason} ({times} of them)" for reason, times in found.most_common(MOST_REASONS)]
    more = len(found) - len(shown)
    return " ".join([*shown, *([f"And {more} other reasons."] if more else [])])
