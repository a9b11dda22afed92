"""Errors reported by model servers, in any body and under any HTTP status.

Some report errors with status 200, in a list or inside a choice, and put the time to wait into the
body. Independent of HTTP clients.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import Any

NO_STATUS = 0  # for an error in a body without status
QUESTION_REFUSED = (400, 413, 422)  # statuses that concern the question
# Error names used by providers instead of a number.
NAMED = {
    "insufficient_quota": 402,
    "rate_limit": 429,
    "too_many": 429,
    "resource_exhausted": 429,
    "authentication": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "permission": 403,
    "not_found": 404,
    "invalid_request": 400,
    "invalid_argument": 400,
    "overloaded": 503,
    "unavailable": 503,
}
ADVICE = {
    401: "check the api_key of its profile",
    402: "add credit with its provider, or choose another profile",
    403: "check what its key is allowed to",
    404: "check the base_url (most end in /v1) and the model of its profile",
    410: "check the model of its profile",
    405: "check the base_url (most end in /v1) of its profile",
    413: "send smaller pictures",
    429: 'wait, or give its profile less "concurrency" or "requests_per_minute"',
}
ELSEWHERE = "its server is at another address; put that one into the base_url of its profile"
LATER = "try again later"
BROKEN = "check its model and the server's log, or try again later"
SEES_NOTHING = "choose a model that sees pictures, or start its server with the part that does"
# Messages about pictures, used with any status.
BLIND = re.compile(
    r"(?:image|vision)(?: input| content|_url)?s? (?:is|are) not (?:supported|enabled)|mmproj"
    r"|at most 0 image|image_url is only supported|content must be a string"
    r"|not a (?:multimodal|VLM|vision)"
    r"|(?:no endpoints|not).{0,40} support(?:s|ed)? (?:image|vision|picture)"
    r"|(?:unknown variant|invalid content type).{0,20}image_url|for image input"
    r"|does not (?:support|accept) (?:image|vision|multimodal)"
    r"|only (?:supports )?text(?:-only)? input",
    re.IGNORECASE,
)
# Fields of an error.
WORDS = ("error", "message", "detail", "msg", "base_resp", "status_msg", "errors", "error_msg")
LOADING = re.compile(
    r"loading model|model is (?:still )?(?:loading|being loaded)|currently loading"
    r"|model.{0,60}(?:(?:starting|warming) up|\bnot (?:yet )?ready)",
    re.IGNORECASE,
)
NO_CREDIT = re.compile(
    r"insufficient[_ ](?:quota|credit|balance|fund)|balance is (?:too low|insufficient)|arrearage"
    r"|(?:out of|have (?:any|enough)) credit|budget has been exceeded"
    r"|billing (?:hard )?limit|billing_not_active|余额不足|欠费",
    re.IGNORECASE,
)
# Also no credit, unless a rate was exceeded.
LIMIT = re.compile(r"(?:monthly|spending|usage) limit", re.IGNORECASE)
RATE = re.compile(r"\bper[ -](?:second|minute|hour|day)\b|/ ?min|\brpm\b", re.IGNORECASE)
# Messages used with a status that otherwise concerns the question.
BAD_KEY = re.compile(
    r"api[ _-]?key (?:is )?(?:not valid|invalid|missing|expired)|api_key_invalid|unauthori[sz]ed"
    r"|not authenticated|login fail"
    r"|(?:invalid|incorrect|missing|no|expired) api[ _-]?key",
    re.IGNORECASE,
)
BAD_MODEL = re.compile(
    r"\bmodel\b.{0,80}(?:not found|not exist|not available|decommissioned|by any provider)"
    r"|not a valid model|requested model is not supported|invalid model(?: name| id|:)"
    r"|no models? loaded|unable to access .{0,40}model",
    re.IGNORECASE,
)
CONTEXT = re.compile(
    r"(?:context|model|allowed) (?:length|size|window)|too many (?:input )?tokens"
    r"|(?:less|fewer) than \d+ tokens",
    re.IGNORECASE,
)
_OUT_OF_TOKENS = re.compile(
    r"output limit was reached|higher max_|max_\w*tokens.{0,9} must be greater than", re.IGNORECASE
)
# Fewer tokens were requested than the host allows; some want at least 16.
_LEAST = re.compile(
    r"max_\w*tokens.{0,80}?(?:at least|>=|greater than or equal to|minimum (?:value )?(?:is|of))"
    r" (\d{1,4})\b",
    re.IGNORECASE,
)
# More tokens were requested than the model or the host allows.
_ROOM = re.compile(
    r"max_\w*tokens|the completion\b|output tokens|requested:? (?:a total of )?\d", re.IGNORECASE
)
_TOO_MUCH = re.compile(
    r"too (?:large|big|high|many)|at most|maximum|exceed|less than|greater than|valid range"
    r"|reduce|[<>]=? ?\d",
    re.IGNORECASE,
)
_DELAY = re.compile(
    r"""(?:retry_?delay|retry[-_ ]after(?:_seconds)?|wait(?: for)?"""
    r"""|(?:try again|retry|resets?) (?:in|after))["'\s:]*"""
    r"(\d+(?:\.\d+)?)(?:\s*(ms|m(?:in)?|h|d|s)|$|\W)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ServerError:
    """An error reported by a server.

    * `status`: the HTTP status that it means, or NO_STATUS; `wait`: seconds.
    * `message`: the server's words, which may contain keys and addresses.
    * `named`: the error has a name but no number.
    * `no_credit`: the prepaid credit is used up, whatever the status.
    """

    status: int
    message: str = ""
    wait: float = 0.0
    named: bool = False
    no_credit: bool = False

    @property
    def is_loading(self) -> bool:
        return LOADING.search(self.message) is not None

    @property
    def sees_nothing(self) -> bool:
        """Whether it says that the model takes no pictures."""
        return self.status not in (401, 403, 429) and BLIND.search(self.message) is not None

    @property
    def meant(self) -> int:
        """The status that its words mean, if it came with another one."""
        if self.no_credit:
            return HTTPStatus.PAYMENT_REQUIRED
        if self.status not in (NO_STATUS, *QUESTION_REFUSED):
            return self.status
        if BAD_KEY.search(self.message):
            return HTTPStatus.UNAUTHORIZED
        return HTTPStatus.NOT_FOUND if BAD_MODEL.search(self.message) else self.status

    @property
    def about_key(self) -> bool:
        return self.meant in (401, 403)

    @property
    def about_question(self) -> bool:
        """Whether the question itself is rejected; another one may be answered."""
        return self.sees_nothing or self.meant in QUESTION_REFUSED

    @property
    def asked_too_little(self) -> bool:
        """Whether a thought used up all tokens, which OpenAI reports as a bad request."""
        return self.status == 400 and _OUT_OF_TOKENS.search(self.message) is not None

    @property
    def least_tokens(self) -> int:
        """The fewest tokens of an answer that it accepts; 0 if it says nothing of that."""
        found = _LEAST.search(self.message) if self.status in QUESTION_REFUSED else None
        return int(found[1]) if found else 0

    @property
    def asked_too_much(self) -> bool:
        """Whether fewer tokens for the answer may help."""
        said = self.message
        may_be = self.status in (NO_STATUS, *QUESTION_REFUSED, 500)
        return may_be and bool(_ROOM.search(said) and _TOO_MUCH.search(said))

    @property
    def may_pass(self) -> bool:
        """Whether another try may help."""
        if self.sees_nothing or self.no_credit:
            return False
        return self.meant in (NO_STATUS, 408, 429) or self.status >= 500

    @property
    def what(self) -> str:
        """Continues "The endpoint mine" in a sentence."""
        if self.named or self.status == NO_STATUS:
            return "answered with an error"
        known = self.status in HTTPStatus.__members__.values()
        name = f" ({HTTPStatus(self.status).phrase.lower()})" if known else ""
        return f"answered {self.status}{name}"

    @property
    def advice(self) -> str:
        if self.sees_nothing:
            return SEES_NOTHING
        status = self.meant
        if status in (NO_STATUS, 400, 413, 422, 500) and CONTEXT.search(self.message):
            return "give the model a longer context, or send smaller pictures"
        if status == 500:
            return BROKEN
        if 300 <= status < 400:
            return ELSEWHERE
        later = status in (NO_STATUS, 408) or status >= 500
        return LATER if later else ADVICE.get(status, "check its profile")


def error_of_status(status: int, body: str, retry_after: str = "") -> ServerError:
    """The error of a response with an error status; `retry_after` is that header."""
    found = parsed(body)
    words = " ".join(body.split())
    plain = found is None and words.isprintable() and not words.startswith("<")
    message = message_in(found) or (words if plain else "")
    table = next(_errors(found), as_table(found) or {"message": message})
    wait = _seconds(retry_after) or _delay(body)
    return ServerError(int(status), message, wait, no_credit=_no_credit(table))


def error_in(found: object, body: str) -> ServerError | None:
    """The error in a parsed body with a success status, or None; `found` is the parsed `body`."""
    table = next(_errors(found), None)
    if table is None:
        return None
    status, named = _status(table)
    return ServerError(status, message_in(table), _delay(body), named, _no_credit(table))


def _no_credit(error: Mapping[str, Any]) -> bool:
    said = json.dumps(error, ensure_ascii=False)
    is_rate = RATE.search(said) is not None or _delay(said) > 0
    return NO_CREDIT.search(said) is not None or (LIMIT.search(said) is not None and not is_rate)


def parsed(body: str | bytes) -> object:
    """The JSON of a body; None if it is not JSON."""
    try:
        return json.loads(body.removeprefix("\ufeff") if isinstance(body, str) else body)
    except (ValueError, RecursionError):
        return None


def parsed_events(raw: bytes) -> list[Mapping[str, Any]]:
    """The JSON objects of a body that a server streamed without being asked to."""
    lines = [line[5:] for line in raw.splitlines() if line.startswith(b"data:")]
    return [event for event in map(parsed, lines) if isinstance(event, dict)]


def as_table(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def message_in(found: object) -> str:
    """The message of an error in JSON; "" if no known field has one."""
    if isinstance(found, list):
        return next(filter(None, map(message_in, found)), "")
    if isinstance(found, str):
        return clean(found)
    if not isinstance(found, dict):
        return ""
    words = (message_in(found.get(key)) for key in WORDS)
    message = next(filter(None, words), "")
    raw = as_table(found.get("metadata")).get("raw")
    # Routers put the provider's message next to their own.
    read = parsed(raw) if isinstance(raw, str) else raw
    behind = message_in(read) or (clean(raw) if isinstance(raw, str) else "")
    return f"{message}: {behind}" if message and behind else message or behind


def clean(text: str) -> str:
    """The text without lone surrogates, which are possible in JSON but not in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _errors(found: object) -> Iterator[Mapping[str, Any]]:
    """The errors in a body: its own, those of a list, and those of choices without an answer."""
    if isinstance(found, list):
        for item in found:
            yield from _errors(item)
    if not isinstance(found, dict):
        return
    error, choices = found.get("error"), found.get("choices")
    if error and not (choices and _is_empty(error)):
        yield error if isinstance(error, dict) else {**found, "message": message_in(error)}
    if not error and not choices and message_in(found):
        yield found
    for choice in choices if isinstance(choices, list) else ():
        failed = isinstance(choice, dict) and choice.get("finish_reason") == "error"
        if isinstance(choice, dict) and (choice.get("error") or failed):
            said = choice.get("error")
            yield said if isinstance(said, dict) else {"message": message_in(said)}


def _is_empty(error: object) -> bool:
    """Whether an error beside answers says that there is none."""
    code = as_table(error).get("code")
    return code in (0, "0", 200, "200", "success") or not (code or message_in(error))


def _status(error: Mapping[str, Any]) -> tuple[int, bool]:
    """The status of an error, and whether it was derived from a name."""
    for key in ("code", "status", "status_code", "type"):
        value = error.get(key)
        if isinstance(value, str) and len(value) == 3 and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value, False
        if isinstance(value, str):
            name = value.lower()
            known = next((status for part, status in NAMED.items() if part in name), None)
            if known:
                return known, True
    return NO_STATUS, False


def _delay(body: str) -> float:
    """Seconds to wait given in the body, as in "retryDelay": "43s" or "try again in 1.5s"."""
    found = _DELAY.search(body)
    if not found:
        return 0.0
    units = {"ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
    return float(found[1]) * units.get((found[2] or "s").lower(), 1.0)


def _seconds(retry_after: str) -> float:
    """Seconds in a Retry-After header, or until its date; 0 for a past date and anything else."""
    try:
        seconds = float(retry_after)
    except ValueError:
        seconds = _seconds_until(retry_after)
    return seconds if 0 < seconds < math.inf else 0.0


def _seconds_until(date: str) -> float:
    read = parsedate_tz(date)
    try:
        return mktime_tz(read) - time.time() if read else 0.0
    except (ValueError, OverflowError):  # a year or day that does not exist
        return 0.0
