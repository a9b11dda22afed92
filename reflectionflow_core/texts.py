"""Text files and typed texts, read in one way everywhere.

* UTF-8 with or without a byte order mark; UTF-16 with one, as Windows programs save it.
* Lines may end as on Windows or old Macs; they come out with "\\n".
* NUL characters and lone surrogates are refused: no model and no file can take them.
"""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

from .record import InputError

BYTE_ORDER_MARK = "\ufeff"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HALVES = re.compile("[\ud800-\udfff]")
_INVALID_NAME = 123  # Windows' code for characters that no file name may have
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and the end of a line


class TextError(InputError):
    """A text that cannot be used; `reason` is a clause such as "it is not UTF-8"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The text cannot be used: {reason}. Save it again as UTF-8.")
        self.reason = reason


def decode_text(data: bytes) -> str:
    """The text in a file's bytes; raises TextError."""
    encoding = "utf-16" if data.startswith(_UTF_16) else "utf-8-sig"
    try:
        return checked_text(data.decode(encoding))
    except UnicodeDecodeError as error:
        raise TextError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from error


def read_text(path: Path) -> str:
    """The text of a file; raises TextError, and OSError where it cannot be read."""
    return decode_text(path.read_bytes())


def checked_text(text: str) -> str:
    """The text without byte order mark, with lines that end in "\\n"; raises TextError."""
    if "\0" in text:
        raise TextError("it holds a NUL character, as files do that are not text")
    if _HALVES.search(text):
        raise TextError("it holds half of a character (a lone surrogate)")
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")


def usable_text(text: object, what: str) -> str:
    """`checked_text` of a user's text; raises InputError, also if it is not a string.

    `what` is its name in the error, such as "prompt".
    """
    if not isinstance(text, str):
        raise InputError(f"The {what} is {text!r:.40}, which is not a text. Give it in words.")
    try:
        return checked_text(text)
    except TextError as error:
        raise InputError(f"The {what} cannot be used: {error.reason}. Write it again.") from error


def printable(text: str) -> str:
    """The text without control codes, which file names and models' answers may contain."""
    return _CONTROLS.sub("\ufffd", text)


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text; raises ValueError with a short reason for any invalid one."""
    try:
        return json.loads(decode_text(data) if isinstance(data, bytes) else data)
    except TextError as error:
        raise ValueError(error.reason) from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def reason_of(error: Exception) -> str:
    """Why something could not be read, without repeating the file's name."""
    if isinstance(error, KeyError):
        return f"it has no field {error}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")


def user_path(path: str | Path) -> Path:
    """The path with the home folder for ~, and unchanged for a user that does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def why_no_path(text: str) -> str:
    """Why a text cannot be a path, for example because it is too long; "" if it can.

    It does not matter whether the path exists. Names that are no path may have characters that
    Windows refuses, such as 2*exact+text, so they are no reason.
    """
    try:
        Path(text).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        return "" if getattr(error, "winerror", None) == _INVALID_NAME else reason_of(error)
    return ""


def no_folder(path: str | Path, give: str) -> InputError:
    """The error for a path that is not a folder: a file, or nothing. `give` says what to do."""
    is_file = Path(path).is_file()
    what = f"{path} is a file, not a folder" if is_file else f"There is no folder {path}"
    return InputError(f"{what}. {give}")
