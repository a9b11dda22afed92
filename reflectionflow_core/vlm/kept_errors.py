"""The measured errors of judges on disk, under the same keys as what the judge check finds."""

from __future__ import annotations

from pathlib import Path

from ..judge_errors import JudgeErrors
from ..record import InputError
from .kept import KeptTable

FILE = "judge_errors.json"


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
