"""What can be chosen by name: one row per name, with a function that builds the actor.

To add one, write a class that implements its Protocol and a row here. A plugin adds the same row:
`VERIFIERS["mine"] = Row(lambda choice, vlm: MyVerifier())`. Actors are imported when they are
built, so that help is shown without loading a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .choice import LATER, PAINTING, RECORDED, ActorChoice, check_editing, check_judges
from .flux.settings import ConditionSettings, SamplingSettings, changed_sampling
from .miniature.settings import CONDITION, SAMPLING
from .painters import NO_GUIDANCE, NOT_FLUX, ModelRow, flux, miniature, pipeline
from .plugins import load_plugins
from .protocols import (
    SILENT,
    Actors,
    Inspector,
    Planner,
    Progress,
    PromptEvolver,
    ReflectionWriter,
    Verifier,
)
from .record import InputError
from .search.policies import POLICIES
from .search.strategies import STRATEGIES, axes_in_force, strategy_named
from .settings import SearchSettings
from .verifiers.spec import VerifierSpec, parse_verifiers, shares_needs
from .vlm.named import HUB_ID, build_vlm

if TYPE_CHECKING:
    from .verifiers.ensemble import EnsembleMember
    from .vlm.interface import Vlm

MINIATURE_WEIGHTS = Path(__file__).parent / "miniature" / "weights"

Built = TypeVar("Built")


class Thinker(Protocol):
    """Expands a prompt before the first picture; the result is `SearchSettings.draft_prompt`.

    `calls` is the number of VLM calls for one prompt.
    """

    calls: int

    def expand(self, prompt: str, progress: Progress = SILENT) -> str: ...


def choice_of(record: Mapping[str, Any]) -> ActorChoice:
    """The choice in a record; raises TypeError for an unknown name."""
    sampling, condition = painting_settings(record)
    others = {name: value for name, value in record.items() if name not in PAINTING}
    return ActorChoice(**others, sampling=sampling, condition=condition)


def painting_settings(record: Mapping[str, Any]) -> tuple[SamplingSettings, ConditionSettings]:
    """How a recorded model paints: its defaults, changed by the record.

    Raises InputError for an option that has no effect on the model.
    """
    name = record.get("model", RECORDED["model"])
    row = model_named(name)
    for option, why in row.refused.items():
        if record.get(option) not in (None, LATER.get(option)):
            flag = f"--{option.replace('_', '-')}"
            raise InputError(f"{flag} has no effect with {name}: {why}. Leave it out.")
    return changed_sampling(row.sampling, row.condition, record)


@dataclass(frozen=True, slots=True)
class Row(Generic[Built]):
    """What builds an actor, and what it needs.

    * `build` gets a vision-language model if the actor `asks_vlm`, or `may_ask_vlm` and one is
      given; else None.
    * `source`: what the folder of a verifier chosen as NAME:FOLDER holds.
    * `spread`: by how much scores of clearly different pictures differ; it scales the members of an
      ensemble.
    * `lowest`, `highest`: bounds of its scores, None without one. A screen needs a `lowest` to rank
      the pictures that it leaves out.
    * `tells_passed`: False for a verifier that only ranks.
    """

    build: Callable[[ActorChoice, Any], Built]
    asks_vlm: bool = False
    source: str = ""
    spread: float = 1.0
    may_ask_vlm: bool = False
    lowest: float | None = None
    highest: float | None = None
    tells_passed: bool = True


def lazily(path: str, *takes: str, **fixed: Any) -> Callable[[ActorChoice, Vlm | None], Any]:
    """A `build` for the class at "module:Class", which is imported only when it is built.

    The class gets the vision-language model if there is one, and the fields of the choice named in
    `takes`.
    """

    def build(choice: ActorChoice, vlm: Vlm | None) -> Any:
        module, name = path.split(":")
        actor = getattr(import_module(f".{module}", __package__), name)
        return actor(*([] if vlm is None else [vlm]), **choice.given(*takes), **fixed)

    return build


def noisy(choice: ActorChoice, vlm: None) -> Verifier:
    del vlm
    from .miniature.verifier import ExactVerifier
    from .verifiers.noisy import NoisyVerifier

    error = 0.1 if choice.verifier_error is None else choice.verifier_error
    return NoisyVerifier(ExactVerifier(), error, seed=0)


def reward(choice: ActorChoice, vlm: None) -> Verifier:
    del vlm
    from .verifiers.reward import load_reward

    source = source_of(choice)
    if choice.reward_base is None:
        raise InputError(
            "The reward needs the model that it was trained from. Give its folder or hub id with "
            "--reward-base, Qwen2.5-VL-3B-Instruct for the published one."
        )
    return load_reward(source, choice.reward_base, choice.reward_template, **choice.given("device"))


def clip_score(choice: ActorChoice, vlm: None) -> Verifier:
    del vlm
    from .verifiers.clip_score import load_clip_score

    return load_clip_score(source_of(choice), **choice.given("device"))


def objects(choice: ActorChoice, vlm: Vlm | None) -> Verifier:
    from .detection.load import load_objects

    (part,) = parse_verifiers(choice.verifier, VERIFIERS)
    detector = part.source or choice.detector
    return load_objects(detector, choice.colour_judge, choice.device, vlm)


def source_of(choice: ActorChoice) -> str:
    """The folder or hub id of the only verifier's model; raises InputError where it has none."""
    (part,) = parse_verifiers(choice.verifier, VERIFIERS)
    if not part.source:
        raise InputError(
            f"The verifier {part.name} needs {VERIFIERS[part.name].source}. Give its folder or hub "
            f"id after a colon: {part.name}:FOLDER."
        )
    return part.source


MODELS: dict[str, ModelRow] = {"miniature": ModelRow(miniature, SAMPLING, CONDITION)}
# Spreads: one requirement of four, two marks of ten, odds of seven to one. The 1.0 of the others is
# a rung of a tournament, or odds of e to one.
VERIFIERS: dict[str, Row[Verifier]] = {
    "exact": Row(lazily("miniature.verifier:ExactVerifier"), spread=0.25, lowest=0.0, highest=1.0),
    "noisy": Row(noisy, spread=0.25, lowest=0.0, highest=1.0),
    "checklist": Row(
        lazily("verifiers.checklist:ChecklistVerifier", "ground"),
        asks_vlm=True,
        spread=0.25,
        lowest=0.0,
        highest=1.0,
    ),
    "rubric": Row(
        lazily("verifiers.rubric:RubricVerifier"),
        asks_vlm=True,
        spread=2.0,
        lowest=0.0,
        highest=10.0,
        tells_passed=False,
    ),
    "yes-no": Row(
        lazily("verifiers.yes_no:YesNoVerifier"), asks_vlm=True, spread=2.0, lowest=-21.0
    ),
    "tournament": Row(
        lazily("verifiers.tournament:TournamentVerifier"),
        asks_vlm=True,
        lowest=-1.0,
        tells_passed=False,
    ),
    "objects": Row(objects, spread=0.25, may_ask_vlm=True, lowest=0.0, highest=1.0),
    "text": Row(
        lazily("verifiers.text.verifier:TextVerifier"), spread=0.25, lowest=0.0, highest=1.0
    ),
    "yes-no-nvila": Row(
        lazily("verifiers.yes_no:NvilaVerifier"),
        asks_vlm=True,
        spread=2.0,
        lowest=-199.0,
    ),
    "reward": Row(reward, source="the Image-Verifier", tells_passed=False),
    "clip-score": Row(clip_score, source="a CLIP", tells_passed=False),
}
WRITERS: dict[str, Row[ReflectionWriter]] = {
    "template": Row(lazily("writers.template:TemplateWriter", "max_words")),
    "vlm": Row(lazily("writers.vlm:VlmWriter", "max_words"), asks_vlm=True),
    "reflection-generator": Row(
        lazily("writers.reflection_generator:ReflectionGeneratorWriter", "max_words"),
        asks_vlm=True,
    ),
    "two-lists": Row(lazily("writers.two_lists:TwoListsWriter", "max_words"), asks_vlm=True),
}
EVOLVERS: dict[str, Row[PromptEvolver]] = {
    "rules": Row(lazily("miniature.evolver:RuleEvolver")),
    "layout": Row(lazily("miniature.evolver:LayoutEvolver")),
    "vlm": Row(lazily("evolvers.vlm:VlmEvolver"), asks_vlm=True),
}
THINKERS: dict[str, Row[Thinker]] = {
    "vlm": Row(lazily("evolvers.think_first:PromptExpander"), asks_vlm=True),
    "layout": Row(lazily("miniature.planner:LayoutThinker")),
}
PLANNERS: dict[str, Row[Planner]] = {
    "rules": Row(lazily("miniature.planner:RulePlanner")),
    "rules-strict": Row(lazily("miniature.planner:RulePlanner", whole_first=False)),
    "vlm": Row(lazily("planners.vlm:VlmPlanner"), asks_vlm=True),
    "vlm-strict": Row(lazily("planners.vlm:VlmPlanner", whole_first=False), asks_vlm=True),
}
INSPECTORS: dict[str, Row[Inspector]] = {
    "exact": Row(lazily("miniature.inspector:ExactInspector")),
    "vlm": Row(lazily("inspectors.vlm:VlmInspector"), asks_vlm=True),
}


def build_actors(choice: ActorChoice, settings: SearchSettings) -> Actors:
    """The actors that a search with these settings needs.

    Loads plugins. Raises InputError for an unknown name, also of an actor that is not needed, and
    for options that contradict each other.
    """
    load_plugins(choice.plugins)
    axes = axes_in_force(settings) if settings.depth else ()
    corrects, evolves = "reflection" in axes, "prompt" in axes
    inspector = choice.inspector or "exact"
    for rows, kind, name in (  # a wrong name is an error even if the actor is not needed
        (WRITERS, "writer", choice.writer),
        (EVOLVERS, "evolver", choice.evolver),
        (INSPECTORS, "inspector", inspector),
        (PLANNERS, "planner", choice.planner or "rules"),
        (THINKERS, "thinker", choice.thinker or "layout"),
    ):
        named(rows, kind, name)
    in_stages = strategy_named(settings.strategy).in_stages
    model = model_named(choice.model)
    check_lora(choice)
    check_editing(choice)
    generator, corrector = model.build(choice, corrects)
    return Actors(
        generator=generator,
        verifier=build_verifier(choice),
        corrector=corrector,
        writer=build(WRITERS, "writer", choice.writer, choice) if corrects else None,
        evolver=build(EVOLVERS, "evolver", choice.evolver, choice) if evolves else None,
        inspector=build(INSPECTORS, "inspector", inspector, choice) if in_stages else None,
    )


def build_verifier(choice: ActorChoice) -> Verifier:
    """The verifier of a choice, behind the screen if there is one.

    Several that are joined form an ensemble, or share a prompt's requirements; one with a gate is
    an ensemble, too.
    """
    parts, gates = parse_verifiers(choice.verifier, VERIFIERS), _one_of(choice, "gate")
    screens = _one_of(choice, "screen")
    check_judges(choice, {part.name for part in (*parts, *gates, *screens)})
    built = {part.text: _build_part(choice, part) for part in parts}
    judges = {part.text: built.get(part.text) or _build_part(choice, part) for part in gates}
    gate = by_need(judges) if len(judges) > 1 else next(iter(judges.values()), None)
    if gate is None and len(parts) == 1:
        verifier, lowest = built[parts[0].text], VERIFIERS[parts[0].name].lowest
    elif gate is None and shares_needs(parts):
        verifier, lowest = by_need(built), 0.0
    else:
        from .verifiers.ensemble import EnsembleVerifier

        members = [_member(part, built[part.text]) for part in parts]
        verifier, lowest = EnsembleVerifier(members, gate), 0.0
    if not screens:
        return verifier
    from .verifiers.screened import behind_screen

    screen = _member(screens[0], _build_part(choice, screens[0]))
    return behind_screen(screen, verifier, lowest, choice.shortlist, choice.verifier)


def by_need(built: Mapping[str, Any]) -> Verifier:
    """The verifier that shares requirements among those of BY_NEED, given by their specs."""
    from .detection.routed import RoutedVerifier

    return RoutedVerifier(**{text.partition(":")[0]: judge for text, judge in built.items()})


def _member(part: VerifierSpec, verifier: Verifier) -> EnsembleMember:
    from .verifiers.ensemble import EnsembleMember

    return EnsembleMember(part.text, verifier, VERIFIERS[part.name].spread, part.weight)


def _one_of(choice: ActorChoice, role: str) -> list[VerifierSpec]:
    """The verifier of a role, "gate" or "screen", if any; raises InputError for several.

    A gate may be several that share a prompt's requirements.
    """
    spec = getattr(choice, role)
    parts = parse_verifiers(spec, VERIFIERS) if spec is not None else []
    if len(parts) > 1 and not (role == "gate" and shares_needs(parts)):
        raise InputError(f"The {role} {spec} is several verifiers. Give one.")
    return parts


def _build_part(choice: ActorChoice, part: VerifierSpec) -> Verifier:
    return build(VERIFIERS, "verifier", part.name, replace(choice, verifier=part.text))


def build(rows: Mapping[str, Row[Built]], kind: str, name: str, choice: ActorChoice) -> Built:
    """The actor of a name, with the model of `choice.vlm` if it asks one.

    Raises InputError if it asks one and there is none.
    """
    row = named(rows, kind, name)
    if not row.asks_vlm and not (row.may_ask_vlm and choice.vlm):
        return row.build(choice, None)
    if choice.vlm is None:
        raise InputError(
            f"The {kind} {name!r} asks a vision-language model. "
            "Give one with --vlm endpoint:PROFILE or --vlm FOLDER."
        )
    return row.build(choice, build_vlm(choice.vlm, choice.device, choice.vlm_dtype))


def model_named(name: str) -> ModelRow:
    """The row of a model by name, diffusers folder or hub id; raises InputError for any other."""
    if name in MODELS:
        return MODELS[name]
    if not Path(name).exists() and not HUB_ID.fullmatch(name):
        raise InputError(
            f"There is no model named {name!r}, nor a folder of that name. "
            f"Choose one of: {', '.join(MODELS)}; or give a diffusers folder or a hub id."
        )
    from .pipelines import kinds
    from .pipelines.defaults import defaults_of, flux_sampling, schnell

    index = kinds.index_of(name)
    if index is None or kinds.class_name(name, index) == kinds.FLUX:
        refused = {"guidance": NO_GUIDANCE} if schnell(name) else {}
        return ModelRow(flux, flux_sampling(name), refused=refused)
    defaults = defaults_of(kinds.kind_of(name))
    refused = {**NOT_FLUX, **({} if defaults.knob else {"guidance": NO_GUIDANCE})}
    return ModelRow(pipeline, defaults.sampling, refused=refused)


def check_lora(choice: ActorChoice) -> None:
    if choice.lora and not Path(choice.lora).exists():
        raise InputError(f"There is no LoRA {choice.lora}. Check the path after --lora.")


def choices_of(setting: Field[Any]) -> tuple[str, ...]:
    """The names that a field of SearchSettings may have; () if its values have no names."""
    by_name = {"strategy": STRATEGIES, "policy": POLICIES}
    return setting.metadata.get("choices") or tuple(by_name.get(setting.name, ()))


def named(rows: Mapping[str, Built], kind: str, name: str) -> Built:
    if name not in rows:
        raise InputError(f"There is no {kind} named {name!r}. Choose one of: {', '.join(rows)}.")
    return rows[name]
