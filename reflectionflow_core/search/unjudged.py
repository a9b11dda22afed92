"""Pictures that could not be judged: how many, why, and when a search gives up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from ..record import Candidate, History
from ..settings import SearchSettings

MOST_REASONS = 3  # that are quoted
MOST_UNJUDGED_IN_A_ROW = 3  # pictures or searches; one or two may be a server's bad moment


class UnjudgedError(RuntimeError):
    """A search that ended because its pictures could not be judged; `history` has all of them.

    The message says how many and why, in the verifier's words.
    """

    def __init__(self, history: History, message: str) -> None:
        super().__init__(message)
        self.history = history

    def __reduce__(self) -> tuple[Callable[[str], UnjudgedError], tuple[str]]:
        """Another process gets the message alone, without pictures."""
        return _without_pictures, (str(self),)


def _without_pictures(message: str) -> UnjudgedError:
    return UnjudgedError(History(), message)


def check_judged(history: History, settings: SearchSettings) -> None:
    """Raises UnjudgedError after a batch if no picture was judged so far, or none of the last ones:
    as many as a round or a batch has, and at least MOST_UNJUDGED_IN_A_ROW."""
    count = trailing_unjudged(history)
    if not count:
        return
    if count == len(history):
        raise UnjudgedError(history, unjudged_text(history))
    if count >= max(MOST_UNJUDGED_IN_A_ROW, settings.width, settings.batch_size):
        words = reasons_text(history.unjudged[-count:])
        message = f"The last {count} of {len(history)} pictures could not be judged: {words}"
        raise UnjudgedError(history, message)


def trailing_unjudged(history: History) -> int:
    """How many pictures could not be judged since the last one that could."""
    count = 0
    for candidate in reversed(list(history)):
        if candidate.verdict.judged:
            break
        count += 1
    return count


def left_unjudged_text(history: History) -> str:
    """What the user can do to have the last pictures judged again; "" if they are judged."""
    count = trailing_unjudged(history)
    if not count:
        return ""
    what = "The last picture" if count == 1 else f"The last {count} pictures"
    return (
        f"{what} could not be judged. To paint and judge {'it' if count == 1 else 'them'} again, "
        "give a larger budget or another stop rule."
    )


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
    """The verifier's reasons, the most frequent first, with counts if there are several."""
    found = Counter(c.verdict.failure for c in failed if c.verdict.failure is not None)
    if len(found) == 1:
        return next(iter(found))
    shown = [f"{reason} ({times} of them)" for reason, times in found.most_common(MOST_REASONS)]
    more = len(found) - len(shown)
    return " ".join([*shown, *([f"And {more} other reasons."] if more else [])])
