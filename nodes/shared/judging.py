"""The check of the vision-language models of a search, and consent to send them pictures."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from ...reflectionflow_core.judge_errors import JudgeErrors
from ...reflectionflow_core.protocols import Progress
from ...reflectionflow_core.registry import VERIFIERS
from ...reflectionflow_core.vlm.check_modes import WARN, mode_of
from ...reflectionflow_core.vlm.consent import PictureConsent
from ...reflectionflow_core.vlm.endpoint import Endpoint
from ...reflectionflow_core.vlm.judge_check import (
    JudgeChecker,
    profile_key,
    recorded_errors,
    unused_errors,
)
from ...reflectionflow_core.vlm.kept_errors import error_key
from .profiles import profiles_folder
from .sockets import ActorHandle, SearchActors, SearchState, VlmHandle

INSIST = (
    "To search all the same, wire Judge Check between the model and its loaders, and switch its "
    "insist on"
)
ADVICE = "Switch send_pictures on in Vision model, or in Vision-Language Model: endpoint"


def check_judges(handles: SearchActors, progress: Progress) -> dict[str, Any]:
    """The findings about the search's first vision-language model, the verifier's if it has one; {}
    without one.

    Raises InputError for a model that is blind or does not answer, unless the user insists, and for
    one that pictures may not be sent to.
    """
    actors = (handles.verifier, handles.writer, handles.evolver, handles.inspector)
    vlms = dict.fromkeys(vlm for actor in actors if actor for vlm in actor.vlms)
    findings = []
    for handle in vlms:
        found, notices = checker(handle)(handle.vlm, key_of(handle), progress)
        for notice in notices:
            warn(notice)
        if found is not None:
            findings.append(found.data())
    return {**(findings[0] if findings else {}), **_measured(handles.verifier)}


def _measured(handle: ActorHandle) -> dict[str, Any]:
    """The measured errors of a verifier, as a run records them."""
    vlm, name = _judge_of(handle)
    measured, notices = JudgeChecker(profiles_folder()).measured(vlm, name)
    for notice in notices:
        warn(notice)
    return measured


def _judge_of(handle: ActorHandle) -> tuple[str, str]:
    """The key of the model that judges, "" if none does, and the name of the verifier, with the
    digests of its weights if no model judges."""
    name = verifier_name(handle)
    asking = {each for each, row in VERIFIERS.items() if row.asks_vlm}
    if handle.vlms and asking & {re.sub(r"^[\d.]+\*", "", part) for part in name.split("+")}:
        return key_of(handle.vlms[0]), name
    return "", " ".join([name, *handle.identity.values()])


def verifier_name(handle: ActorHandle) -> str:
    """How a verifier was chosen, without the folders of its weights, which are private."""
    return re.sub(r":[^+]*", "", str(handle.chosen.get("verifier", "")))


def verifier_key(handle: ActorHandle) -> str:
    """What the errors of a verifier are kept under."""
    return error_key(*_judge_of(handle))


def check_writers(actor: ActorHandle[Any], progress: Progress) -> None:
    """InputError if an actor's models for texts do not answer, unless the user insists."""
    for handle in actor.vlms:
        _, notices = checker(handle)(handle.vlm, key_of(handle), progress, shown=False)
        for notice in notices:
            warn(notice)


def errors_of_verifier(handles: SearchActors, found: Mapping[str, Any]) -> JudgeErrors | None:
    """The measured errors in the findings, if a single verifier decides what passes."""
    return None if _are_several(handles.verifier.chosen) else recorded_errors(found)


def notice_of_errors(state: SearchState) -> str:
    """A notice if the known errors of one verifier are not used; else ""."""
    return unused_errors(state.judge, _are_several(state.chosen))


def _are_several(chosen: Mapping[str, Any]) -> bool:
    joined = "+" in str(chosen.get("verifier", ""))
    return joined or bool(chosen.get("gate")) or bool(chosen.get("screen"))


def checker(handle: VlmHandle) -> JudgeChecker:
    mode = mode_of(WARN if handle.insists else None)
    return JudgeChecker(profiles_folder(), mode, INSIST)


def key_of(handle: VlmHandle) -> str:
    """What the findings about a model are kept under."""
    vlm = handle.vlm
    return profile_key(vlm.profile) if isinstance(vlm, Endpoint) else handle.identity


def consent() -> PictureConsent:
    """The hosts that pictures may be sent to from this ComfyUI."""
    return PictureConsent(profiles_folder(), ADVICE)


def warn(text: str) -> None:
    """A line in ComfyUI's log, if there is something to say."""
    if text:
        logging.warning("ReflectionFlow: %s", text)
