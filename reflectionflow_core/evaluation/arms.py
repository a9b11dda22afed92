"""The arms of a study: the compared search settings, and controls that lack one part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..inspectors.noisy import NoisyInspector
from ..miniature.erring import ErringVerifier, erring_rates
from ..miniature.inspector import ExactInspector
from ..miniature.planner import LayoutThinker
from ..protocols import SILENT, Actors, Progress
from ..record import InputError, Request
from ..registry import PLANNERS, ActorChoice, build
from ..search.strategies import strategy_named
from ..settings import SearchSettings
from ..verifiers.noisy import NoisyVerifier


@dataclass(frozen=True, slots=True)
class Arm:
    """One configuration of a study; results are always measured by the exact verifier.

    * `error`: share of verdicts that the search's verifier and inspector invert.
    * `judge`: the verifier by name (`erring_rates`); with `known` the search knows its error rates.
    * `dice`: arms with equal values start from the same noise.
    * `planner`: the planner of a staged search.
    * `steps`: overrides the diffusion steps per picture.
    """

    name: str
    settings: SearchSettings
    error: float = 0.0
    control: str = "none"
    dice: int = 0
    planner: str = "rules"
    steps: int | None = None
    judge: str = "exact"
    known: bool = False


class MuteWriter:
    """Writes empty reflections, so that the corrector sees the picture only."""

    calls = 0

    def reflect(
        self, prompt: str, requests: Sequence[Request], progress: Progress = SILENT
    ) -> list[str]:
        del prompt, progress
        return [""] * len(requests)


def _mute(actors: Actors) -> Actors:
    return replace(actors, writer=MuteWriter())


def _blind(actors: Actors) -> Actors:
    """Actors whose corrector gets the reflection but not the parent's picture."""
    from ..flux.painter import FluxGenerator
    from ..flux.text import Text, training_text

    class BlindCorrector(FluxGenerator):
        def text(self, request: Request) -> Text:
            return training_text(request.prompt, request.reflection)

    flux = actors.generator
    if not isinstance(flux, FluxGenerator):
        raise InputError("This control needs a FLUX model. Choose another control.")
    return replace(actors, corrector=BlindCorrector(flux.flux, flux.sampling))


def _dense(actors: Actors) -> Actors:
    from ..miniature.evolver import LayoutEvolver

    return replace(actors, evolver=LayoutEvolver())


def _longer(actors: Actors, steps: int) -> Actors:
    """Painters with this number of steps per picture."""
    from ..flux.painter import FluxCorrector, FluxGenerator

    generator, corrector = actors.generator, actors.corrector
    if not isinstance(generator, FluxGenerator) or not isinstance(corrector, FluxCorrector):
        raise InputError(
            "This study needs a FLUX model, whose steps can be set. Choose another study."
        )
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
    """The arm's settings, with the plan or thought written before the search of this prompt."""
    if strategy_named(arm.settings.strategy).in_stages:
        planner = build(PLANNERS, "planner", arm.planner, ActorChoice())
        return replace(arm.settings, stages=planner.plan(prompt).stages)
    if arm.settings.strategy == "interleaved":
        return replace(arm.settings, draft_prompt=LayoutThinker().expand(prompt))
    return arm.settings


def actors_of(arm: Arm, actors: Actors, seed: int) -> Actors:
    """The actors of an arm: `actors` changed by its errors, steps and control."""
    actors = replace(actors, inspector=ExactInspector())
    if arm.steps is not None:
        actors = _longer(actors, arm.steps)
    if arm.error:
        actors = replace(
            actors,
            verifier=NoisyVerifier(actors.verifier, arm.error, seed),
            inspector=NoisyInspector(ExactInspector(), arm.error, seed),
        )
    if arm.judge != "exact":
        rates = erring_rates(arm.judge)
        actors = replace(actors, verifier=ErringVerifier(rates, seed))
        actors = replace(actors, errors=rates.known() if arm.known else None)
    return CONTROLS[arm.control](actors)
