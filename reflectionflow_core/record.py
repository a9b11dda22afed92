"""The records of a search: what was asked, painted, judged and spent.

Every record is frozen; change is a new record. Nothing here knows a model, a file or a screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType

from PIL.Image import Image

Axis = str  # "noise", "prompt" or "reflection"
AXES: tuple[Axis, ...] = ("noise", "prompt", "reflection")
PARENTS = ("latest", "best")
NOISE_SEARCHES = ("random", "zero_order")
STOPS = ("never", "passed")
DISAGREEMENT = "disagreement"  # the aspect of a verdict that joins those of several verifiers
MAX_SEED = 2**32 - 1
MAX_PICTURES = 100_000  # one search; more is a slip of the keyboard, not a plan
MAX_STAGES = 5  # of a staged picture; more repaint it until nothing is left of it
MAX_CONTEXT = 8  # earlier pictures that go into one question
MAX_STEPS_AWAY = 300  # nested neighbours of a noise; Python's recursion ends at about 1000


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one picture.

    Only `score` orders candidates (higher is better). `passed` is None where the verifier cannot
    tell. `unmet` lists the requirements that failed, in words.
    """

    score: float
    passed: bool | None = None
    aspects: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    unmet: tuple[str, ...] = ()
    explanation: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"A verdict's score must be a finite number, got {self.score}.")


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
    would mend what is wrong and missing, "" where there is none.
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
    the strategy's word for how it was made, such as "correct"; "" where nobody said. `steps` are
    the diffusion steps that it took, 0 where nobody wrote them down. With `finished` False it was
    dropped before it was painted: its image and verdict are those of a foresight. A picture of a
    staged search has the number of its `stage` in the plan, from 0 on, and an `inspection` by it.
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

    @property
    def score(self) -> float:
        return self.verdict.score

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

    How many pictures a round has and which it goes on from is for the strategy to say; a chain is a
    candidate's `lineage`. The last round may be incomplete while the search is under way.
    """

    rounds: tuple[tuple[Candidate, ...], ...] = ()
    cost: Cost = Cost()

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
        """The best of every candidate ever made; the earliest of equals.

        What was dropped is it only where nothing was finished.
        """
        if not len(self):
            raise ValueError("An empty history has no best candidate.")
        return max(self, key=lambda candidate: (candidate.finished, candidate.score))

    @property
    def finished(self) -> tuple[Candidate, ...]:
        """Every candidate that was painted to its end."""
        return tuple(candidate for candidate in self if candidate.finished)

    def before(self, round_index: int, position: int) -> History:
        """The candidates that came before a place; without their cost, which nobody knows."""
        begun = self.rounds[round_index][:position] if round_index < len(self.rounds) else ()
        return History((*self.rounds[:round_index], *((begun,) if begun else ())))

    def extended(self, round_index: int, candidates: tuple[Candidate, ...]) -> History:
        """This history with candidates added to round `round_index`, the last or a new one."""
        if round_index not in (len(self.rounds), len(self.rounds) - 1):
            raise ValueError(f"Round {round_index} is neither the last round nor the next one.")
        begun = self.rounds[round_index] if round_index < len(self.rounds) else ()
        return replace(self, rounds=(*self.rounds[:round_index], begun + candidates))

    def charged(self, cost: Cost) -> History:
        return replace(self, cost=self.cost + cost)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a search; None is no limit.

    Pictures and steps are never exceeded. Calls are planned with the actors' estimates, so the last
    batch may exceed them where a model had to be asked again; so may a batch that is slower than
    all before it the seconds.
    """

    images: int | None = None
    vlm_calls: int | None = None
    seconds: float | None = None
    steps: int | None = None  # diffusion steps, as in Cost

    def __post_init__(self) -> None:
        for name in ("images", "vlm_calls", "seconds", "steps"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise InputError(
                    f"A budget of {limit} {name.replace('vlm_', 'VLM ')} buys nothing. "
                    "Give a number above zero, or leave the budget away."
                )


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a search spends its compute (paper §3.4).

    `width` chains run in parallel (N), each corrected `depth` times (M), beginning with the best of
    `drafts` first pictures (None: as many as chains). `strategy` names who plans the rounds (see
    `search.STRATEGIES`), `axes` which of noise, prompt and reflection a round may change. Where a
    strategy has no such chains it reads the numbers in its own way, but never plans more than
    `depth` rounds after its first. `parents` takes each chain's latest picture (the paper) or its
    best so far. `noise_search` draws new noise at random or, "zero_order", within `radius` of the
    noise that a round improves on. `stop` ends the search: "never", at the first picture that
    "passed", or at a score.
    `policy` names who decides what a chain of the strategy "adaptive" does next (see
    `search.POLICIES`). With `recheck` a verifier that can (`protocols.Rechecking`) is asked of a
    corrected picture what its parent lacked, and all else only once that is mended.
    `batch_size` pictures go through the model at once. Pictures without a parent are painted from
    `draft_prompt` where there is one, such as an expansion of the user's prompt; they are judged by
    the user's prompt all the same. `stages` is the plan of a staged search, written before it
    begins. With strategy in-context actors see up to `context` earlier pictures of a chain.
    """

    width: int = 2
    depth: int = 3
    drafts: int | None = None
    seed: int = 0
    strategy: str = "reflection"
    axes: tuple[Axis, ...] = AXES
    parents: str = "latest"
    stop: str | float = "never"
    noise_search: str = "random"
    radius: float = 0.3
    batch_size: int = 1
    budget: Budget = Budget()
    draft_prompt: str | None = None
    policy: str = "progress"
    recheck: bool = False
    stages: tuple[Stage, ...] = ()
    context: int = 3

    def __post_init__(self) -> None:
        _check_number("width", self.width, 1, 1024)
        _check_number("depth", self.depth, 0, 10_000)
        _check_number("number of drafts", self.first_round, 1, 10_000)
        _check_number("seed", self.seed, 0, MAX_SEED)
        _check_number("batch size", self.batch_size, 1, 1024)
        _check_number("radius", self.radius, 0.0, 1.0)
        _check_choice("choice of parents", self.parents, PARENTS)
        _check_choice("noise search", self.noise_search, NOISE_SEARCHES)
        _check_number("number of stages", len(self.stages), 0, MAX_STAGES)
        _check_number("context", self.context, 0, MAX_CONTEXT)
        if self.draft_prompt is not None and not self.draft_prompt.strip():
            raise InputError("The draft prompt is empty. Say what to paint, or leave it away.")
        for axis in self.axes:
            _check_choice("axis", axis, AXES)
        if not self.axes:
            raise InputError(f"A round must change something. Choose axes among {', '.join(AXES)}.")
        if isinstance(self.stop, str):
            _check_choice("stop rule", self.stop, (*STOPS, "a score"))
        if self.noise_search == "zero_order" and self.depth > MAX_STEPS_AWAY:
            raise InputError(
                f"{self.depth} rounds of zero-order search go too many steps away from one noise. "
                f"Choose a depth of at most {MAX_STEPS_AWAY}, or random noise search."
            )
        if self.pictures > MAX_PICTURES:
            raise InputError(
                f"{self.pictures:,} pictures are more than one search may paint "
                f"({MAX_PICTURES:,}). Choose a smaller width, depth or number of drafts."
            )

    @property
    def first_round(self) -> int:
        return self.width if self.drafts is None else self.drafts

    @property
    def pictures(self) -> int:
        """How many pictures the paper's schedule paints when nothing stops it: all drafts, then one
        a chain and a round."""
        return self.first_round + self.width * self.depth


def _check_number(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"The {name} is {value}. Give a number from {low} to {high:,}.")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"There is no {name} named {value!r}. Choose one of: {', '.join(known)}.")
