"""One way of searching that is compared with others, and the controls that take a part away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..inspectors.noisy import NoisyInspector
from ..miniature.inspector import ExactInspector
from ..miniature.planner import LayoutThinker
from ..protocols import SILENT, Actors, Progress
from ..record import InputError, Request, SearchSettings
from ..registry import PLANNERS, ActorChoice, build
from ..search.strategies import strategy_named
from ..verifiers.noisy import NoisyVerifier


@dataclass(frozen=True, slots=True)
class Arm:
    """`error` is the share of verdicts that the search's verifier turns around, and its inspector;
    the truth that it is measured by is always the exact verifier's. Arms of equal `dice` begin with
    equal noise. `planner` is that of a search in stages, `steps` a picture's own number of them."""

    name: str
    settings: SearchSettings
    error: float = 0.0
    control: str = "none"
    dice: int = 0
    planner: str = "rules"
    steps: int | None = None


class MuteWriter:
    """Says nothing: the corrector sees the picture and must guess what is wrong with it."""

    calls = 0

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        del prompt, progress
        return [""] * len(requests)


def _mute(actors: Actors) -> Actors:
    return replace(actors, writer=MuteWriter())


def _blind(actors: Actors) -> Actors:
    """A corrector that paints from the reflection's words without its picture."""
    from ..flux.painter import FluxGenerator
    from ..flux.text import Text, training_text

    class BlindCorrector(FluxGenerator):
        def text(self, request: Request) -> Text:
            return training_text(request.prompt, request.reflection)

    flux = actors.generator
    if not isinstance(flux, FluxGenerator):
        raise InputError("Only a FLUX can paint blindly. Choose another control.")
    return replace(actors, corrector=BlindCorrector(flux.flux, flux.sampling))


def _dense(actors: Actors) -> Actors:
    from ..miniature.evolver import LayoutEvolver

    return replace(actors, evolver=LayoutEvolver())


def _longer(actors: Actors, steps: int) -> Actors:
    """Painters that take so many steps for a picture."""
    from ..flux.painter import FluxCorrector, FluxGenerator

    generator, corrector = actors.generator, actors.corrector
    if not isinstance(generator, FluxGenerator) or not isinstance(corrector, FluxCorrector):
        raise InputError("Only a FLUX can be told how many steps to take. Choose another study.")
    sampling = replace(generator.sampling, steps=steps)
    return replace(
        actors,
        generator=FluxGenerator(generator.flux, sampling),
        corrector=FluxCorrector(
            corrector.flux, corrector.corrector_lora, sampling, corrector.condition
        ),
    )


CONTROLS: dict[str, Callable[[Actors], Actors]] = {
    "none": lambda actors: actors,
    "picture without reflection": _mute,
    "reflection without picture": _blind,
    "dense prompt rewrite": _dense,
}


def prepared(arm: Arm, prompt: str) -> SearchSettings:
    """The arm's settings, with what is written for a prompt before its search."""
    if strategy_named(arm.settings.strategy).in_stages:
        planner = build(PLANNERS, "planner", arm.planner, ActorChoice())
        return replace(arm.settings, stages=planner.plan(prompt).stages)
    if arm.settings.strategy == "interleaved":
        return replace(arm.settings, draft_prompt=LayoutThinker().expand(prompt))
    return arm.settings


def actors_of(arm: Arm, actors: Actors, seed: int) -> Actors:
    """Who acts in an arm: `actors`, with their errors and without what it takes away."""
    actors = replace(actors, inspector=ExactInspector())
    if arm.steps is not None:
        actors = _longer(actors, arm.steps)
    if arm.error:
        actors = replace(
            actors,
            verifier=NoisyVerifier(actors.verifier, arm.error, seed),
            inspector=NoisyInspector(ExactInspector(), arm.error, seed),
        )
    return CONTROLS[arm.control](actors)
