"""The seams of a search: one verb each, all in batches.

An actor answers every item it was asked, in the order of the questions, or raises. Actors report
to `progress` at every diffusion step, generated token batch or request; its `check` may raise to
cancel, and an actor lets that exception through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from .record import Candidate, Inspection, Restart, ScenePlan, Seed, Stage, Verdict


class Progress(Protocol):
    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        """`done` of `total` steps of `phase` are finished; `preview` is a rough picture so far."""
        ...

    def check(self) -> None:
        """Raises if the user cancelled."""
        ...


class Silent:
    """Progress that nobody watches and nobody cancels."""

    def report(self, phase: str, done: int, total: int, preview: Image | None = None) -> None:
        pass

    def check(self) -> None:
        pass


SILENT: Progress = Silent()


class Generator(Protocol):
    """Paints pictures from prompts; `steps` is the number of diffusion steps of one picture."""

    steps: int

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Image]: ...


class Corrector(Protocol):
    """Repaints pictures as their reflections ask; `steps` as of a Generator."""

    steps: int

    def correct(
        self,
        images: Sequence[Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Image]: ...


@dataclass(frozen=True, slots=True)
class Foresight:
    """How a picture will look, foreseen in a fraction of its steps; only a `clear` one can be
    judged, any other may still become something else."""

    image: Image
    clear: bool


@runtime_checkable
class Foreseeing(Protocol):
    """A generator that can tell roughly what it will paint, from the same words and the same noise.

    A foresight takes `foresight_steps` diffusion steps.
    """

    foresight_steps: int

    def foresee(
        self, prompts: Sequence[str], seeds: Sequence[Seed], progress: Progress = SILENT
    ) -> list[Foresight]: ...


@runtime_checkable
class ForeseeingCorrector(Protocol):
    """The same of a corrector."""

    foresight_steps: int

    def foresee(
        self,
        images: Sequence[Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        progress: Progress = SILENT,
    ) -> list[Foresight]: ...


@runtime_checkable
class Repainter(Protocol):
    """A generator that can take a finished picture back to a level of noise and go on from there.

    `steps_from` is the number of diffusion steps that this takes from a level (0 to 1).
    """

    def repaint(
        self,
        images: Sequence[Image],
        prompts: Sequence[str],
        seeds: Sequence[Restart],
        progress: Progress = SILENT,
    ) -> list[Image]: ...

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
    """Says, in one imperative text a candidate, what should change; `calls` as of a Verifier."""

    calls: int

    def reflect(
        self, prompt: str, candidates: Sequence[Candidate], progress: Progress = SILENT
    ) -> list[str]: ...


class PromptEvolver(Protocol):
    """Rewrites the user's prompt in view of each candidate; `calls` as of a Verifier."""

    calls: int

    def evolve(
        self, prompt: str, candidates: Sequence[Candidate], progress: Progress = SILENT
    ) -> list[str]: ...


class Planner(Protocol):
    """Plans a picture in stages, once and before anything is painted; `calls` of one plan."""

    calls: int

    def plan(self, prompt: str, progress: Progress = SILENT) -> ScenePlan: ...


class Inspector(Protocol):
    """Looks at unfinished pictures, each by the stage of the plan that it has reached.

    It checks the stage against the user's prompt, which is right where they differ, and the picture
    against the stage, and tells what is not drawn yet from what is drawn wrong. `calls` as of a
    Verifier.
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
class InContextWriter(Protocol):
    """A writer that also looks at earlier pictures of each candidate's chain, the latest last.

    Each of them tells by itself what was asked for it (`reflection`) and what came of that.
    """

    def reflect_in_context(
        self,
        prompt: str,
        candidates: Sequence[Candidate],
        contexts: Sequence[Sequence[Candidate]],
        progress: Progress = SILENT,
    ) -> list[str]: ...


@runtime_checkable
class InContextEvolver(Protocol):
    """An evolver that also looks at earlier pictures, as an InContextWriter does."""

    def evolve_in_context(
        self,
        prompt: str,
        candidates: Sequence[Candidate],
        contexts: Sequence[Sequence[Candidate]],
        progress: Progress = SILENT,
    ) -> list[str]: ...


@runtime_checkable
class InContextCorrector(Protocol):
    """A corrector that takes several references: the picture to repaint, and earlier ones."""

    def correct_in_context(
        self,
        images: Sequence[Image],
        prompts: Sequence[str],
        reflections: Sequence[str],
        seeds: Sequence[Seed],
        contexts: Sequence[Sequence[Candidate]],
        progress: Progress = SILENT,
    ) -> list[Image]: ...


@runtime_checkable
class Counting(Protocol):
    """A verifier, writer, evolver or inspector that knows what it really asked.

    `spent` is the number of requests so far; its growth is charged and `calls` is an estimate. None
    means that it does not know after all, as a wrapper around an actor that is not Counting.
    """

    @property
    def spent(self) -> int | None: ...


@runtime_checkable
class Remembering(Protocol):
    """A verifier whose verdict on a picture depends on the pictures that it judged before.

    A search calls `remember` at every round with all candidates so far, in the order in which they
    were judged. From then on the verifier knows these of that prompt and no others, so that a
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


@dataclass(frozen=True, slots=True)
class Actors:
    """Who does what in a search; those that its axes never ask may be None."""

    generator: Generator
    verifier: Verifier
    corrector: Corrector | None = None
    writer: ReflectionWriter | None = None
    evolver: PromptEvolver | None = None
    inspector: Inspector | None = None
