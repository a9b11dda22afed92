"""Several verifiers as one: a picture that one of them misjudges must also convince the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import mul
from types import MappingProxyType

from PIL.Image import Image

from ..protocols import SILENT, Progress, Remembering, Selective, Verifier
from ..record import DISAGREEMENT, Candidate, InputError, Verdict
from ..search.budget import calls_so_far, metered


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """A verifier of an ensemble.

    `spread` is how much its scores differ between clearly different pictures. Raises InputError
    unless spread and weight are positive.
    """

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

    def relative(self, score: float, first: float) -> float:
        """The score as 0 to 1, compared with the first picture's."""
        z = (score - first) / self.spread
        return 0.5 + 0.5 * z / (1 + abs(z))


class EnsembleVerifier:
    """The weighted mean m of the members' relative scores, 0 to 1; the first picture's are 0.5.

    A score that is z spreads above that of the first picture becomes 0.5 + 0.5 z / (1 + |z|), so
    that no member's scale counts more than another's and no member decides alone. Ranks would do
    the same, but they change with every new picture: a later picture that all members prefer could
    score less than an earlier one. Relative to the first picture a score never changes. `aspects`
    are the members' own scores, and the range of their relative scores (DISAGREEMENT, 0 to 1).

    `passed` and `unmet` are those of the `gate`, which may be a member; it is asked once in any
    case. A picture that it passes scores (1 + m) / 2, others m / 2: a search that stops at a
    picture that passed must return that picture. Without a gate the score is m, a picture passes if
    all members pass it and fails if one fails it; `unmet` joins those of all members. `evidence` is
    that of those whose `unmet` counts. A picture that a member or the gate could not judge is not
    judged: fewer judges are easier to convince.

    A Selective member, or gate, that does not apply to a prompt is left out for that prompt, unless
    no member applies: then all are asked, and say why they cannot judge.

    Raises InputError without members, or where two have one name.
    """

    def __init__(self, members: Sequence[EnsembleMember], gate: Verifier | None = None) -> None:
        if not members:
            raise InputError("The ensemble has no members. Give at least one.")
        names = [member.name for member in members]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(
                f"Two joined verifiers have the same name, {twice[0]!r}. Keep one of them."
            )
        if DISAGREEMENT in names:
            raise InputError(f"No verifier can have the name {DISAGREEMENT!r}. Give it another.")
        self.members, self.gate = tuple(members), gate
        everyone = [*(member.verifier for member in members), *([gate] if gate else [])]
        self._everyone = list({id(verifier): verifier for verifier in everyone}.values())
        self.calls = _estimate(self._everyone)
        self._spent = 0
        self._first: dict[str, dict[str, float]] = {}  # by prompt: the members' first scores

    @property
    def spent(self) -> int | None:
        counts = any(calls_so_far(verifier) is not None for verifier in self._everyone)
        return self._spent if counts else None

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None:
        self._first.pop(prompt, None)
        for candidate in candidates:
            self._note_first(prompt, candidate.verdict.aspects)
        for member in self.members:
            if isinstance(member.verifier, Remembering):
                known = [c for c in candidates if member.name in c.verdict.aspects]
                own = [scored(candidate, member.name) for candidate in known]
                member.verifier.remember(prompt, own)

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        panel = self._panel(prompt)
        columns = [self._ask(verifier, prompt, images, progress) for verifier in panel.asked]
        self.calls = _estimate(panel.asked)
        rows = list(zip(*columns, strict=True))
        for verdicts in rows:
            self._note_first(prompt, panel.aspects(verdicts))
        left_out = [
            f"{member.name}: left out, since the prompt has nothing for it"
            for member in self.members
            if member not in panel.members
        ]
        return [panel.joined(self._first[prompt], verdicts, left_out) for verdicts in rows]

    def _panel(self, prompt: str) -> _Panel:
        """The members that judge this prompt; all members if it applies to none."""
        members = [m for m in self.members if _applies(m.verifier, prompt)] or self.members
        gate = self.gate if self.gate is not None and _applies(self.gate, prompt) else None
        return _Panel(tuple(members), gate)

    def _note_first(self, prompt: str, aspects: Mapping[str, float]) -> None:
        """Stores each member's first score, which all later ones are compared with."""
        first = self._first.setdefault(prompt, {})
        for member in self.members:
            if member.name in aspects:
                first.setdefault(member.name, aspects[member.name])

    def _ask(
        self, verifier: Verifier, prompt: str, images: Sequence[Image], progress: Progress
    ) -> list[Verdict]:
        verdicts, calls = metered(
            verifier, len(images), lambda: verifier.verify(prompt, images, progress)
        )
        self._spent += calls
        return verdicts


@dataclass(frozen=True, slots=True)
class _Panel:
    """The members and the gate that judge one prompt."""

    members: tuple[EnsembleMember, ...]
    gate: Verifier | None

    @property
    def asked(self) -> list[Verifier]:
        """Each verifier once: the members, then the gate if it is not one of them."""
        verifiers = [member.verifier for member in self.members]
        outside = self.gate is not None and not any(self.gate is one for one in verifiers)
        return [*verifiers, *([self.gate] if self.gate is not None and outside else [])]

    def aspects(self, verdicts: Sequence[Verdict]) -> Mapping[str, float]:
        """The members' scores, without the gate's verdict that may follow them."""
        pairs = zip(self.members, verdicts, strict=False)
        return MappingProxyType({m.name: v.score for m, v in pairs if v.score is not None})

    def joined(
        self, first: Mapping[str, float], verdicts: Sequence[Verdict], notes: Sequence[str]
    ) -> Verdict:
        said = zip(self.members, verdicts, strict=False)
        aspects = self.aspects(verdicts)
        if failed := next((v.failure for v in verdicts if v.failure is not None), None):
            return Verdict.unjudged(failed, aspects)
        relative = [m.relative(aspects[m.name], first[m.name]) for m in self.members]
        judges = [
            verdict
            for verifier, verdict in zip(self.asked, verdicts, strict=True)
            if self.gate is None or verifier is self.gate
        ]
        weights = [member.weight for member in self.members]
        mean = sum(map(mul, weights, relative)) / sum(weights)
        passed = _all(verdict.passed for verdict in judges)
        return Verdict(
            score=mean if self.gate is None else (bool(passed) + mean) / 2,
            passed=passed,
            aspects=_with_disagreement(aspects, relative),
            unmet=tuple(dict.fromkeys(what for verdict in judges for what in verdict.unmet)),
            explanation="; ".join(
                [*(said_by(m.name, v) for m, v in said if v.explanation), *notes]
            ),
            evidence=tuple(dict.fromkeys(seen for verdict in judges for seen in verdict.evidence)),
        )


def said_by(name: str, verdict: Verdict) -> str:
    """A verifier's explanation as a part of a longer one."""
    return f"{name}: {verdict.explanation.rstrip('.')}"


def _with_disagreement(
    aspects: Mapping[str, float], relative: Sequence[float]
) -> Mapping[str, float]:
    return MappingProxyType({**aspects, DISAGREEMENT: max(relative) - min(relative)})


def scored(candidate: Candidate, aspect: str) -> Candidate:
    """The candidate as the verifier of one aspect judged it."""
    verdict = replace(candidate.verdict, score=candidate.verdict.aspects[aspect])
    return replace(candidate, verdict=verdict)


def _applies(verifier: Verifier, prompt: str) -> bool:
    return not isinstance(verifier, Selective) or verifier.applies_to(prompt)


def _estimate(verifiers: Sequence[Verifier]) -> int:
    return sum(verifier.calls for verifier in verifiers)


def _all(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    if False in known:
        return False
    return None if None in known else True
