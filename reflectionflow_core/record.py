"""The records of a search: what was requested, painted, judged and spent.

Every record is frozen; a change makes a new record. Nothing here knows a model, a file or a screen.
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
    """Invalid input of the user; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The noise of `pivot`, moved by `radius` (0 to 1, variance preserved) towards the noise of
    `seed`.

    Zero-order search (Ma et al. 2025) tries such neighbours of the best noise so far.
    """

    pivot: Seed
    seed: int
    radius: float


@dataclass(frozen=True, slots=True)
class Restart:
    """The parent's picture with noise added up to `level` (0 to 1), drawn from `seed`.

    Search over paths (Ma et al. 2025) continues from there.
    """

    seed: int
    level: float


Seed = int | Neighbour | Restart
SHARED = "shared"  # History.ended if the budget of many prompts ended the search


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a picture that is drawn in stages.

    `instruction` says in the imperative what to add now, `scene` describes the whole picture after
    it, `objects` are the objects visible by then, such as "two red cups". Raises InputError without
    an instruction or a scene.
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
    """The stages of a picture; `note` says why the plan is not the planner's, if so."""

    stages: tuple[Stage, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspector says about an unfinished picture, given the stage that it has reached.

    `wrong` is drawn, but not as requested; `missing` should be there by now, but is not; `later`
    belongs to a later stage, which is no fault. `refine` is the instruction that would fix what is
    wrong and missing, "" if nothing is.
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

    * `prompt`: what it was painted from (original or evolved).
    * `reflection`: the instruction that its parent was corrected with, "" without one.
    * `parent`: None for a draft.
    * `action`: the strategy's name for how it was made, such as "correct"; "" if unknown.
    * `steps`: its diffusion steps, 0 if unknown.
    * `finished`: False if only its preview was painted, which image and verdict then belong to.
    * `stage`, `inspection`: its stage in the plan, from 0, and the inspection by it, in a staged
      search.
    * `region`: where its parent was changed; None is everywhere.
    * `broken`: requirements that its parent met and it does not, if the search checks them.
    * `latents`: what it was decoded from, in its painter's format, if they are kept.
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
        """The sort key of candidates; the greater is better."""
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
    """One picture to paint: a strategy chooses how, and the team then adds the texts.

    * `seed`: its noise; a Restart adds noise to the parent's picture.
    * `prompt`, `reflection`: kept if the strategy sets them; otherwise actors write them.
    * `context`: earlier pictures of the chain for actors that can look at several, the latest last.
    * `corrects`: the parent is repainted as `reflection` says; otherwise text alone is painted.
    * `evolves`: the prompt is rewritten after looking at the parent.
    * `unchanged`: a correction with nothing to change, so that no writer is asked.
    * `speculative`: painted only if its preview beats its parent, or the best so far.
    * `action`: the strategy's name for it, kept in the record.
    * `stage`: the number of the planned stage that the picture is inspected by.
    * `scout`: only its preview is painted and judged, if the painter can preview.
    * `region`: where a correction may change its parent; None is everywhere.
    * `broken`: what earlier corrections of the same parent have broken, for the writer.
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
    unchanged: bool = False

    @classmethod
    def correcting(cls, image: Image, prompt: str, reflection: str, seed: Seed) -> Request:
        """The request to correct a picture that belongs to no search and has no verdict."""
        parent = Candidate(image, prompt, 0, Verdict.unjudged("Nobody has looked at it."))
        return cls(seed, prompt, parent, reflection, corrects=True)

    @property
    def phase(self) -> str:
        """The painter's phase: "correct", "repaint" or "draft"."""
        if self.corrects:
            return "correct"
        return "repaint" if isinstance(self.seed, Restart) else "draft"

    @property
    def asks_writer(self) -> bool:
        return self.corrects and not self.reflection and not self.unchanged

    @property
    def required_parent(self) -> Candidate:
        """The parent; raises ValueError without one."""
        if self.parent is None:
            raise ValueError("A correction and a restart need a parent picture.")
        return self.parent


COUNTED = ("images", "steps", "vlm_calls")  # what a Cost counts, without its seconds


@dataclass(frozen=True, slots=True)
class Cost:
    """What a search has spent; `seconds` are by phase."""

    images: int = 0  # finished pictures
    steps: int = 0  # diffusion steps, one for each picture of a batch
    vlm_calls: int = 0
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    slowest: float = 0.0  # seconds of the slowest batch, for a budget in seconds

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
    """Every candidate of a search, round by round; round 0 has the drafts. It only grows.

    The strategy decides how many pictures a round has and which parents they have; a chain is a
    candidate's `lineage`. The last round may be incomplete while the search is running. `feedback`
    is what a person said between rounds, in order; `proposed` are reflections for the next round
    that wait for the next answer. `ended` is the budget limit (a field of Budget, or SHARED) that
    ended a search which would continue.
    """

    rounds: tuple[tuple[Candidate, ...], ...] = ()
    cost: Cost = Cost()
    feedback: tuple[Feedback, ...] = ()
    ended: str = ""
    proposed: Feedback | None = None

    def __iter__(self) -> Iterator[Candidate]:
        return chain.from_iterable(self.rounds)

    def __len__(self) -> int:
        return sum(map(len, self.rounds))

    @property
    def placed(self) -> Iterator[tuple[tuple[int, int], Candidate]]:
        """Every candidate with its (round, position)."""
        for number, candidates in enumerate(self.rounds):
            for position, candidate in enumerate(candidates):
                yield (number, position), candidate

    @property
    def best(self) -> Candidate:
        """The best candidate of all: by rank, then by its verifier's sureness, then the earliest.

        Finished candidates come before previews, judged ones before unjudged ones, and candidates
        that a person has excluded last.
        """
        if not len(self):
            raise ValueError("An empty history has no best candidate.")
        return max(self.eligible or self, key=lambda candidate: candidate.merit)

    @property
    def ranked(self) -> list[Candidate]:
        """Every candidate, the best first, in the order of `best`."""
        eligible = set(self.eligible)
        return sorted(self, key=lambda c: (c in eligible, *c.merit), reverse=True)

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        """Every candidate that no person has excluded, in painting order."""
        out = excluded(self.feedback)
        return tuple(candidate for i, candidate in enumerate(self) if i not in out)

    @property
    def unjudged(self) -> list[Candidate]:
        """Every candidate that could not be judged, in painting order."""
        return [candidate for candidate in self if not candidate.verdict.judged]

    @property
    def finished(self) -> tuple[Candidate, ...]:
        """Every finished candidate, without previews."""
        return tuple(candidate for candidate in self if candidate.finished)

    def before(self, round_index: int, position: int) -> History:
        """The candidates before a position, without their cost, which is not known."""
        begun = self.rounds[round_index][:position] if round_index < len(self.rounds) else ()
        return self._with((*self.rounds[:round_index], *((begun,) if begun else ())), Cost())

    def _with(self, rounds: tuple[tuple[Candidate, ...], ...], cost: Cost) -> History:
        """The history with these of its rounds, and the feedback up to their end."""
        count = sum(map(len, rounds))
        return History(rounds, cost, tuple(said for said in self.feedback if said.after <= count))

    def without_last(self, count: int) -> History:
        """This history without its last `count` candidates; the cost is unchanged."""
        left, rounds = len(self) - count, []
        for candidates in self.rounds:
            if left > 0:
                rounds.append(candidates[:left])
            left -= len(candidates)
        return self._with(tuple(rounds), self.cost)

    def extended(self, round_index: int, candidates: tuple[Candidate, ...]) -> History:
        """This history with candidates added to round `round_index`, the last or a new one.

        Raises ValueError for any other round.
        """
        if round_index not in (len(self.rounds), len(self.rounds) - 1):
            raise ValueError(f"Round {round_index} is neither the last round nor the next one.")
        begun = self.rounds[round_index] if round_index < len(self.rounds) else ()
        rounds = (*self.rounds[:round_index], begun + candidates)
        return replace(self, rounds=rounds, ended="", proposed=None)

    def answered(self, said: Feedback) -> History:
        """This history with a person's feedback on it; ValueError for feedback on another."""
        if said.after != len(self):
            raise ValueError(f"It was said of {said.after} pictures, and there are {len(self)}.")
        return replace(self, feedback=(*self.feedback, said), proposed=None)

    def charged(self, cost: Cost) -> History:
        return replace(self, cost=self.cost + cost)
