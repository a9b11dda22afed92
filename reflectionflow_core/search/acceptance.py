"""What a correction has broken: requirements that its parent met and it does not.

Pure functions of verdicts. A correction that breaks something stays in the history, but no chain
continues from it, and the writer of the parent's next correction is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..record import DISAGREEMENT, Candidate, History
from ..verdict import SCREENED_BY, Verdict, is_met


def broken_by(before: Verdict, after: Verdict) -> tuple[str, ...]:
    """What `before` met and `after` does not, in words; () if one of them was not judged.

    Verdicts that answer each requirement (`Verdict.aspects`) are compared by requirement. Others
    only list faults: new faults count, unless there are fewer faults in all.
    """
    if not (before.judged and after.judged) or after.passed:
        return ()
    was, now = requirements_of(before), requirements_of(after)
    if was and now:
        return tuple(name for name, met in was.items() if met and now.get(name) is False)
    if len(after.unmet) < len(before.unmet):
        return ()
    return tuple(fault for fault in dict.fromkeys(after.unmet) if fault not in before.unmet)


def requirements_of(verdict: Verdict) -> Mapping[str, bool]:
    """Whether each requirement is met, by statement; {} if the verdict does not answer them."""
    aspects = {n: value for n, value in verdict.aspects.items() if not n.startswith(SCREENED_BY)}
    if DISAGREEMENT in aspects or not all(0 <= value <= 1 for value in aspects.values()):
        return {}  # scores of several verifiers, or marks
    met = {name: is_met(value) for name, value in aspects.items()}
    return met if all(met.values()) != bool(verdict.unmet) else {}


def broken_before(parent: Candidate, past: History) -> tuple[str, ...]:
    """What the corrections of a parent have broken so far, each once."""
    tried = (each.broken for each in past if each.parent is parent)
    return tuple(dict.fromkeys(text for broken in tried for text in broken))
