"""How a search spends its compute: its settings, each described once on its field.

Command line, node inputs, help and record are made from these fields.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Collection
from dataclasses import Field, dataclass, field, fields
from typing import Any

from .record import InputError, Stage
from .regions import WAYS
from .texts import usable_text

Axis = str  # "noise", "prompt" or "reflection"
AXES: tuple[Axis, ...] = ("noise", "prompt", "reflection")
PARENTS = ("latest", "best")
NOISE_SEARCHES = ("random", "zero_order")
STOPS = ("never", "passed")
ACCEPTS = ("any", "unbroken")
MAX_SEED = 2**64 - 1  # ComfyUI's and torch's range
RANDOM_SEED = -1  # asks for a seed that is drawn once
MAX_PICTURES = 100_000  # one search; more is a slip of the keyboard, not a plan
MAX_STAGES = 5  # of a staged picture; with more, too little of the first ones is left
MAX_CONTEXT = 8  # earlier pictures that go into one question
MAX_LOOKS = 8  # more of the same picture tell nothing new
MAX_STEPS_AWAY = 300  # nested neighbours of a noise; Python's recursion ends at about 1000


def setting(default: Any, text: str, **about: Any) -> Any:
    """A field of SearchSettings or Budget, with its metadata for the command line and the nodes.

    `text` describes it; `metavar` and `option` are for the command line. `least`, `most` and
    `choices` limit its values, and errors call it `label` if that is not the field's name.
    """
    return field(default=default, metadata={"text": text, **about})


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a search; None is no limit.

    Pictures, steps and calls are never exceeded. Calls are planned with the actors' estimates; if
    models have to be asked repeatedly, the last pictures may stay unjudged. Only a batch that is
    slower than all before it can exceed the seconds. Raises InputError for a limit that is not
    a number above zero, and for more than 10,000,000 steps.
    """

    images: int | None = setting(None, "maximum number of pictures", metavar="N")
    vlm_calls: int | None = setting(
        None,
        "maximum number of calls of vision-language models, retries included",
        metavar="N",
        option="max_calls",
        label="VLM calls",
    )
    seconds: float | None = setting(
        None, "maximum seconds of work, planned with the slowest batch so far", metavar="T"
    )
    steps: int | None = setting(
        None,
        "maximum number of diffusion steps, of all pictures together",
        metavar="N",
        most=10_000_000,
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            limit = getattr(self, f.name)
            if limit is not None and not (_is_number(f, limit) and limit > 0):
                kind = "number" if _may_be_fraction(f) else "whole number"
                raise InputError(
                    f"The budget of {_label(f)} is {limit!r}. "
                    f"Give a {kind} above zero, or no budget."
                )
            most = f.metadata.get("most")
            if limit is not None and most is not None and limit > most:
                raise InputError(
                    f"The budget of {_label(f)} is {limit:,}. Give at most {most:,}, or no budget."
                )


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a search spends its compute (paper §3.4).

    `width` chains run in parallel (N), each corrected `depth` times (M), beginning with the best of
    `drafts` first pictures (None: one per chain). A strategy without such chains interprets these
    numbers in its own way, but never plans more than `depth` rounds after its first; only scouts
    finish a preview that passes in the last one. `stop` ends the search: "never", at the first
    picture that "passed", or at a score. Pictures that are painted from `draft_prompt` are still
    judged by the user's prompt. Raises InputError for values of another kind or out of range.
    """

    width: int = setting(2, "parallel chains", metavar="N", least=1, most=1024)
    depth: int = setting(
        3,
        "rounds after the first; the strategies interleaved and scouts default to 1 and 16",
        metavar="M",
        least=0,
        most=10_000,
    )
    drafts: int | None = setting(
        None,
        "first pictures (default: one per chain; adaptive and scouts: one in total)",
        metavar="K",
        least=1,
        most=10_000,
        label="number of drafts",
    )
    seed: int = setting(
        0,
        f"seed of all noise; {RANDOM_SEED} draws a random one and records it",
        metavar="S",
        least=0,
        most=MAX_SEED,
    )
    strategy: str = setting("reflection", "how the rounds are planned", metavar="NAME")
    axes: tuple[Axis, ...] = setting(
        AXES, f"what a round may change: any of {','.join(AXES)}", metavar="LIST"
    )
    parents: str = setting(
        "latest",
        "what each chain corrects next: its latest picture, as in the paper, or its best so far; "
        "for reflection, noise+prompt, staged and in-context",
        choices=PARENTS,
        label="choice of parents",
    )
    stop: str | float = setting(
        "never",
        "never, passed, or a score; strategies adaptive and scouts end at a pass in any case",
        metavar="RULE",
    )
    noise_search: str = setting(
        "random",
        "random draws new noise; zero_order searches near the noise of the picture to improve",
        choices=NOISE_SEARCHES,
    )
    radius: float = setting(
        0.3,
        "radius of zero_order noise search, from 0 (the same noise) to 1 (new noise)",
        metavar="R",
        least=0.0,
        most=1.0,
    )
    batch_size: int = setting(
        1, "pictures that are painted at once", metavar="B", least=1, most=1024
    )
    budget: Budget = Budget()
    draft_prompt: str | None = setting(
        None,
        "prompt for pictures without a parent; the verifier still judges by the main prompt",
        metavar="TEXT",
    )
    policy: str = setting(
        "progress",
        "how strategy adaptive decides: progress looks at the verdicts, restart paints from "
        "scratch on a fixed schedule, steady only corrects",
    )
    recheck: bool = setting(
        False,
        "re-check only the parent's failed items, and everything before a picture passes; saves "
        "calls of the verifier checklist",
    )
    stages: tuple[Stage, ...] = setting(
        (),
        "file with a plan, one stage per line: instruction -> scene -> object; object",
        metavar="FILE",
    )
    context: int = setting(
        3,
        "for strategy in-context: how many earlier pictures of the chain are shown to actors that "
        "can look at several",
        metavar="K",
        least=0,
        most=MAX_CONTEXT,
    )
    trust: float = setting(
        0.95,
        "if the judge's error rates are known: a picture counts as passed only if it is right "
        "with at least this probability",
        metavar="P",
        least=0.0,
        most=0.999,
    )
    looks: int = setting(
        2,
        "if the judge's error rates are known: how often it is asked again, at most, about a "
        "picture that may be right, in other words or about another crop",
        metavar="N",
        least=0,
        most=MAX_LOOKS,
        label="number of looks",
    )
    correct: str = setting(
        "whole",
        "where a correction may change its parent: whole (everywhere, as in the paper), regions "
        "(only at the faults, if any of them has a place) or auto (only if all of them have one)",
        choices=WAYS,
        label="way to correct",
    )
    accept: str = setting(
        "any",
        "which corrections a chain continues from: any (as in the paper), or unbroken (only those "
        "that break nothing that their parent had right)",
        choices=ACCEPTS,
        label="rule of acceptance",
    )
    mask: str | None = setting(
        None,
        "a picture, white where corrections may change anything and black elsewhere; used instead "
        "of the places that the verifier finds",
        metavar="PNG",
        reads="mask",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", chosen_seed(self.seed))  # frozen, for everyone else
        for f in fields(self):
            _check(f, getattr(self, f.name))
        if len(self.stages) > MAX_STAGES:
            raise InputError(f"The plan has {len(self.stages)} stages. Give at most {MAX_STAGES}.")
        if (
            self.draft_prompt is not None
            and not usable_text(self.draft_prompt, "draft prompt").strip()
        ):
            raise InputError("The draft prompt is empty. Say what to paint, or leave it out.")
        for axis in self.axes:
            check_choice("axis", axis, AXES)
        if not self.axes:
            raise InputError(f"A round must change something. Choose axes among {', '.join(AXES)}.")
        # In one order and each once: the same axes are the same search.
        object.__setattr__(self, "axes", tuple(axis for axis in AXES if axis in self.axes))
        if self.mask is not None:
            check_mask(self.mask)
        is_score = isinstance(self.stop, int | float) and math.isfinite(self.stop)
        if isinstance(self.stop, bool) or not (is_score or self.stop in STOPS):
            raise InputError(
                f"There is no stop rule named {self.stop!r}. "
                f"Choose one of: {', '.join(STOPS)}, a score."
            )
        if self.noise_search == "zero_order" and self.depth > MAX_STEPS_AWAY:
            raise InputError(
                f"{self.depth} rounds of zero-order search go too many steps away from one noise. "
                f"Choose a depth of at most {MAX_STEPS_AWAY}, or random noise search."
            )
        if self.scheduled_pictures > MAX_PICTURES:
            raise InputError(
                f"{self.scheduled_pictures:,} pictures are more than one search may paint "
                f"({MAX_PICTURES:,}). Choose a smaller width, depth or number of drafts."
            )

    @property
    def corrects_in_places(self) -> bool:
        return self.mask is not None or self.correct != "whole"

    @property
    def draft_count(self) -> int:
        return self.width if self.drafts is None else self.drafts

    @property
    def may_cut_a_round(self) -> bool:
        """Whether the pictures of a round can decide that the rest of it is not painted.

        Budgets of pictures and steps are known before a round begins, so they do not count.
        """
        budget = self.budget
        limited = budget.vlm_calls is not None or budget.seconds is not None
        return limited or self.stop != "never"

    @property
    def scheduled_pictures(self) -> int:
        """How many pictures the paper's schedule paints: drafts, then one per chain and round."""
        return self.draft_count + self.width * self.depth


def chosen_seed(seed: int) -> int:
    """The seed, or for RANDOM_SEED a random one below 2^32, which is exact in JavaScript.

    Callers store the seed, so that its pictures can be made again. Raises InputError for anything
    but RANDOM_SEED and whole numbers from 0 to MAX_SEED.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not RANDOM_SEED <= seed <= MAX_SEED:
        raise InputError(
            f"The seed is {seed!r:.40}. Give a whole number from 0 to {MAX_SEED:,}, or "
            f"{RANDOM_SEED} to draw one."
        )
    return secrets.randbits(32) if seed == RANDOM_SEED else seed


def check_mask(mask: str) -> None:
    """Raises InputError for a mask that is not a picture, or is completely black."""
    from .regions.masks import mask_picture

    try:
        blank = mask_picture(mask).getbbox() is None
    except ValueError as error:
        raise InputError(f"The mask cannot be used: {error}. Give a PNG.") from error
    if blank:
        raise InputError(
            "The mask is black all over, so nothing may change. Paint white what to fix, or leave "
            "the mask out."
        )


def _label(f: Field[Any]) -> str:
    return f.metadata.get("label", f.name.replace("_", " "))


def _check(f: Field[Any], value: Any) -> None:
    """Raises InputError for a value that the field's `least`, `most` and `choices` exclude."""
    if choices := f.metadata.get("choices"):
        check_choice(_label(f), value, choices)
    elif value is not None and "least" in f.metadata:
        low, high = f.metadata["least"], f.metadata["most"]
        if not _is_number(f, value):
            kind = "number" if _may_be_fraction(f) else "whole number"
            raise InputError(f"The {_label(f)} is {value!r}. Give a {kind} from {low} to {high:,}.")
        if not low <= value <= high:
            raise InputError(f"The {_label(f)} is {value}. Give a number from {low} to {high:,}.")


def _is_number(f: Field[Any], value: Any) -> bool:
    """Whether a value is a number of the field's kind, and finite."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (
        _may_be_fraction(f) and isinstance(value, float) and math.isfinite(value)
    )


def _may_be_fraction(f: Field[Any]) -> bool:
    return "float" in str(f.type)


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raises InputError for a value that is not among the `known` ones."""
    if value not in known:
        raise InputError(f"There is no {name} named {value!r}. Choose one of: {', '.join(known)}.")


# What the command line and the nodes do by default: what won on the miniature (docs/strategies.md).
# The defaults of SearchSettings are the paper's.
RECOMMENDED = SearchSettings(strategy="adaptive", correct="auto")
