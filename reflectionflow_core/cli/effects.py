"""Which options have an effect when: one table for the help, the errors and docs/cli.md.

An option without effect is refused, even with its default value. An option that is not in the table
always has an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..choice import ActorChoice
from ..record import InputError
from ..registry import EVOLVERS, INSPECTORS, PLANNERS, THINKERS, VERIFIERS, WRITERS, Row
from ..search.strategies import (
    STRATEGIES,
    axes_in_force,
    draws_noise,
    starts_from_parents,
    strategy_named,
)
from ..settings import SearchSettings
from ..verifiers.spec import VerifierSpec, parse_verifiers, shares_needs
from ..vlm.named import ENDPOINT
from .me import ME
from .naming import flag_of, in_words
from .passing import only_ranking

# A plugin's verifier is unknown here, and may use any option.
BUILT_IN = frozenset({*VERIFIERS, ME})
STRATEGIES_HERE = frozenset(STRATEGIES)  # one of a plugin may use any setting
KNOWN = BUILT_IN.union(WRITERS, EVOLVERS, INSPECTORS, PLANNERS, THINKERS)
LOADING = ("objects", "clip-score", "reward")  # verifiers with a model of their own
TEXTS_OF_THEIR_OWN = ("staged", "interleaved")
CONTINUING = [name for name, strategy in STRATEGIES.items() if strategy.continues]


@dataclass(frozen=True)
class Situation:
    """What the user asks for, as far as it decides which options have an effect.

    `given` are the names of the given options. `paints` is False if existing pictures are judged.
    Errors advise only what `command` takes.
    """

    settings: SearchSettings
    choice: ActorChoice
    given: Collection[str] = ()
    think_first: bool = False
    paints: bool = True
    command: str = "run"

    @cached_property
    def axes(self) -> Collection[str]:
        """What rounds after the first may change; () without such rounds."""
        return axes_in_force(self.settings) if self.paints and self.settings.depth else ()

    @property
    def in_stages(self) -> bool:
        return self.paints and strategy_named(self.settings.strategy).in_stages

    @property
    def plans(self) -> bool:
        # Stages that were not given are what a planner wrote for the run that is continued.
        return self.in_stages and not (self.settings.stages and "stages" in self.given)

    @property
    def thinks(self) -> bool:
        asked = self.think_first or self.settings.strategy == "interleaved"
        by_hand = self.settings.draft_prompt is not None and "draft_prompt" in self.given
        return self.paints and asked and not by_hand

    @property
    def corrects(self) -> bool:
        return "reflection" in self.axes

    @cached_property
    def judges(self) -> list[VerifierSpec]:
        """The verifiers, the gate and the screen."""
        choice = self.choice
        specs = filter(None, (choice.verifier, choice.gate, choice.screen))
        return [part for spec in specs for part in parse_verifiers(spec, VERIFIERS)]

    def judged_by(self, *names: str) -> bool:
        """Whether one of these verifiers judges, or one of a plugin."""
        return any(part.name in names or part.name not in BUILT_IN for part in self.judges)

    @property
    def rechecks(self) -> bool:
        """Whether corrections are judged by the checklist, alone, by need or behind a screen."""
        parts = parse_verifiers(self.choice.verifier, VERIFIERS)
        alone = self.choice.gate is None and (len(parts) == 1 or shares_needs(parts))
        known = any(part.name == "checklist" or part.name not in BUILT_IN for part in parts)
        return self.corrects and alone and known

    @cached_property
    def asks_vlm(self) -> bool:
        """Whether a needed actor asks a vision-language model, or would if one were given."""
        choice = self.choice
        asked = [
            *((VERIFIERS, part.name) for part in self.judges),
            *([(WRITERS, choice.writer)] if self.corrects else []),
            *([(EVOLVERS, choice.evolver)] if "prompt" in self.axes else []),
            *([(INSPECTORS, choice.inspector or "exact")] if self.in_stages else []),
            *([(PLANNERS, choice.planner or "rules")] if self.plans else []),
            *([(THINKERS, choice.thinker or "vlm")] if self.thinks else []),
        ]
        return any(_may_ask(rows.get(name)) for rows, name in asked)

    @cached_property
    def asks_unknown(self) -> bool:
        """Whether an actor comes from a plugin, which may ask a model."""
        choice = self.choice
        named = (choice.writer, choice.evolver, choice.inspector, choice.planner, choice.thinker)
        others = {*named, *(part.name for part in self.judges)} - {None}
        return not others <= KNOWN

    @property
    def local_vlm(self) -> bool:
        vlm = self.choice.vlm
        return vlm is not None and not vlm.startswith(ENDPOINT)


def _may_ask(row: Row[Any] | None) -> bool:
    return row is not None and (row.asks_vlm or row.may_ask_vlm)


@dataclass(frozen=True, slots=True)
class OptionNeeds:
    """What an option needs to have an effect: `what` in a few words, and `do`, how to get it.

    With `rounds` it also needs rounds after the first. `elsewhere` is `do` for other commands than
    run, where they lack an option that it names.
    """

    what: str
    holds: Callable[[Situation], bool]
    do: str = ""
    rounds: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def advice(self) -> str:
        return self.do or f"Give {self.what}"

    def advice_in(self, command: str) -> str:
        return self.elsewhere.get(command, self.advice)


def strategies(*names: str) -> OptionNeeds:
    option = f"--strategy {in_words(names)}"
    return OptionNeeds(option, lambda now: now.settings.strategy in names, rounds=True)


def verifiers(*names: str) -> OptionNeeds:
    return OptionNeeds(f"--verifier {in_words(names)}", lambda now: now.judged_by(*names))


CORRECTING = in_words([name for name, s in STRATEGIES.items() if "reflection" in s.axes])
REWRITING = in_words([name for name, s in STRATEGIES.items() if "prompt" in s.axes])
ROUNDS = OptionNeeds("rounds after the first", lambda now: bool(now.axes), "Give a --depth above 0")
CORRECTIONS = OptionNeeds(
    "corrections",
    lambda now: now.corrects,
    f"Give --strategy {CORRECTING}, and reflection among the --axes",
    rounds=True,
)
BY_LORA = OptionNeeds(
    "corrections by a LoRA",
    lambda now: now.corrects and now.choice.edit_model is None,
    f"Give --strategy {CORRECTING}, reflection among the --axes, and no --edit-model",
    rounds=True,
)
EDITING = OptionNeeds("--edit-model", lambda now: now.choice.edit_model is not None)
STAGED = OptionNeeds("--strategy staged", lambda now: now.in_stages)
FULL_SIZE = OptionNeeds(
    "a --model other than miniature",
    lambda now: now.choice.model != "miniature",
    "Give --model FOLDER (the miniature does not take it)",
)

EFFECTS: dict[str, OptionNeeds] = {
    "policy": strategies("adaptive"),
    "context": strategies("in-context"),
    "parents": OptionNeeds(
        "rounds that start from a picture of their chain",
        lambda now: starts_from_parents(now.settings),
        f"Give --strategy {in_words(CONTINUING)}; with --axes noise alone, also give "
        "--noise-search zero_order",
        rounds=True,
    ),
    "axes": ROUNDS,
    "width": OptionNeeds(
        "chains",
        lambda now: (
            bool(now.axes)
            or (now.settings.drafts is None and not strategy_named(now.settings.strategy).one_draft)
        ),
        "Give a --depth above 0, or --drafts for the number of pictures",
    ),
    "noise_search": OptionNeeds(
        "rounds with new noise",
        lambda now: draws_noise(now.settings),
        "Give noise among the --axes, and a --strategy other than paths",
        rounds=True,
    ),
    "radius": OptionNeeds(
        "--noise-search zero_order",
        lambda now: now.settings.noise_search == "zero_order" and draws_noise(now.settings),
        rounds=True,
    ),
    "correct": CORRECTIONS,
    "accept": CORRECTIONS,
    "mask": CORRECTIONS,
    "writer": CORRECTIONS,
    "max_words": CORRECTIONS,
    "lora": CORRECTIONS,
    "edit_model": CORRECTIONS,
    "edit_steps": EDITING,
    "edit_guidance": EDITING,
    "condition_size": BY_LORA,
    "condition_fit": BY_LORA,
    "prompt_style": BY_LORA,
    "evolver": OptionNeeds(
        "rewritten prompts",
        lambda now: "prompt" in now.axes,
        f"Give --strategy {REWRITING}, and prompt among the --axes",
        rounds=True,
    ),
    "recheck": OptionNeeds(
        "corrections that --verifier checklist judges",
        lambda now: now.rechecks,
        f"Give --strategy {CORRECTING}, and --verifier checklist without --gate",
        rounds=True,
    ),
    "stages": STAGED,
    "inspector": STAGED,
    "planner": OptionNeeds(
        "a planner's plan", lambda now: now.plans, "Give --strategy staged, and no --stages"
    ),
    "think_first": OptionNeeds(
        "a strategy that drafts from the prompt",
        lambda now: now.settings.strategy not in TEXTS_OF_THEIR_OWN,
        f"Give a --strategy other than {in_words(TEXTS_OF_THEIR_OWN)}, which plan or think anyway",
    ),
    "thinker": OptionNeeds(
        "a draft prompt to write",
        lambda now: now.thinks,
        "Give --think-first or --strategy interleaved, and no --draft-prompt",
    ),
    "transformer": FULL_SIZE,
    "dtype": FULL_SIZE,
    "plan": FULL_SIZE,
    "device": OptionNeeds(
        "a local model",
        lambda now: now.paints or (now.local_vlm and now.asks_vlm) or now.judged_by(*LOADING),
        f"Give --verifier {in_words(LOADING)}, or a local --vlm",
        elsewhere={
            "doctor": "Give a local --vlm",
            "judge": "Give --verifier objects, a local --vlm, --model or --detector",
        },
    ),
    "verifier_error": verifiers("noisy"),
    "detector": verifiers("objects"),
    "colour_judge": verifiers("objects"),
    "ground": verifiers("checklist"),
    "reward_base": verifiers("reward"),
    "reward_template": verifiers("reward"),
    "shortlist": OptionNeeds("--screen", lambda now: now.choice.screen is not None),
    "vlm": OptionNeeds(
        "an actor that asks a model",
        lambda now: now.asks_vlm or now.asks_unknown,
        "Give one that does, such as --verifier checklist or --writer vlm",
        elsewhere={"rank": "Give one that does, such as --verifier checklist"},
    ),
    "max_calls": OptionNeeds(
        "an actor that asks a model",
        lambda now: (now.asks_vlm and now.choice.vlm is not None) or now.asks_unknown,
        "Give one that does, such as --verifier checklist, and --vlm",
    ),
    "vlm_dtype": OptionNeeds("a local --vlm", lambda now: now.local_vlm),
    "judge_check": OptionNeeds("--vlm", lambda now: now.choice.vlm is not None),
    "send_pictures": OptionNeeds(
        "--vlm endpoint:PROFILE", lambda now: now.choice.vlm is not None and not now.local_vlm
    ),
    "judge_errors": OptionNeeds(
        "a single verifier",
        lambda now: len(now.judges) == 1,
        "Give a single --verifier, and no --gate or --screen",
    ),
}


def with_needs(name: str, text: str) -> str:
    """The help of an option, with what it needs."""
    return f"{text}; only with {EFFECTS[name].what}" if name in EFFECTS else text


def effects_table() -> str:
    """The table of docs/cli.md: options by what they need, and how to get it."""
    options: dict[tuple[str, str], list[str]] = {}
    for name, needs in EFFECTS.items():
        options.setdefault((needs.what, needs.advice), []).append(f"`{flag_of(name)}`")
    rows = [f"| {', '.join(names)} | {what} | {how} |" for (what, how), names in options.items()]
    return "\n".join(["| option | needs | how |", "|---|---|---|", *rows])


def check_effects(now: Situation) -> None:
    """Raises InputError for the first given option that has no effect in this situation."""
    for name in now.given:
        needs = EFFECTS.get(name)
        if needs is None:
            continue
        if needs.rounds and now.settings.strategy not in STRATEGIES_HERE:
            continue
        if needs.rounds and not now.axes:
            needs = ROUNDS
        if not needs.holds(now):
            flag = flag_of(name)
            raise InputError(
                f"{flag} has no effect without {needs.what}. {needs.advice_in(now.command)}, or "
                f"remove {flag}."
            )
    if "correct" in now.given and now.settings.mask is not None:
        raise InputError(
            "With a mask, --correct has no effect. Remove --correct, or choose no --mask."
        )
    _check_axes(now)
    _check_judges(now)
    _check_stop(now)


def _check_axes(now: Situation) -> None:
    usable = strategy_named(now.settings.strategy).axes
    unused = [axis for axis in now.settings.axes if axis not in usable]
    if unused and "axes" in now.given:
        raise InputError(
            f"The strategy {now.settings.strategy!r} does not change the {in_words(unused)}. "
            f"Remove {in_words(unused)} from --axes, or choose another strategy."
        )


def _check_judges(now: Situation) -> None:
    parts = parse_verifiers(now.choice.verifier, VERIFIERS)
    for role in ("gate", "screen"):
        if role in now.given and getattr(now.choice, role) == now.choice.verifier:
            raise InputError(
                f"--{role} and --verifier are the same verifier. Choose another, or remove "
                f"--{role}."
            )
    if len(parts) == 1 and parts[0].weight != 1:
        raise InputError(
            f"A weight has no effect on a single verifier. Give --verifier {parts[0].text}, or "
            "join another one with +."
        )
    for part in now.judges:
        takes_none = part.name in BUILT_IN and not VERIFIERS[part.name].source
        if part.source and takes_none and part.name != "objects":
            raise InputError(
                f"The verifier {part.name} loads nothing, so {part.source!r:.60} has no effect. "
                f"Give {part.name} alone."
            )
        if part.source and part.name == "objects" and "detector" in now.given:
            raise InputError(
                f"The verifier {part.text:.60} names its detector, so --detector has no effect. "
                "Remove --detector."
            )


def _check_stop(now: Situation) -> None:
    """Raises InputError for a rule that no picture can meet, or that any picture meets."""
    if "stop" not in now.given or not now.paints:
        return
    stop, parts = now.settings.stop, parse_verifiers(now.choice.verifier, VERIFIERS)
    silent = only_ranking(now.choice)
    if stop == "passed" and silent:
        raise InputError(
            f"The verifier {silent[0]} does not decide what passes, so --stop passed never stops. "
            "Give a score after --stop, or a --gate that decides."
        )
    joined = len(parts) > 1 or now.choice.gate is not None
    row = VERIFIERS[parts[0].name]
    lowest, highest = (0.0, 1.0) if joined else (row.lowest, row.highest)
    if isinstance(stop, str):
        return
    if highest is not None and stop > highest:
        raise InputError(
            f"Scores of this verifier end at {highest:g}, so --stop {stop:g} never stops. "
            "Give a lower score, or passed."
        )
    if lowest is not None and stop <= lowest:
        raise InputError(
            f"Scores of this verifier begin at {lowest:g}, so --stop {stop:g} stops at once. "
            "Give a higher score, or passed."
        )
