"""Structured answers: for each question one valid object of a pydantic model, or a Failure.

Models add thoughts, prose and code fences to JSON, and make mistakes in it. What is unambiguous is
read; otherwise the model is shown its mistake and asked once more.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel

from ..protocols import SILENT, Progress
from .fitting import fitted
from .interface import Failure, Question, Vlm
from .lenient import UnreadableError, read_object
from .server_errors import parsed
from .thoughts import without_thoughts

Answer = TypeVar("Answer", bound=BaseModel)
MAX_LENGTH = 200_000  # characters; longer answers are rejected unread
MAX_READ = 200_000  # limit for reading text that is not an object, in characters
LEAST_READ = 100  # added to that count for each attempt
_BRACE = re.compile(r"\{(?=\s*[}/#\w\"'“”„‘「«])")  # may begin an object
SHOWN = 2_000  # characters of a wrong answer shown to the model again


def ask(
    vlm: Vlm,
    questions: Sequence[Question],
    kind: type[Answer],
    progress: Progress = SILENT,
    phase: str = "ask",
) -> list[Answer | Failure]:
    """A valid `kind` for each question, or a Failure after a second attempt."""
    if not questions:
        return []
    schema = kind.model_json_schema()
    asked = [replace(question, schema=schema) for question in questions]
    texts = vlm.chat(asked, progress, phase)
    answers = [parse(text, kind) for text in texts]
    # Server failures were already retried; only unreadable answers are asked again.
    wrong = [
        (i, text, answer)
        for i, (text, answer) in enumerate(zip(texts, answers, strict=True))
        if isinstance(text, str) and isinstance(answer, Failure)
    ]
    if wrong:
        repairs = [_repair(asked[i], text, answer) for i, text, answer in wrong]
        second = vlm.chat(repairs, progress, phase)
        for (i, _, _), text in zip(wrong, second, strict=True):
            answers[i] = parse(text, kind)
    return answers


def parse(text: str | Failure, kind: type[Answer]) -> Answer | Failure:
    """The last JSON object in `text` that is a valid `kind`; thoughts are ignored."""
    if isinstance(text, Failure):
        return text
    if len(text) > MAX_LENGTH:
        return Failure(
            f"The model answered with {len(text)} characters; at most {MAX_LENGTH} are read."
        )
    reason = ""
    objects, is_cut = _objects(_unwrapped(without_thoughts(text)))
    if is_cut:  # earlier objects were drafts
        return Failure("The model's answer ends in the middle of its object.")
    for found in reversed(objects):
        for value in (found, *_inside(found)):
            answer = fitted(value, kind)
            if not isinstance(answer, Failure):
                return answer
            reason = reason or answer.reason
    return Failure(reason or "The model's answer contains no JSON object.")


def _objects(text: str) -> tuple[list[dict[str, Any]], bool]:
    """The top-level objects of a text in order, and whether it ends within an object."""
    found: list[dict[str, Any]] = []
    unread, is_cut = MAX_READ, False
    start = _BRACE.search(text)
    while start and unread > 0:
        after = start.end()
        try:
            value, after = _object_at(text, start.start())
            found.append(value)
            is_cut = False
        except UnreadableError as error:  # a brace in prose; the next may begin the object
            unread -= max(error.read, LEAST_READ)
            is_cut |= error.is_cut and bool(found)
        start = _BRACE.search(text, after)
    return found, is_cut or (bool(found) and text.endswith("{"))


def _object_at(text: str, start: int) -> tuple[dict[str, Any], int]:
    try:
        return _STRICT.raw_decode(text, start)
    except (ValueError, RecursionError):
        return read_object(text, start)


def _unwrapped(text: str) -> str:
    """The text itself, if it was written as one JSON string."""
    try:
        inner = json.loads(text) if text.startswith('"') else text
    except (ValueError, RecursionError):
        return text
    return inner if isinstance(inner, str) else text


def _inside(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects directly inside one, such as {"answer": {...}}, last one first; also written as
    a text, as the arguments of a tool are."""
    texts = (parsed(value) if isinstance(value, str) else value for value in found.values())
    return [value for value in reversed(list(texts)) if isinstance(value, dict)]


def _repair(question: Question, text: str, failure: Failure) -> Question:
    """The question again, with the wrong answer and the error in it."""
    return replace(
        question,
        text=f"{question.text}\n\nYou have answered:\n{text[:SHOWN]}\n\nThat cannot be used. "
        f"{failure.reason} Answer with the JSON object alone.",
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a finite number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
