"""Builds the vision-language model named by a text: a server's profile, a folder or a hub ID."""

from __future__ import annotations

import gc
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..record import InputError
from ..texts import no_folder, user_path
from .interface import Vlm
from .redaction import looks_like_a_key

if TYPE_CHECKING:
    from .profiles import Profile

ENDPOINT = "endpoint:"
HUB_ID = re.compile(r"[\w-]+/[\w.-]+")


def build_vlm(spec: str, device: str | None = None, dtype: str | None = None) -> Vlm:
    """The vision-language model of "endpoint:PROFILE", a folder or a hub ID; InputError as
    `check_vlm_name`.

    The latest one is cached, so that verifier, writer and evolver share one model.
    """
    check_vlm_name(spec, dtype)
    return _built_vlm(spec, device, dtype)


def check_vlm_name(spec: str, dtype: str | None = None) -> None:
    """InputError for an invalid name, an unknown profile, or a server's dtype. Loads nothing."""
    name = spec.removeprefix(ENDPOINT)
    if spec.startswith(ENDPOINT) and not name:
        raise InputError("The endpoint has no name. Give its profile, as in --vlm endpoint:mine.")
    known = spec.startswith(ENDPOINT) or user_path(spec).is_dir() or HUB_ID.fullmatch(spec)
    if not known and looks_like_a_key(spec):
        raise InputError(
            "The vision-language model looks like an API key, which is not repeated. Write the key "
            "into a profile, and give its name, as in --vlm endpoint:mine."
        )
    if not known:
        raise no_folder(
            spec,
            "Give one with a vision-language model, a hub id, or endpoint:PROFILE for a server.",
        )
    if spec.startswith(ENDPOINT) and dtype is not None:
        raise InputError("A server chooses the number format of its model. Leave out --vlm-dtype.")
    if spec.startswith(ENDPOINT):
        _profile(name)


def price_in_profile(spec: object, folder: Path) -> float | None:
    """The price of a call of "endpoint:PROFILE" in the profiles in `folder`; None if unknown."""
    if not isinstance(spec, str) or not spec.startswith(ENDPOINT):
        return None
    from .profiles import find_profile

    return find_profile(spec.removeprefix(ENDPOINT), folder).price or None


def _profile(name: str) -> Profile:
    from .profiles import command_line_folder, find_profile

    return find_profile(name, command_line_folder())


def forget_vlm() -> None:
    """Frees the model built last by `build_vlm`, unless it is still in use."""
    _built_vlm.cache_clear()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def _built_vlm(spec: str, device: str | None, dtype: str | None) -> Vlm:
    if spec.startswith(ENDPOINT):
        from .consent import PictureConsent
        from .endpoint import Endpoint
        from .profiles import command_line_folder

        profile = _profile(spec.removeprefix(ENDPOINT))
        return Endpoint(profile, consent=PictureConsent(command_line_folder()))
    from .local import load_vlm

    return load_vlm(spec, device=device, dtype=dtype or "bf16")
