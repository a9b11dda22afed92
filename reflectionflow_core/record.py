"""The records of a search: what was asked, painted, judged and spent.

Every record is frozen; change is a new record. Nothing here knows a model, a file or a screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from .feedback import Feedback, excluded
from .regions import Region
from .verdict import DISAGREEMENT, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DISAGREEMENT",
    "SHARED",
    "Candidate",
    "Cost",
    "History",
    "InputError",
    "Inspection",
    "Neighbour",
    "Region",
    "Request",
    "Restart",
    "ScenePlan",
    "Seed",
    "Stage",
    "Verdict",
]


class InputError(ValueError):
    """What the user gave cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The noise at `pivot`, moved by `radius` (0 to 1, variance kept) towards the noise of `seed`.

    Zero-order search of Ma et al. (2025) looks at such neighbours of the best noise so far.
    """

    pivot: Seed
    seed: int
    radius: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The parent's picture taken back to noise `level` (0 to 1) by the noise of `seed`.

    Search over paths of Ma et al. (2025) paints on from there.
    """

    seed: int
    level: float


Seed = int | Neighbour | Restart
SHARED = "shared"  # the budget of many prompts, which ended a search


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a picture that is drawn in stages.

    `instruction` says in the imperative what to add now, `scene` describes the whole picture after
    it, `objects` names what is to be seen by then, such as "two red cups".
    """

    instruction: str
    scene: str
    objects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.instruction.strip() or not self.scene.strip():
            raise InputError(
                "A stage needs an instruction and a scene. Say what to add, and what the whole "
                "picture shows then."
            )


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """The stages of a picture; `note` says why, where they are not what the planner wrote."""

    stages: tuple[Stage, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspector says of a picture that is not finished, by the stage that it has reached.

    `wrong` is drawn, and not as asked; `missing` should be there by now, and is not; `later` is
    asked for by the prompt and not due yet, which is no fault. `refine` is the instruction that
    would fix what is wrong and missing, "" if nothing is.
    """

    accepted: bool
    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    refine: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One painted and judged picture; compared by identity.

    `prompt` is the text it was painted from (original or evolved), `reflection` the instruction
    that its parent was corrected with ("" where there was none). A draft has no parent. `action` is
    the strategy's word for how it was made, such as "correct"; "" if unknown. `steps` are
    the diffusion steps that it took, 0 if unknown. With `finished` False it was
    dropped before it was painted: image and verdict are those of its preview. A picture of a
    staged search has the number of its `stage` in the plan, from 0 on, and an `inspection` by it. A
    correction has the `region` in which its parent was changed, None for all of it, and says what
    it has `broken`: requirements that its parent met, where the search looks for them. `latents`
    are what it was decoded from, as its painter wrote them, where that is asked for.
    """

    image: Image
    prompt: str
    seed: Seed
    verdict: Verdict
    reflection: str = ""
    parent: Candidate | None = field(default=None, repr=False)  # a long chain would print itself
    action: str = ""
    steps: int = 0
    finished: bool = True
    stage: int | None = None
    inspection: Inspection | None = None
    region: Region | None = None
    broken: tuple[str, ...] = ()
    latents: bytes | None = field(default=None, repr=False)

    @property
    def score(self) -> float | None:
        """None if the picture could not be judged."""
        return self.verdict.score

    @property
    def rank(self) -> float:
        """The score for comparisons; minus infinity if the picture could not be judged."""
        return self.verdict.rank

    @property
    def merit(self) -> tuple[bool, float, float]:
        """Tells which of two pictures is better: the greater is."""
        return self.finished, self.rank, self.verdict.sureness

    @property
    def lineage(self) -> tuple[Candidate, ...]:
        """From the draft to this candidate."""
        ancestors: list[Candidate] = []
        candidate: Candidate | None = self
        while candidate is not None:
            ancestors.append(candidate)
            candidate = candidate.parent
        return tuple(reversed(ancestors))


@dataclass(frozen=True, slots=True)
class Request:
    """One picture to paint: a strategy says how, and the team then fills in the texts.

    `seed` is its noise; a Restart takes the parent's picture back to a level of noise. With
    `corrects` the parent is repainted as `reflection` says, otherwise the picture is painted from
    text alone. With `evolves` the prompt is rewritten in view of the parent. A `prompt` or
    `reflection` that the strategy gives is kept, and no actor is asked for one. `context` are
    earlier pictures of the chain for actors that can look at several, the latest last. A
    `speculative` picture is painted only if its preview promises more than its parent, or the best
    so far. Of a `scout` only the preview is painted, where its painter can; that is judged, and the
    strategy decides what comes of it.
    `action` is the strategy's word for the record, `stage` the number in a staged plan that the
    picture is inspected by. A correction changes its parent only in `region`, None is all of it;
    `broken` names what earlier corrections of the same parent have broken, for its writer.
    """

    seed: Seed
    prompt: str = ""
    parent: Candidate | None = None
    reflection: str = ""
    context: tuple[Candidate, ...] = ()
    corrects: bool = False
    evolves: bool = False
    speculative: bool = False
    action: str = ""
    stage: int | None = None
    scout: bool = False
    region: Region | None = None
    broken: tuple[str, ...] = ()

    @classmethod
    def correcting(cls, image: Image, prompt: str, reflection: str, seed: Seed) -> Request:
        """The request to repaint a picture that belongs to no search and has no verdict."""
        parent = Candidate(image, prompt, 0, Verdict.unjudged("Nobody has looked at it."))
        return cls(seed, prompt, parent, reflection, corrects=True)

    @property
    def phase(self) -> str:
        """What a painter does for it: "correct", "repaint" or "draft"."""
        if self.corrects:
            return "correct"
        return "repaint" if isinstance(self.seed, Restart) else "draft"

    @property
    def asks_writer(self) -> bool:
        return self.corrects and not self.reflection

    @property
    def required_parent(self) -> Candidate:
        """The parent, for those who are only asked about requests that have one."""
        if self.parent is None:
            raise ValueError("A correction and a restart need a parent picture.")
        return self.parent


@dataclass(frozen=True, slots=True)
class Cost:
    """What a search has spent, counted as it was spent; `seconds` by phase."""

    images: int = 0  # finished ones
    steps: int = 0  # diffusion steps, one for each picture of a batch
    vlm_calls: int = 0
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    slowest: float = 0.0  # seconds of the slowest batch; a budget in seconds plans with it

    def __add__(self, other: Cost) -> Cost:
        phases = {**self.seconds}
        for phase, seconds in other.seconds.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
        return Cost(
            self.images + other.images,
            self.steps + other.steps,
            self.vlm_calls + other.vlm_calls,
            MappingProxyType(phases),
            max(self.slowest, other.slowest),
        )

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class History:
    """Every candidate of a search, round by round; round 0 holds the drafts. It only grows.

    The strategy says how many pictures a round has and which parents they have; a chain is a
    candidate's `lineage`. The last round may be incomplete while the search is under way.
    `feedback` is what a person said between rounds, in order. `ended` is the limit of the budget
    (a field of Budget, or SHARED) that pays for nothing more of a search that would go on.
    """

    rounds: tuple[tuple[Candidate, ...], ...] = ()
    cost: Cost = Cost()
    feedback: tuple[Feedback, ...] = ()
    ended: str = ""

    def __iter__(self) -> Iterator[Candidate]:
        return chain.from_iterable(self.rounds)

    def __len__(self) -> int:
        return sum(map(len, self.rounds))

    @property
    def placed(self) -> Iterator[tuple[tuple[int, int], Candidate]]:
        """Every candidate with its place, (round, position)."""
        for number, candidates in enumerate(self.rounds):
            for position, candidate in enumerate(candidates):
                yield (number, position), candidate

    @property
    def best(self) -> Candidate:
        """The best of every candidate ever made; of equals the one that its verifier is surer of,
        and then the earliest.

        A dropped candidate is the best only if none was finished, and one that could not be judged
        only if none was, and one that a person has excluded only if nothing else is left.
        """
        if not len(self):
            raise ValueError("An empty history has no best candidate.")
        return max(self.eligible or self, key=lambda candidate: candidate.merit)

    @property
    def ranked(self) -> list[Candidate]:
        """Every candidate, the best first, by the rule of `best`."""
        eligible = set(self.eligible)
        return sorted(self, key=lambda c: (c in eligible, *c.merit), reverse=True)

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        """Every candidate that no person has excluded, in the order of painting."""
        out = excluded(self.feedback)
        return tuple(candidate for i, candidate in enumerate(self) if i not in out)

    @property
    def unjudged(self) -> list[Candidate]:
        """Every candidate that could not be judged, in the order of painting."""
        return [candidate for candidate in self if not candidate.verdict.judged]

    @property
    def finished(self) -> tuple[Candidate, ...]:
        """Every candidate that was painted to its end."""
        return tuple(candidate for candidate in self if candidate.finished)

    def before(self, round_index: int, position: int) -> History:
        """The candidates before a position; without their cost, which is not known."""
        begun = self.rounds[round_index][:position] if round_index < len(self.rounds) else ()
        return self._with((*self.rounds[:round_index], *((begun,) if begun else ())), Cost())

    def _with(self, rounds: tuple[tuple[Candidate, ...], ...], cost: Cost) -> History:
        """The history of these of its rounds, and of what was said until then."""
        count = sum(map(len, rounds))
        return History(rounds, cost, tuple(said for said in self.feedback if said.after <= count))

    def without_last(self, count: int) -> History:
        """This history without its last `count` candidates; the cost stays that of all."""
        left, rounds = len(self) - count, []
        for candidates in self.rounds:
            if left > 0:
                rounds.append(candidates[:left])
            left -= len(candidates)
        return self._with(tuple(rounds), self.cost)

    def extended(self, round_index: int, candidates: tuple[Candidate, ...]) -> History:
        """This history with candidates added to round `round_index`, the last or a new one."""
        if round_index not in (len(self.rounds), len(self.rounds) - 1):
            raise ValueError(f"Round {round_index} is neither the last round nor the next one.")
        begun = self.rounds[round_index] if round_index < len(self.rounds) else ()
        return replace(self, rounds=(*self.rounds[:round_index], begun + candidates), ended="")

    def answered(self, said: Feedback) -> History:
        """This history with what a person said of it as it is now."""
        if said.after != len(self):
            raise ValueError(f"It was said of {said.after} pictures, and there are {len(self)}.")
        return replace(self, feedback=(*self.feedback, said))

    def charged(self, cost: Cost) -> History:
        return replace(self, cost=self.cost + cost)
