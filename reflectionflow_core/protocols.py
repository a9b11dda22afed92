"""The interfaces between a search and its actors: a verb or two each, most of them in batches.

An actor answers every item it was asked, in the order of the questions, or raises. Actors report
to `progress` at every diffusion step, generated token batch or request; its `check` may raise to
cancel, and an actor lets that exception through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from .judge_errors import JudgeErrors
from .record import Candidate, Inspection, Request, ScenePlan, Stage, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image


class Progress(Protocol):
    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        """`done` of `total` steps of `phase` are finished; `preview` is a rough picture so far."""
        ...

    def check(self) -> None:
        """Raises if the user cancelled."""
        ...

    def say(self, text: str) -> None:
        """Shows a line to the user, such as what a writer could not do and what is done instead."""
        ...


class Silent:
    """Progress without a watcher, which is never cancelled."""

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        pass

    def check(self) -> None:
        pass

    def say(self, text: str) -> None:
        pass


SILENT: Progress = Silent()


class Painter(Protocol):
    """Paints one picture for each request; `steps` is the number of diffusion steps of one.

    A generator paints requests from text and noise, a corrector those that repaint their parent.
    All requests of one call have the same `phase`.
    """

    steps: int

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image]: ...


@dataclass(frozen=True, slots=True)
class Painted:
    """A picture, and the latents that it was decoded from, as its painter writes them."""

    image: Image
    latents: bytes | None = None


@runtime_checkable
class LatentKeeping(Protocol):
    """A painter that gives the latents of what it paints, and reads those of a request's parent.

    Corrections in a region are blended into the parent's `latents` then, so that many of them do
    not encode and decode what they leave alone again and again.
    """

    def paint_with_latents(
        self, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[Painted]: ...


@dataclass(frozen=True, slots=True)
class Preview:
    """How a picture will look, painted in a fraction of its steps.

    One that has not `converged` may still become something else and cannot be judged.
    """

    image: Image
    converged: bool


@runtime_checkable
class Previewing(Protocol):
    """A painter that can show roughly what it will paint for a request, from the same noise.

    A preview takes `preview_steps` diffusion steps.
    """

    preview_steps: int

    def preview(
        self, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[Preview]: ...


@runtime_checkable
class OfOneSize(Protocol):
    """A painter whose pictures have `size` (width, height) in pixels, whatever it is shown."""

    @property
    def size(self) -> tuple[int, int]: ...


@runtime_checkable
class Restarting(Protocol):
    """A generator that also paints requests whose seed is a Restart.

    `steps_from` is the number of diffusion steps that this takes from a level of noise (0 to 1).
    """

    def steps_from(self, level: float) -> int: ...


class Verifier(Protocol):
    """Judges pictures against the user's prompt; `calls` are the VLM calls of one picture.

    Budgets are planned with `calls`, and charged with them unless the actor is Counting.
    """

    calls: int

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]: ...


class ReflectionWriter(Protocol):
    """Says, in one imperative text a request, what should change in its parent; `calls` as of a
    Verifier.

    A writer that looks at several pictures also finds earlier ones of the chain in the request's
    `context`, each with what was asked for it (`reflection`) and its verdict.
    """

    calls: int

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]: ...


class PromptEvolver(Protocol):
    """Rewrites the user's prompt in view of each request's parent, and of its `context` if it can
    look at several pictures; `calls` as of a Verifier."""

    calls: int

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]: ...


class Planner(Protocol):
    """Plans a picture in stages, once and before anything is painted; `calls` of one plan."""

    calls: int

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan: ...


class Inspector(Protocol):
    """Looks at unfinished pictures, each by the stage of the plan that it has reached.

    It checks the stage against the user's prompt, which is right where they differ, and the picture
    against the stage, and distinguishes what is not drawn yet from what is drawn wrong. `calls` as
    of a Verifier.
    """

    calls: int

    def inspect(
        self,
        prompt: str,
        stages: Sequence[Stage],
        images: Sequence[Image],
        progress: Progress = SILENT,
    ) -> list[Inspection]: ...


@runtime_checkable
class Counting(Protocol):
    """A verifier, writer, evolver or inspector that knows what it really asked.

    `spent` is the number of requests so far; its growth is charged and `calls` is an estimate. None
    means that it does not know after all, as a wrapper around an actor that is not Counting.
    """

    @property
    def spent(self) -> int | None: ...


@runtime_checkable
class Selective(Protocol):
    """A verifier that has nothing to judge for some prompts, as one that reads has without a text.

    Alone it refuses such a prompt; among several verifiers it is left out there.
    """

    def applies_to(self, prompt: str) -> bool: ...


@runtime_checkable
class Remembering(Protocol):
    """A verifier whose verdict on a picture depends on the pictures that it judged before.

    A search calls `remember` before every batch with all candidates so far, in the order in which
    they were judged. From then on the verifier knows these of that prompt and no others, so that a
    verdict follows from the History alone, whoever used the verifier before.
    """

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None: ...


@runtime_checkable
class Rechecking(Protocol):
    """A verifier that can ask of a corrected picture only what the picture before it lacked.

    `before` has for each image the verdict on the picture that it was made from, or None where it
    is to be judged as by `verify`. What was met before is taken as still met, and the verdict's
    explanation says so; but all is asked of a picture before it counts as passed. So `passed` is
    what `verify` would say, and the other fields are nearly so.
    """

    def recheck(
        self,
        prompt: str,
        images: Sequence[Image],
        before: Sequence[Verdict | None],
        progress: Progress = SILENT,
    ) -> list[Verdict]: ...


@runtime_checkable
class LookingAgain(Protocol):
    """A verifier that can be asked about the same picture in other words, or about a crop of it.

    It has `further_looks` of them; `look` is 1 for the first. `aspects` of all its verdicts are the
    probabilities (0 to 1) that it gives each single requirement, by statement, the same ones at
    every look.
    """

    further_looks: int

    def look_again(
        self, prompt: str, images: Sequence[Image], look: int, progress: Progress = SILENT
    ) -> list[Verdict]: ...


@runtime_checkable
class Screening(Protocol):
    """A verifier that looks at the best `shortlist` pictures of a call, and only ranks the rest."""

    shortlist: int


@dataclass(frozen=True, slots=True)
class Actors:
    """Who does what in a search; those that its axes never ask may be None.

    `errors` are the verifier's, where they were measured.
    """

    generator: Painter
    verifier: Verifier
    corrector: Painter | None = None
    writer: ReflectionWriter | None = None
    evolver: PromptEvolver | None = None
    inspector: Inspector | None = None
    errors: JudgeErrors | None = None

    def painter_of(self, request: Request) -> Painter:
        """Who paints a request: the corrector if it corrects, otherwise the generator."""
        painter = self.corrector if request.corrects else self.generator
        if painter is None:
            raise ValueError("There is no corrector for a request that corrects.")
        return painter
