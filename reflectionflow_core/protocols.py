"""The interfaces between a search and its actors, with one or two methods each.

An actor answers every item that it is asked, in order, or raises. It calls `progress` at every
diffusion step, generated batch of tokens or request; `progress.check` may raise to cancel, and an
actor must not catch that.
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
        """Shows a line to the user, such as what a writer could not do and what happens instead."""
        ...


class Silent:
    """A Progress that shows nothing and never cancels."""

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        pass

    def check(self) -> None:
        pass

    def say(self, text: str) -> None:
        pass


SILENT: Progress = Silent()


class Painter(Protocol):
    """Paints one picture per request; `steps` is the number of diffusion steps of one picture.

    A generator paints from text and noise, a corrector repaints parents. All requests of one call
    have the same `phase`.
    """

    steps: int

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image]: ...


@dataclass(frozen=True, slots=True)
class Painted:
    """A picture, and the latents that it was decoded from, in its painter's format."""

    image: Image
    latents: bytes | None = None


@runtime_checkable
class LatentKeeping(Protocol):
    """A painter that returns the latents of its pictures, and reads those of a request's parent.

    A correction in a region is then blended into the parent's `latents`, so that repeated
    corrections do not encode and decode the rest of the picture again.
    """

    def paint_with_latents(
        self, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[Painted]: ...


@dataclass(frozen=True, slots=True)
class Preview:
    """A rough version of a picture, painted in a fraction of its steps.

    Unless it has `converged`, the picture may still change completely, and the preview cannot be
    judged.
    """

    image: Image
    converged: bool


PREVIEW_STEPS = 6  # with fewer a preview is a blur


def preview_steps(steps: int) -> int:
    """The number of long steps that show how a picture of that many steps will look."""
    return min(PREVIEW_STEPS, max(1, steps // 2))


@runtime_checkable
class Previewing(Protocol):
    """A painter that can preview what it will paint for a request, from the same noise.

    A preview takes `preview_steps` diffusion steps.
    """

    preview_steps: int

    def preview(
        self, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[Preview]: ...


@runtime_checkable
class OfOneSize(Protocol):
    """A painter whose pictures always have `size` (width, height) in pixels."""

    @property
    def size(self) -> tuple[int, int]: ...


@runtime_checkable
class Restarting(Protocol):
    """A generator that also paints requests whose seed is a Restart.

    `steps_from` is the number of diffusion steps from a noise level (0 to 1).
    """

    def steps_from(self, level: float) -> int: ...


class Verifier(Protocol):
    """Judges pictures by the user's prompt; `calls` is the number of VLM calls for one picture.

    Budgets are planned with `calls`, and charged with it unless the actor is Counting.
    """

    calls: int

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]: ...


class ReflectionWriter(Protocol):
    """Writes for each request one instruction what to change in its parent; `calls` as in Verifier.

    A writer that looks at several pictures finds earlier ones of the chain in the request's
    `context`, each with its own `reflection` and verdict.
    """

    calls: int

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]: ...


class PromptEvolver(Protocol):
    """Rewrites the user's prompt after looking at each request's parent, and at its `context` if it
    can look at several pictures; `calls` as in Verifier."""

    calls: int

    def evolve(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]: ...


class Planner(Protocol):
    """Plans a picture in stages, once, before anything is painted; `calls` is for one plan."""

    calls: int

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan: ...


class Inspector(Protocol):
    """Compares unfinished pictures with the stages of the plan that they have reached.

    It compares the stage with the user's prompt, which takes precedence, and the picture with the
    stage, and separates what is not drawn yet from what is drawn wrong. `calls` as in Verifier.
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
    """A verifier, writer, evolver or inspector that counts its requests.

    `spent` is their number so far; its growth is charged, and `calls` is only an estimate. None
    means that it cannot count, as for a wrapper around an actor that is not Counting.
    """

    @property
    def spent(self) -> int | None: ...


@runtime_checkable
class Selective(Protocol):
    """A verifier that does not apply to every prompt, such as an OCR to a prompt without a text.

    On its own it refuses such a prompt; an ensemble leaves it out.
    """

    def applies_to(self, prompt: str) -> bool: ...


@runtime_checkable
class Remembering(Protocol):
    """A verifier whose verdict on a picture depends on the pictures judged before.

    Before every batch a search calls `remember` with all candidates so far, in the order in which
    they were judged. It replaces what the verifier knew about that prompt, so that verdicts depend
    only on the History.
    """

    def remember(self, prompt: str, candidates: Sequence[Candidate]) -> None: ...


@runtime_checkable
class Rechecking(Protocol):
    """A verifier that can check in a corrected picture only what the picture before it lacked.

    `before` has for each image the verdict on the picture it was made from, or None to judge it as
    `verify` does. What was met before is assumed to be still met, and the explanation says so; but
    everything is checked before a picture passes. So `passed` is as by `verify`, and the other
    fields approximately.
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
    """A verifier that can be asked again about a picture, in other words or about a crop.

    It has `further_looks` ways of asking; `look` is 1 for the first. `aspects` of all its verdicts
    are the probabilities (0 to 1) of every single requirement, by statement, with the same
    statements at every look.
    """

    further_looks: int

    def look_again(
        self, prompt: str, images: Sequence[Image], look: int, progress: Progress = SILENT
    ) -> list[Verdict]: ...


@runtime_checkable
class Screening(Protocol):
    """A verifier that judges only the best `shortlist` pictures of a call, and ranks the rest."""

    shortlist: int


@dataclass(frozen=True, slots=True)
class Actors:
    """The actors of a search; those that its axes do not need may be None.

    `errors` are the verifier's known error rates, if they were measured.
    """

    generator: Painter
    verifier: Verifier
    corrector: Painter | None = None
    writer: ReflectionWriter | None = None
    evolver: PromptEvolver | None = None
    inspector: Inspector | None = None
    errors: JudgeErrors | None = None

    def painter_of(self, request: Request) -> Painter:
        """The painter of a request: the corrector if it corrects, otherwise the generator."""
        painter = self.corrector if request.corrects else self.generator
        if painter is None:
            raise ValueError("There is no corrector for a request that corrects.")
        return painter
