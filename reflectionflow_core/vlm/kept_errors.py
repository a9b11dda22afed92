"""The measured errors of judges on disk, under the same keys as the judge check's findings."""

from __future__ import annotations

import re
from pathlib import Path

from ..judge_errors import JudgeErrors
from ..record import InputError
from .kept import KeptTable

FILE = "judge_errors.json"


WEIGHT = re.compile(r"^[\d.e+-]+\*")
OWN = "checklist"  # used if no verifier is named


def error_key(vlm: str, verifier: str = "") -> str:
    """The key of a verifier's errors; `vlm`: its model's key (`judge_check.profile_key`) or ""."""
    return vlm if verifier in ("", OWN) else f"{vlm} {verifier}".strip()


def measured_errors(
    folder: Path, vlm: str, verifier: str = ""
) -> tuple[JudgeErrors | None, list[str]]:
    """The measured errors of a verifier, and notices.

    Of several ("yes-no+2*rubric"), the first one measured; otherwise those of the model asked
    plainly.
    """
    notices, parts = [], [WEIGHT.sub("", part) for part in verifier.split("+")]
    keys = (error_key(vlm, verifier), *(error_key(vlm, part) for part in parts), vlm)
    for key in dict.fromkeys(filter(None, keys)):
        errors, notice = kept_errors(folder, key)
        notices += [notice] if notice else []
        if errors is not None:
            return errors, notices
    return None, notices


def keep_errors(folder: Path, key: str, errors: JudgeErrors) -> str:
    """Saves measured errors; returns a notice if that fails, otherwise ""."""
    return KeptTable(folder / FILE).put(key, errors.data())


def kept_errors(folder: Path, key: str) -> tuple[JudgeErrors | None, str]:
    """A judge's measured errors or None, and a notice or "".

    `key` identifies profile and model, or the weights (`judge_check.profile_key`).
    """
    data = KeptTable(folder / FILE).read().get(key)
    if data is None:
        return None, ""
    try:
        return JudgeErrors.from_data(data), ""
    except InputError as error:
        return None, str(error)
