"""Request and response bodies of OpenAI-compatible servers; sends nothing.

Servers differ in which parameters they accept: an optional one is left out if a server refuses it
(`refused_parameter` says which), in this request and in all later ones.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from ..pictures import to_rgb
from .interface import Question

RESPONSE_FORMATS = ("json_schema", "json_object")  # of `response_format`, the stricter one first
TOP_LOGPROBS = 20  # per token; the maximum of OpenAI and vLLM
GREEDY: Mapping[str, Any] = {"temperature": 0, "seed": 0}
WITH_LOGPROBS: Mapping[str, Any] = {**GREEDY, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
TOO_SHORT = "reached the limit of tokens before it began to answer"
MAX_TOKENS = 10**9  # of one answer; a larger count in a response is ignored


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed response; without texts, `problem` says why.

    `top_tokens` are the likeliest first tokens of the first text with their log-probabilities; None
    if the response has none.
    """

    texts: tuple[str, ...] = ()
    top_tokens: tuple[tuple[str, float], ...] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problem: str = ""


def body(
    question: Question, model: str, parameters: Mapping[str, Any], refused: frozenset[str]
) -> dict[str, Any]:
    """The request's body, without the parameters that the server refuses."""
    kept = {name: value for name, value in parameters.items() if name not in refused}
    if "logprobs" in refused:
        kept.pop("top_logprobs", None)
    limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
    made = {"model": model, limit: question.max_tokens, **kept}
    system = question.system
    if question.schema is not None:
        form = next((form for form in RESPONSE_FORMATS if form not in refused), None)
        if form == "json_schema":
            made["response_format"] = {
                "type": form,
                "json_schema": {"name": "answer", "schema": dict(question.schema)},
            }
        else:
            # json_object does not carry the schema, and needs the word JSON in the messages.
            schema = json.dumps(question.schema)
            system = f"{system}\n\nAnswer with one JSON object of this JSON schema: {schema}"
        if form == "json_object":
            made["response_format"] = {"type": form}
    made["messages"] = list(_messages(question, system.strip()))
    return made


def refused_parameter(sent: Mapping[str, Any], said: str) -> str | None:
    """Which optional parameter to leave out after a 400 or 422; None if none is left."""
    form = sent.get("response_format", {}).get("type")
    if form and "response_format" in said:
        return form
    if "max_tokens" in sent and "max_completion_tokens" in said:
        return "max_tokens"
    for name in ("logprobs", "temperature", "seed"):
        if name in sent and name in said:
            return name
    if sent.get("n", 1) > 1 and re.search(r"""["'`]n["'`]""", said):
        return "n"
    # Many servers do not say which parameter they refuse.
    return form or next((name for name in ("logprobs", "n") if name in sent), None)


def read(raw: bytes) -> Reply:
    """The reply in a response's body, which may be anything."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return Reply(problem="answered with something that is not JSON")
    if not isinstance(found, dict):
        return Reply(problem="answered with JSON that is not a chat completion")
    usage = _table(found.get("usage"))
    tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    listed = found.get("choices")
    choices = [_table(choice) for choice in listed] if isinstance(listed, list) else []
    if not choices:
        return Reply((), None, *tokens, problem="answered with JSON that is not a chat completion")
    texts = tuple(filter(None, map(_text, choices)))
    problem = "" if texts else _why_empty(choices[0])
    return Reply(texts, _top_tokens(choices[0]), *tokens, problem=problem)


def message_in(said: str) -> str:
    """The error message in a response's body; "" if it has none in a known field."""
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return ""
    for key in ("error", "message", "detail"):
        if isinstance(found, dict):
            found = found.get(key, found)
    return clean(found) if isinstance(found, str) else ""


def clean(text: str) -> str:
    """The text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _messages(question: Question, system: str) -> Iterator[dict[str, Any]]:
    if system:
        yield {"role": "system", "content": clean(system)}
    pictures = [
        {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images
    ]
    yield {"role": "user", "content": [*pictures, {"type": "text", "text": clean(question.text)}]}


def _data_url(image: Image) -> str:
    png = io.BytesIO()
    to_rgb(image).save(png, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode('ascii')}"


def _text(choice: Mapping[str, Any]) -> str:
    content = _table(choice.get("message")).get("content")
    return clean(content) if isinstance(content, str) and content.strip() else ""


def _why_empty(choice: Mapping[str, Any]) -> str:
    if choice.get("finish_reason") == "length":
        return TOO_SHORT
    return "gave an empty answer"


def _top_tokens(choice: Mapping[str, Any]) -> tuple[tuple[str, float], ...] | None:
    """The top log-probabilities at the first token that is not white space."""
    steps = _table(choice.get("logprobs")).get("content")
    for step in map(_table, steps if isinstance(steps, list) else ()):
        token, listed = step.get("token"), step.get("top_logprobs")
        if isinstance(token, str) and token.strip() and isinstance(listed, list):
            likely = {
                top["token"]: min(float(top["logprob"]), 0.0)
                for top in (*map(_table, listed), step)
                if isinstance(top.get("token"), str) and _is_number(top.get("logprob"))
            }
            return tuple(likely.items()) or None
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
