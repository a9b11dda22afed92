"""Names for what can be chosen: plain dicts of functions that build an actor.

To add one, write a class that obeys its Protocol and a row here, or put the row in from outside:
`VERIFIERS["mine"] = lambda choice, vlm: MyVerifier()`. Who asks a vision-language model
stands in NEED_VLM as well, and gets one. Models are imported where they are built, so that asking
for help loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .protocols import (
    Actors,
    Corrector,
    Generator,
    PromptEvolver,
    ReflectionWriter,
    Verifier,
)
from .record import InputError, SearchSettings
from .search.strategies import axes_in_force, strategy_named
from .staging import INSPECTORS, PLANNERS, THINKERS
from .verifiers.spec import VerifierSpec, parse_verifiers
from .vlm.named import HUB_ID, build_vlm

if TYPE_CHECKING:
    from .vlm.interface import Vlm

MINIATURE_WEIGHTS = Path(__file__).parent / "miniature" / "weights"

Painters = tuple[Generator, Corrector | None]
Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class ActorChoice:
    """Who shall act; None leaves it to the model. `verifier_error` is for a verifier that errs.

    `vlm` is the vision-language model that all actors that need one share.
    """

    model: str = "miniature"
    transformer: str | None = None  # a file, in place of the one in a FLUX folder
    lora: str | None = None
    size: tuple[int, int] | None = None  # width, height in pixels
    steps: int | None = None
    guidance: float | None = None
    dtype: str | None = None
    device: str | None = None
    plan: str | None = None
    condition_size: int | None = None  # pixels of the picture that the corrector looks at
    condition_fit: str | None = None
    verifier: str = "exact"  # several are joined with +; reward and clip-score as NAME:FOLDER
    verifier_error: float | None = None
    writer: str = "template"
    evolver: str = "rules"
    planner: str | None = None  # of a search in stages; "rules" and "exact" if nobody says
    inspector: str | None = None
    thinker: str | None = None  # before the first picture; "vlm" or "layout" as there is a model
    vlm: str | None = None  # "endpoint:PROFILE", the folder of a model, or its hub id
    max_words: int | None = None  # of a reflection
    gate: str | None = None  # a verifier that says what passed, while the other one ranks
    reward_base: str | None = None  # the model that the reward was trained from
    reward_template: str | None = None  # the words around its prompt
    vlm_dtype: str | None = None  # of a model on this machine


def miniature(choice: ActorChoice, corrects: bool) -> Painters:
    from .miniature.model import load_miniature

    for name in ("transformer", "size", "dtype", "plan", "condition_size", "condition_fit"):
        if getattr(choice, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"The miniature does not take {option}. Leave it away, or choose a FLUX folder."
            )
    given = _given(choice, "lora", "steps", "guidance", "device")
    generator, corrector = load_miniature(**given)
    return generator, corrector if corrects else None


def flux(choice: ActorChoice, corrects: bool) -> Painters:
    """FLUX of any size on diffusers, with the corrector LoRA where pictures are corrected."""
    if corrects and not choice.lora:
        raise InputError(
            f"The reflection strategy corrects pictures, and {choice.model} comes without a "
            "corrector. Give its LoRA with --lora FILE, or choose --strategy noise."
        )
    from .flux.condition import ConditionSettings
    from .flux.load import load_flux
    from .flux.lora import load_corrector_lora
    from .flux.painter import FluxCorrector, FluxGenerator
    from .flux.sampling import SamplingSettings

    loaded = load_flux(choice.model, **_given(choice, "transformer", "dtype", "device", "plan"))
    size = dict(zip(("width", "height"), choice.size, strict=True)) if choice.size else {}
    sampling = SamplingSettings(**size, **_given(choice, "steps", "guidance"))
    generator = FluxGenerator(loaded, sampling)
    if not corrects or choice.lora is None:
        return generator, None
    lora = load_corrector_lora(choice.lora, loaded.transformer)
    seen = {"size": choice.condition_size, "fit": choice.condition_fit}
    condition = ConditionSettings(**{k: v for k, v in seen.items() if v is not None})
    return generator, FluxCorrector(loaded, lora, sampling, condition)


def exact(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del choice, vlm
    from .miniature.verifier import ExactVerifier

    return ExactVerifier()


def noisy(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del vlm
    from .miniature.verifier import ExactVerifier
    from .verifiers.noisy import NoisyVerifier

    error = 0.1 if choice.verifier_error is None else choice.verifier_error
    return NoisyVerifier(ExactVerifier(), error, seed=0)


def checklist(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del choice
    from .verifiers.checklist import ChecklistVerifier

    return ChecklistVerifier(_given_vlm(vlm, "verifier checklist"))


def rubric(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del choice
    from .verifiers.rubric import RubricVerifier

    return RubricVerifier(_given_vlm(vlm, "verifier rubric"))


def yes_no(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del choice
    from .verifiers.yes_no import YesNoVerifier

    return YesNoVerifier(_given_vlm(vlm, "verifier yes-no"))


def tournament(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del choice
    from .verifiers.tournament import TournamentVerifier

    return TournamentVerifier(_given_vlm(vlm, "verifier tournament"))


def reward(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del vlm
    from .verifiers.reward import load_reward

    source = _source(choice, "the Image-Verifier")
    if choice.reward_base is None:
        raise InputError(
            "The reward needs the model that it was trained from. Give its folder or hub id with "
            "--reward-base, Qwen2.5-VL-3B-Instruct for the published one."
        )
    given = _given(choice, "device")
    return load_reward(source, choice.reward_base, choice.reward_template, **given)


def clip_score(choice: ActorChoice, vlm: Vlm | None = None) -> Verifier:
    del vlm
    from .verifiers.clip_score import load_clip_score

    return load_clip_score(_source(choice, "a CLIP"), **_given(choice, "device"))


def template(choice: ActorChoice, vlm: Vlm | None = None) -> ReflectionWriter:
    del vlm
    from .writers.template import TemplateWriter

    return TemplateWriter(**_given(choice, "max_words"))


def vlm_writer(choice: ActorChoice, vlm: Vlm | None = None) -> ReflectionWriter:
    from .writers.vlm import VlmWriter

    return VlmWriter(_given_vlm(vlm, "writer vlm"), **_given(choice, "max_words"))


def two_lists(choice: ActorChoice, vlm: Vlm | None = None) -> ReflectionWriter:
    from .writers.two_lists import TwoListsWriter

    return TwoListsWriter(_given_vlm(vlm, "writer two-lists"), **_given(choice, "max_words"))


def reflection_generator(choice: ActorChoice, vlm: Vlm | None = None) -> ReflectionWriter:
    from .writers.reflection_generator import ReflectionGeneratorWriter

    asked = _given_vlm(vlm, "writer reflection-generator")
    return ReflectionGeneratorWriter(asked, **_given(choice, "max_words"))


def rules(choice: ActorChoice, vlm: Vlm | None = None) -> PromptEvolver:
    del choice, vlm
    from .miniature.evolver import RuleEvolver

    return RuleEvolver()


def layout(choice: ActorChoice, vlm: Vlm | None = None) -> PromptEvolver:
    del choice, vlm
    from .miniature.evolver import LayoutEvolver

    return LayoutEvolver()


def vlm_evolver(choice: ActorChoice, vlm: Vlm | None = None) -> PromptEvolver:
    del choice
    from .evolvers.vlm import VlmEvolver

    return VlmEvolver(_given_vlm(vlm, "evolver vlm"))


def _source(choice: ActorChoice, what: str) -> str:
    (part,) = parse_verifiers(choice.verifier, VERIFIERS)
    if not part.source:
        raise InputError(
            f"The verifier {part.name} needs {what}. Give its folder or hub id after a colon: "
            f"{part.name}:FOLDER."
        )
    return part.source


def _given_vlm(vlm: Vlm | None, who: str) -> Vlm:
    if vlm is None:
        raise InputError(
            f"The {who} asks a vision-language model, and there is none. Give it one, or choose "
            "another name."
        )
    return vlm


MODELS: dict[str, Callable[[ActorChoice, bool], Painters]] = {"miniature": miniature}
VERIFIERS: dict[str, Callable[[ActorChoice, Vlm | None], Verifier]] = {
    "exact": exact,
    "noisy": noisy,
    "checklist": checklist,
    "rubric": rubric,
    "yes-no": yes_no,
    "tournament": tournament,
    "reward": reward,
    "clip-score": clip_score,
}
WRITERS: dict[str, Callable[[ActorChoice, Vlm | None], ReflectionWriter]] = {
    "template": template,
    "vlm": vlm_writer,
    "reflection-generator": reflection_generator,
    "two-lists": two_lists,
}
EVOLVERS: dict[str, Callable[[ActorChoice, Vlm | None], PromptEvolver]] = {
    "rules": rules,
    "layout": layout,
    "vlm": vlm_evolver,
}

# Those that cannot be built without a vision-language model.
NEED_VLM = [
    *("checklist", "rubric", "yes-no", "tournament"),
    *("vlm", "vlm-strict", "two-lists", "reflection-generator"),
]

# Those that are given as NAME:FOLDER.
NEED_SOURCE = ["reward", "clip-score"]

# By how much the scores of clearly different pictures differ, for verifiers that are joined: a
# requirement of four, two marks of ten, odds of seven to one, a rung, odds of e to one.
SPREADS = {"exact": 0.25, "noisy": 0.25, "checklist": 0.25, "rubric": 2.0, "yes-no": 2.0}


def build_actors(choice: ActorChoice, settings: SearchSettings) -> Actors:
    """The actors of a choice, as many as the search will ask; a model may be a folder as well."""
    axes = axes_in_force(settings) if settings.depth else ()
    corrects, evolves = "reflection" in axes, "prompt" in axes
    write = named(WRITERS, "writer", choice.writer)
    evolve = named(EVOLVERS, "evolver", choice.evolver)
    inspector = choice.inspector or "exact"
    inspect = named(INSPECTORS, "inspector", inspector)
    named(PLANNERS, "planner", choice.planner or "rules")  # these two act before the search
    named(THINKERS, "thinker", choice.thinker or "layout")
    in_stages = strategy_named(settings.strategy).in_stages
    paint = painters_of(choice)
    check_lora(choice)
    generator, corrector = paint(choice, corrects)
    return Actors(
        generator=generator,
        verifier=build_verifier(choice),
        corrector=corrector,
        writer=write(choice, vlm_for(choice, "writer", choice.writer)) if corrects else None,
        evolver=evolve(choice, vlm_for(choice, "evolver", choice.evolver)) if evolves else None,
        inspector=inspect(choice, vlm_for(choice, "inspector", inspector)) if in_stages else None,
    )


def build_verifier(choice: ActorChoice) -> Verifier:
    """The verifier of a choice; several that are joined, and one with a gate, as an ensemble."""
    parts, gates = parse_verifiers(choice.verifier, VERIFIERS), _gate_of(choice)
    if choice.verifier_error and {part.name for part in (*parts, *gates)} == {"exact"}:
        raise InputError(
            "The exact verifier makes no errors. "
            "Choose --verifier noisy with --verifier-error, or leave the error away."
        )
    built = {part.text: _one_verifier(choice, part) for part in parts}
    if len(parts) == 1 and not gates:
        return built[parts[0].text]
    from .verifiers.ensemble import EnsembleMember, EnsembleVerifier

    members = [
        EnsembleMember(part.text, built[part.text], SPREADS.get(part.name, 1.0), part.weight)
        for part in parts
    ]
    gate = built.get(gates[0].text) or _one_verifier(choice, gates[0]) if gates else None
    return EnsembleVerifier(members, gate)


def _gate_of(choice: ActorChoice) -> list[VerifierSpec]:
    """The verifier that is the gate, or nothing; raises InputError for several."""
    gates = parse_verifiers(choice.gate, VERIFIERS) if choice.gate is not None else []
    if len(gates) > 1:
        raise InputError(f"The gate {choice.gate} is several verifiers. Give one.")
    return gates


def _one_verifier(choice: ActorChoice, part: VerifierSpec) -> Verifier:
    vlm = vlm_for(choice, "verifier", part.name)
    return VERIFIERS[part.name](replace(choice, verifier=part.text), vlm)


def vlm_for(choice: ActorChoice, seat: str, name: str) -> Vlm | None:
    """The model of `choice.vlm` for whoever takes a seat, if that one asks any."""
    if name not in NEED_VLM:
        return None
    if choice.vlm is None:
        raise InputError(
            f"The {seat} {name!r} asks a vision-language model, and there is none. "
            "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
        )
    return build_vlm(choice.vlm, choice.device, choice.vlm_dtype)


def painters_of(choice: ActorChoice) -> Callable[[ActorChoice, bool], Painters]:
    if choice.model in MODELS:
        return MODELS[choice.model]
    if not Path(choice.model).exists() and not HUB_ID.fullmatch(choice.model):
        raise InputError(
            f"There is no model named {choice.model!r}, nor a folder of that name. "
            f"Choose one of: {', '.join(MODELS)}; or give a FLUX folder or a hub id."
        )
    return flux


def check_lora(choice: ActorChoice) -> None:
    if choice.lora and not Path(choice.lora).exists():
        raise InputError(f"There is no LoRA {choice.lora}. Check the path after --lora.")


def named(builders: Mapping[str, Built], kind: str, name: str) -> Built:
    if name not in builders:
        raise InputError(
            f"There is no {kind} named {name!r}. Choose one of: {', '.join(builders)}."
        )
    return builders[name]


def _given(choice: ActorChoice, *names: str) -> dict[str, Any]:
    """The fields that were chosen, so that the model's own defaults hold for the others."""
    return {name: getattr(choice, name) for name in names if getattr(choice, name) is not None}
