"""The check of the vision-language model before a search, and `reflectionflow doctor --vlm`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..archive import Run, files
from ..identity import identity, vlm_identity
from ..judge_errors import JudgeErrors, errors_line
from ..protocols import Actors
from ..record import InputError
from ..registry import (
    EVOLVERS,
    INSPECTORS,
    PLANNERS,
    THINKERS,
    VERIFIERS,
    WRITERS,
    ActorChoice,
    Row,
)
from ..search.checks import check_trust
from ..search.strategies import axes_in_force, strategy_named
from ..settings import SearchSettings
from ..texts import parse_json, user_path
from ..verifiers.spec import parse_verifiers
from ..vlm.check_modes import OFF, mode_of
from ..vlm.consent import PictureConsent
from ..vlm.endpoint import Endpoint
from ..vlm.interface import Vlm
from ..vlm.judge_check import (
    ERRORS,
    JudgeChecker,
    findings_line,
    findings_text,
    judge_text,
    objection,
    probe,
    profile_key,
    recorded_errors,
    unused_errors,
)
from ..vlm.kept_errors import OWN
from ..vlm.named import ENDPOINT, build_vlm, check_vlm_name
from ..vlm.profiles import NAME, command_line_folder, find_profile
from .effects import Situation, check_effects
from .outcome import CommandOutcome, would_do
from .preparing import text_to_write
from .screen import Lines

# What makes a verifier without a vision-language model another one, by the names of `identity`.
JUDGING = ("verifier", "ocr", "reward_base", "reward_template", "detector", "colour_judge")
NOT_A_JUDGE = 1  # exit status of a doctor who finds a judge blind or silent


def check_judge(choice: ActorChoice, asked: Run, given: Mapping[str, Any], ask: bool = True) -> Run:
    """The run with the findings about its judge; without `ask` it is not asked now.

    Raises InputError for a judge that is blind or does not answer, unless --judge-check allows it,
    and if the user does not agree to send pictures to its host.
    """
    found = _found(choice, asked, given, ask) or asked.judge
    return replace(asked, judge={**found, **read_errors(given)})


def _found(
    choice: ActorChoice, asked: Run, given: Mapping[str, Any], ask: bool
) -> Mapping[str, Any]:
    """The findings about the judge, {} if no actor asks one."""
    if choice.vlm is None:
        return measured(choice, "")
    shown = looks(choice, asked.settings)
    if not shown and not _asks_texts(choice, asked):
        return {}
    return (
        checked(choice, given, shown)
        if ask
        else measured(choice, kept_key(choice.vlm, choice.vlm_dtype))
    )


def judge_of(
    choice: ActorChoice, settings: SearchSettings, given: Mapping[str, Any], ask: bool = True
) -> dict[str, Any]:
    """The findings about the judge, as in `check_judge`, if it is not asked for texts."""
    found: dict[str, Any] = {}
    if choice.vlm is None:
        found = measured(choice, "")
    elif looks(choice, settings):
        found = (
            checked(choice, given)
            if ask
            else measured(choice, kept_key(choice.vlm, choice.vlm_dtype))
        )
    return {**found, **read_errors(given)}


def read_errors(given: Mapping[str, Any]) -> dict[str, Any]:
    """The errors in the file of --judge-errors, as a run records them; {} without one. Prints
    them."""
    if "judge_errors" not in given:
        return {}
    path = Path(given["judge_errors"])
    with files.reading(path):
        data = path.read_bytes()
    try:
        errors = JudgeErrors.from_data(parse_json(data))
    except ValueError as error:
        raise InputError(
            f"{path} holds no errors of a judge ({error.__cause__ or error}). Give a JSON object "
            "like judge.errors of a run.json."
        ) from error
    _say(f"{path}: {errors_line(errors)}")
    return {ERRORS: errors.data()}


def with_errors_of(asked: Run, begun: Run | None) -> Run:
    """The run with the errors of its judge that were known when it began, or those known now."""
    if begun is None:
        return asked
    now = asked.judge.get(ERRORS)
    if now != begun.judge.get(ERRORS) and now is not None:
        _say("This run continues with the judge's error rates that were known when it began.")
    others = {name: value for name, value in asked.judge.items() if name != ERRORS}
    before = {ERRORS: begun.judge[ERRORS]} if ERRORS in begun.judge else {}
    return replace(asked, judge={**others, **before})


def knowing_errors(
    actors: Actors, choice: ActorChoice, asked: Run, given: Collection[str]
) -> Actors:
    """The actors with the verifier's known errors; InputError for settings without effect, also for
    `given` ones with their default value."""
    errors = errors_of_verifier(asked.judge, choice)
    check_trust(asked.settings, errors, given)
    return replace(actors, errors=errors)


def say_unused_errors(asked: Run, choice: ActorChoice) -> None:
    """Says that errors which are known are not used, if so."""
    several = errors_of_verifier(asked.judge, choice) is None
    if unused := unused_errors(asked.judge, several=several):
        _say(unused)


def errors_of_verifier(recorded: Mapping[str, Any], choice: ActorChoice) -> JudgeErrors | None:
    """The recorded errors, if a single verifier decides what passes, without gate and screen."""
    parts = parse_verifiers(choice.verifier, VERIFIERS)
    several = len(parts) > 1 or choice.gate is not None or choice.screen is not None
    return None if several else recorded_errors(recorded)


def checked(choice: ActorChoice, given: Mapping[str, Any], shown: bool = True) -> dict[str, Any]:
    """The findings about the model of `choice.vlm`, which is `shown` pictures or not; {} if
    unchecked.

    A local model is loaded only to be asked. Raises InputError as `check_judge` does.
    """
    assert choice.vlm is not None
    check = JudgeChecker(command_line_folder(), mode_of(given.get("judge_check")))
    is_local = not choice.vlm.startswith(ENDPOINT)
    key = kept_key(choice.vlm, choice.vlm_dtype) if is_local else ""
    found, notices = check.kept(key, shown) if is_local and check.mode != OFF else None, []
    if found is None and not (is_local and check.mode == OFF):
        vlm = build_vlm(choice.vlm, choice.device, choice.vlm_dtype)
        if shown:
            agree(vlm, bool(given.get("send_pictures")))
        key = key_of(choice.vlm, vlm, choice.vlm_dtype)
        found, notices = check(vlm, key, Lines(), shown)
    for notice in notices:
        _say(notice)
    if found is not None:
        _say(f"Judge {choice.vlm}: {findings_line(found)}")
    return {**(found.data() if found else {}), **measured(choice, key)}


def measured(choice: ActorChoice, key: str) -> dict[str, Any]:
    """The measured errors of the verifier, as a run records them; prints them.

    `key` is that of the model, which matters only if it judges.
    """
    parts = parse_verifiers(choice.verifier, VERIFIERS)
    judges = any(VERIFIERS[part.name].asks_vlm for part in parts)
    names = "+".join(part.name for part in parts)
    which = (key, names) if judges and key else ("", verifier_key(choice))
    found, notices = JudgeChecker(command_line_folder()).measured(*which)
    for said in filter(None, (*notices, judge_text(found))):
        _say(said)
    return found


def looks(choice: ActorChoice, settings: SearchSettings) -> bool:
    """Whether an actor of the search shows pictures to the vision-language model."""
    axes = axes_in_force(settings) if settings.depth else ()
    staged = strategy_named(settings.strategy).in_stages
    others: list[Row[Any] | None] = [
        WRITERS.get(choice.writer) if "reflection" in axes else None,
        EVOLVERS.get(choice.evolver) if "prompt" in axes else None,
        INSPECTORS.get(choice.inspector or "exact") if staged else None,
    ]
    shown = any(row is not None and row.asks_vlm for row in _verifiers(choice))
    return shown or any(row is not None and (row.asks_vlm or row.may_ask_vlm) for row in others)


def _asks_texts(choice: ActorChoice, asked: Run) -> bool:
    """Whether the vision-language model is asked for texts about the prompt, without pictures."""
    rows: list[Row[Any] | None] = [row for row in _verifiers(choice) if row and row.may_ask_vlm]
    setting = text_to_write(asked)
    if setting == "stages" and not asked.settings.stages:
        rows.append(PLANNERS.get(choice.planner or "rules"))
    if setting == "draft_prompt" and asked.settings.draft_prompt is None:
        rows.append(THINKERS.get(choice.thinker or "vlm"))
    return any(row is not None and (row.asks_vlm or row.may_ask_vlm) for row in rows)


def _verifiers(choice: ActorChoice) -> list[Row[Any] | None]:
    judges = (choice.verifier, choice.gate, choice.screen)
    parts = [part for spec in judges if spec for part in parse_verifiers(spec, VERIFIERS)]
    return [VERIFIERS.get(part.name) for part in parts]


def agree(vlm: Vlm, agreed: bool) -> None:
    """Asks the user, once for each host, whether pictures may be sent there; `agreed` answers."""
    if not isinstance(vlm, Endpoint):
        return
    consent = PictureConsent(command_line_folder())
    host = consent.missing(vlm.profile)
    if not host:
        return
    _say(f"Pictures will be sent to {host}, the host of the profile {vlm.profile}.")
    if not agreed and not _answers_yes():
        consent.require(vlm.profile)
    if notice := consent.give(vlm.profile):
        _say(notice)


def agree_about(spec: str, agreed: bool) -> None:
    """Like `agree`, for the model that a text names; nothing is loaded."""
    if spec.startswith(ENDPOINT):
        agree(build_vlm(spec), agreed)


def vlm_spec(name: str) -> str:
    """A folder, a hub id, endpoint:PROFILE or a path unchanged; another name as that of a
    profile."""
    is_profile = NAME.fullmatch(name) and not user_path(name).is_dir()
    return f"{ENDPOINT}{name}" if is_profile else name


def key_of(spec: str, vlm: Vlm, dtype: str | None) -> str:
    """The key under which the findings about a model are stored; `dtype` is a local model's."""
    return profile_key(vlm.profile) if isinstance(vlm, Endpoint) else _local_key(spec, dtype)


def kept_key(spec: str, dtype: str | None) -> str:
    """`key_of` for a model that is not built."""
    if spec.startswith(ENDPOINT):
        return profile_key(find_profile(spec.removeprefix(ENDPOINT), command_line_folder()))
    return _local_key(spec, dtype)


def _local_key(spec: str, dtype: str | None) -> str:
    """With less precision a model errs more, so its number format counts."""
    return vlm_identity(spec) if dtype in (None, "bf16") else f"{vlm_identity(spec)} {dtype}"


def verifier_key(choice: ActorChoice) -> str:
    """The key under which the errors of a verifier without a vision-language model are stored."""
    names = "+".join(part.name for part in parse_verifiers(choice.verifier, VERIFIERS))
    known = identity(choice)
    return " ".join([names, *(known[name] for name in JUDGING if known.get(name))])


def examine(given: Mapping[str, Any]) -> CommandOutcome:
    """Tests the model of --vlm again; exit code 1 if it cannot judge pictures."""
    spec = vlm_spec(given["vlm"])
    choice = ActorChoice(vlm=spec, verifier=OWN)
    others = [name for name in given if name != "vlm"]
    check_effects(Situation(SearchSettings(), choice, others, paints=False, command="doctor"))
    check_vlm_name(spec, given.get("vlm_dtype"))
    if given.get("dry_run"):
        return would_do({"judge": spec, "cost": "A few questions about pictures of one colour."})
    vlm = build_vlm(spec, given.get("device"), given.get("vlm_dtype"))
    agree(vlm, bool(given.get("send_pictures")))
    found = probe(vlm, Lines())
    text = f"Judge {spec}\n{findings_text(found)}Asked in {found.calls} requests.\n"
    data = {"judge": spec, **found.data()}
    if why := objection(found):
        return CommandOutcome(NOT_A_JUDGE, text, data, error=why)
    key = key_of(spec, vlm, given.get("vlm_dtype"))
    if notice := JudgeChecker(command_line_folder()).keep(key, found):
        _say(notice)
    return CommandOutcome(text=text, data=data)


def _answers_yes() -> bool:
    """Asks on a terminal; anywhere else the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write("Is that right? You are asked once for each host. [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
