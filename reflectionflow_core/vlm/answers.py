"""Structured answers: a pydantic model in, one checked object or Failure a question out.

Models write prose, fences and comments around JSON. What can be read without guessing is read;
otherwise the model is shown its mistake and asked once more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..protocols import SILENT, Progress
from .interface import Failure, Question, Vlm

Answer = TypeVar("Answer", bound=BaseModel)
MAX_LENGTH = 200_000  # characters; anything longer is refused unread
MAX_BRACES = 20  # that may begin the object; each costs reading the rest of the text
SHOWN = 2_000  # characters of a wrong answer that the model is shown again
SHOWN_NAME = 60  # characters of the name of a wrong field


def ask(
    vlm: Vlm,
    questions: Sequence[Question],
    kind: type[Answer],
    progress: Progress = SILENT,
    phase: str = "ask",
) -> list[Answer | Failure]:
    """A valid `kind` for each question, or why there is none after asking a second time."""
    if not questions:
        return []
    schema = kind.model_json_schema()
    asked = [replace(question, schema=schema) for question in questions]
    texts = vlm.chat(asked, progress, phase)
    answers = [parse(text, kind) for text in texts]
    # Failures of a server were retried already; only answers that cannot be read are asked again.
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
    """The first JSON object in `text` that is a valid `kind`."""
    if isinstance(text, Failure):
        return text
    if len(text) > MAX_LENGTH:
        return Failure(
            f"The model answered with {len(text)} characters; at most {MAX_LENGTH} are read."
        )
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    reason = "The model's answer holds no JSON object."
    start = text.find("{")
    for _ in range(MAX_BRACES):
        if start < 0:
            break
        after = start + 1
        try:
            _, after = decoder.raw_decode(text, start)
            # Parsed again by pydantic, which refuses lone surrogates: no file can hold them.
            return kind.model_validate_json(text[start:after])
        except ValidationError as error:
            reason = f"The model's answer does not fit: {_first(error)}."
        except (ValueError, RecursionError):
            pass  # prose with a brace in it; the next brace may begin the object
        start = text.find("{", after)
    return Failure(reason)


def _repair(question: Question, text: str, failure: Failure) -> Question:
    """The question again, with the wrong answer and what was wrong with it."""
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


def _first(error: ValidationError) -> str:
    details = error.errors(include_input=False, include_url=False)[0]
    # An unknown field has a name that the model made up, of any length.
    field = " ".join(".".join(map(str, details["loc"])).split())[:SHOWN_NAME] or "the object"
    return f"{field}: {details['msg']}"
