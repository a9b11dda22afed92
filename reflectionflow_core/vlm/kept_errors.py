"""The measured errors of judges on disk, under the same keys as what the judge check finds."""

from __future__ import annotations

import re
from pathlib import Path

from ..judge_errors import JudgeErrors
from ..record import InputError
from .kept import KeptTable

FILE = "judge_errors.json"


WEIGHT = re.compile(r"^[\d.e+-]+\*")
OWN = "checklist"  # asks as a judge is asked where no verifier is named


def error_key(vlm: str, verifier: str = "") -> str:
    """What the errors of a verifier are kept under; `vlm` is its model's key (as
    `judge_check.profile_key`), "" for a verifier without one."""
    return vlm if verifier in ("", OWN) else f"{vlm} {verifier}".strip()


def measured_errors(
    folder: Path, vlm: str, verifier: str = ""
) -> tuple[JudgeErrors | None, list[str]]:
    """What was measured of a verifier, else of the first of several that has been measured, else
    of its model asked plainly; and notices.

    Several are written "yes-no+2*rubric".
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
    """Keeps what was measured; "" or a notice where that is not possible."""
    return KeptTable(folder / FILE).put(key, errors.data())


def kept_errors(folder: Path, key: str) -> tuple[JudgeErrors | None, str]:
    """What was measured of a judge, None if nothing; and a notice, "" if all is well.

    `key` identifies profile and model, or the weights (`judge_check.profile_key`).
    """
    data = KeptTable(folder / FILE).read().get(key)
    if data is None:
        return None, ""
    try:
        return JudgeErrors.from_data(data), ""
    except InputError as error:
        return None, str(error)
