"""Several verifiers as one: a picture that fools one of them has to fool the others too."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress, Verifier
from ..record import InputError, Verdict
from ..search.meter import metered, spent_by


@dataclass(frozen=True, slots=True)
class Member:
    """A verifier and the scale of its scores: `centre` is middling, `spread` a clear difference.

    A score s stands at z = (s - centre) / spread, which is mapped to 0.5 + 0.5 z / (1 + |z|),
    between 0 and 1.
    """

    name: str
    verifier: Verifier
    centre: float
    spread: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (self.spread > 0 and self.weight > 0):
            raise InputError(
                f"The spread and the weight of {self.name} are {self.spread} and {self.weight}. "
                "Give numbers above zero."
            )

    @classmethod
    def on_scale_of(cls, name: str, verifier: Verifier, scores: Sequence[float]) -> Member:
        """A member whose scale is that of scores which the verifier gave before."""
        if len(set(scores)) < 2:
            raise InputError(
                f"The scores of {name} do not differ, so they show no scale. "
                "Give those of several pictures, good and bad."
            )
        return cls(name, verifier, statistics.median(scores), statistics.pstdev(scores))

    def place(self, score: float) -> float:
        z = (score - self.centre) / self.spread
        return 0.5 + 0.5 * z / (1 + abs(z))


class EnsembleVerifier:
    """The weighted mean of the members' places, 0 to 1.

    Places are on fixed scales and not ranks among the pictures seen so far. Ranks move with every
    new picture: a later picture that all members prefer could score less than an earlier one, and
    a search gone on with after a crash would have forgotten what it ranked against. A fixed scale
    keeps every score for good, whatever the batches; the price is that somebody must know it
    (`Member.on_scale_of` takes it from earlier scores), and that a member with too small a spread
    is as blunt as a yes or no.

    `passed` and `unmet` are those of the `gate`, a member or not, which is asked once in any case.
    Without one, a picture passes if all members pass it and fails if one fails it; `unmet` is what
    any of them names.
    """

    def __init__(self, members: Sequence[Member], gate: Verifier | None = None) -> None:
        if not members:
            raise InputError("An ensemble without members judges nothing. Give at least one.")
        if len({member.name for member in members}) < len(members):
            raise InputError("Two members have the same name. Give each its own.")
        self.members, self.gate = tuple(members), gate
        verifiers = [member.verifier for member in members]
        outside = gate is not None and not any(gate is verifier for verifier in verifiers)
        self._asked: list[Verifier] = [*verifiers, *([gate] if gate and outside else [])]
        self.calls = self._estimate()
        self._spent = 0

    @property
    def spent(self) -> int | None:
        counts = any(spent_by(verifier) is not None for verifier in self._asked)
        return self._spent if counts else None

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        columns = [self._ask(verifier, prompt, images, progress) for verifier in self._asked]
        self.calls = self._estimate()
        return [self._joined(verdicts) for verdicts in zip(*columns, strict=True)]

    def _ask(
        self, verifier: Verifier, prompt: str, images: Sequence[Image], progress: Progress
    ) -> list[Verdict]:
        verdicts, calls = metered(
            verifier, len(images), lambda: verifier.verify(prompt, images, progress)
        )
        self._spent += calls
        return verdicts

    def _estimate(self) -> int:
        return sum(verifier.calls for verifier in self._asked)

    def _joined(self, verdicts: Sequence[Verdict]) -> Verdict:
        pairs = list(zip(self.members, verdicts, strict=False))  # the gate may stand behind them
        places = {member.name: member.place(verdict.score) for member, verdict in pairs}
        weights = sum(member.weight for member in self.members)
        told = [f"{member.name}: {v.explanation}" for member, v in pairs if v.explanation]
        judges = [
            verdict
            for verifier, verdict in zip(self._asked, verdicts, strict=True)
            if self.gate is None or verifier is self.gate
        ]
        return Verdict(
            score=sum(member.weight * places[member.name] for member in self.members) / weights,
            passed=_all(verdict.passed for verdict in judges),
            aspects=MappingProxyType(places),
            unmet=tuple(dict.fromkeys(what for verdict in judges for what in verdict.unmet)),
            explanation="; ".join(told),
        )


def _all(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    if False in known:
        return False
    return None if None in known else True
