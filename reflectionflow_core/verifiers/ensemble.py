"""Several verifiers as one: a picture that fools one of them has to fool the others too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress, Remembering, Verifier
from ..record import DISAGREEMENT, Candidate, InputError, Verdict
from ..search.meter import metered, spent_by


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """A verifier, by how much its scores differ between clearly different pictures, its weight."""

    name: str
    verifier: Verifier
    spread: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (self.spread > 0 and self.weight > 0):
            raise InputError(
                f"The spread and the weight of {self.name} are {self.spread} and {self.weight}. "
                "Give numbers above zero."
            )

    def place(self, score: float, first: float) -> float:
        z = (score - first) / self.spread
        return 0.5 + 0.5 * z / (1 + abs(z))


class EnsembleVerifier:
    """The weighted mean m of the members' places, 0 to 1: 0.5 is as good as the first picture.

    A score that is z spreads above that of the first picture has the place 0.5 + 0.5 z / (1 + |z|),
    so no member's scale counts more than another's, and none decides alone. Ranks would do that,
    too, but ranks move with every new picture: a later picture that all members prefer could score
    less than an earlier one. Compared with the first picture a score stays what it is, whatever
    the batches. `aspects` are the members' own scores, and of several members how far their places
    lie apart (DISAGREEMENT, 0 to 1).

    `passed` and `unmet` are those of the `gate`, a member or not, which is asked once in any case.
    What it passes scores (1 + m) / 2 and all else m / 2: a search that stops because a picture
    passed must not come back with another one. Without a gate the score is m, a picture passes if
    all members pass it and fails if one fails it; `unmet` is what any of them names.
    """

    def __init__(self, members: Sequence[EnsembleMember], gate: Verifier | None = None) -> None:
        if not members:
            raise InputError("An ensemble without members judges nothing. Give at least one.")
        names = {member.name for member in members}
        if len(names) < len(members) or DISAGREEMENT in names:
            raise InputError(
                f"Two members have the same name, or one is named {DISAGREEMENT!r}. "
                "Give each its own."
            )
        self.members, self.gate = tuple(members), gate
        verifiers = [member.verifier for member in members]
        outside = gate is not None and not any(gate is verifier for verifier in verifiers)
        self._asked: list[Verifier] = [*verifiers, *([gate] if gate and outside else [])]
        self.calls = self._estimate()
        self._spent = 0
        self._first: dict[str, Mapping[str, float]] = {}  # by prompt: the first picture's aspects

    @property
    def spent(self) -> int | None:
        counts = any(spent_by(verifier) is not None for verifier in self._asked)
        return self._spent if counts else None

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        self._first.pop(prompt, None)
        if candidates:
            self._first[prompt] = candidates[0].verdict.aspects
        for member in self.members:
            if isinstance(member.verifier, Remembering):
                own = [scored(candidate, member.name) for candidate in candidates]
                member.verifier.remember(prompt, own)

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        columns = [self._ask(verifier, prompt, images, progress) for verifier in self._asked]
        self.calls = self._estimate()
        rows = list(zip(*columns, strict=True))
        if rows and prompt not in self._first:
            self._first[prompt] = self._aspects(rows[0])
        return [self._joined(self._first[prompt], verdicts) for verdicts in rows]

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

    def _aspects(self, verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """The members' scores; the gate may stand behind them and is left out."""
        pairs = zip(self.members, verdicts, strict=False)
        return MappingProxyType({member.name: verdict.score for member, verdict in pairs})

    def _joined(self, first: Mapping[str, float], verdicts: Sequence[Verdict]) -> Verdict:
        aspects = self._aspects(verdicts)
        places = [m.place(aspects[m.name], first[m.name]) for m in self.members]
        told = zip(self.members, verdicts, strict=False)
        judges = [
            verdict
            for verifier, verdict in zip(self._asked, verdicts, strict=True)
            if self.gate is None or verifier is self.gate
        ]
        weights = [member.weight for member in self.members]
        mean = sum(map(mul, weights, places)) / sum(weights)
        passed = _all(verdict.passed for verdict in judges)
        return Verdict(
            score=mean if self.gate is None else (bool(passed) + mean) / 2,
            passed=passed,
            aspects=_with_disagreement(aspects, places),
            unmet=tuple(dict.fromkeys(what for verdict in judges for what in verdict.unmet)),
            explanation="; ".join(f"{m.name}: {v.explanation}" for m, v in told if v.explanation),
        )


def _with_disagreement(
    aspects: Mapping[str, float], places: Sequence[float]
) -> Mapping[str, float]:
    if len(places) == 1:
        return aspects
    return MappingProxyType({**aspects, DISAGREEMENT: max(places) - min(places)})


def scored(candidate: Candidate, aspect: str) -> Candidate:
    """The candidate as the verifier of one aspect judged it."""
    verdict = replace(candidate.verdict, score=candidate.verdict.aspects[aspect])
    return replace(candidate, verdict=verdict)


def _all(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    if False in known:
        return False
    return None if None in known else True
