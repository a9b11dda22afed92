"""Request bodies for OpenAI-compatible servers; sends nothing.

Servers accept different parameters: an optional one that a server rejects (`refused_parameter`) is
left out of this and all later requests.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from ..pictures import to_rgb
from .interface import Question
from .server_errors import clean

RESPONSE_FORMATS = ("json_schema", "json_object")  # values of `response_format`, strictest first
TOP_LOGPROBS = 20  # alternatives per token; the maximum of OpenAI and vLLM
GREEDY: Mapping[str, Any] = {"temperature": 0, "seed": 0}
WITH_LOGPROBS: Mapping[str, Any] = {**GREEDY, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
MANY_LOGPROBS, FEW_LOGPROBS = "top_logprobs", 5  # if TOP_LOGPROBS is rejected; Fireworks' maximum
SYSTEM = "system"  # role of these messages
STREAM = "stream"  # on the list of rejected parameters: that it was not set
# Switches thinking off, for Ollama and OpenAI, and for vLLM and llama.cpp.
WITHOUT_THOUGHT: Mapping[str, Any] = {
    "reasoning_effort": "none",
    "chat_template_kwargs": {"enable_thinking": False},
}
# Fields by which a profile controls thinking.
THOUGHT_FIELDS = {*WITHOUT_THOUGHT, "reasoning", "think", "thinking", "enable_thinking"}
_GRAMMAR = re.compile(r"parse grammar|json[ _]schema|invalid schema", re.IGNORECASE)
# Some models, and some models that think, answer only in pieces.
_STREAM_ONLY = re.compile(
    r"only supports? (?:the )?stream|stream\W{0,4}(?:parameter )?must be (?:set to )?['\"`]?true"
    r"|non[- ]stream",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)|role.{0,30}system|roles must alternate"
    r"|system.{0,20}not supported",
    re.IGNORECASE,
)


def body(
    question: Question,
    model: str,
    parameters: Mapping[str, Any],
    refused: frozenset[str],
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The request's body without rejected parameters; fields of `extra` replace ours."""
    kept = {name: value for name, value in parameters.items() if name not in refused}
    if "logprobs" in refused:
        kept.pop("top_logprobs", None)
    elif "top_logprobs" in parameters and MANY_LOGPROBS in refused:
        kept["top_logprobs"] = FEW_LOGPROBS
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
            # json_object does not include the schema, and requires the word JSON in the messages.
            schema = json.dumps(question.schema)
            system = f"{system}\n\nAnswer with one JSON object of this JSON schema: {schema}"
        if form == "json_object":
            made["response_format"] = {"type": form}
    if STREAM in refused:
        made[STREAM] = True
    made["messages"] = list(_messages(question, system.strip(), SYSTEM in refused))
    return {**made, **extra}


def refused_parameter(sent: Mapping[str, Any], said: str) -> str | None:
    """The optional parameter to leave out after a 400 or 422; None if none is left."""
    form = _form(sent)
    return named_parameter(sent, said) or next(
        # Many servers do not say which parameter they reject.
        (name for name in (*WITHOUT_THOUGHT, form, "logprobs", "n") if name and _has(sent, name)),
        None,
    )


def named_parameter(sent: Mapping[str, Any], said: str) -> str | None:
    """The optional parameter named by a rejection; None if it names none that was sent."""
    return next(_named(sent, said), None)


def _named(sent: Mapping[str, Any], said: str) -> Iterator[str]:
    form = _form(sent)
    if STREAM not in sent and _STREAM_ONLY.search(said):
        yield STREAM
    if form and ("response_format" in said or _GRAMMAR.search(said)):
        yield form
    if "max_tokens" in sent and "max_completion_tokens" in said:
        yield "max_tokens"
    if _number(sent, "top_logprobs") > FEW_LOGPROBS and "top_logprobs" in said:
        yield MANY_LOGPROBS
    for name in (*WITHOUT_THOUGHT, "logprobs", "temperature", "seed"):
        if name in sent and name in said:
            yield name
    if _number(sent, "n") > 1 and re.search(r"""["'`]n["'`]""", said):
        yield "n"
    if sent["messages"][0]["role"] == "system" and _NO_SYSTEM.search(said):
        yield SYSTEM


def _form(sent: Mapping[str, Any]) -> str | None:
    form = sent.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    return kind if kind in RESPONSE_FORMATS else None


def _has(sent: Mapping[str, Any], name: str) -> bool:
    return _number(sent, "n") > 1 if name == "n" else name in (*sent, _form(sent))


def _number(sent: Mapping[str, Any], name: str) -> float:
    """A number of the request; 0 for anything else, which a profile's `extra` may hold."""
    value = sent.get(name)
    return value if isinstance(value, int | float) else 0


def _messages(question: Question, system: str, merged: bool) -> Iterator[dict[str, Any]]:
    """The messages; `merged`: system text above the question, as some templates require."""
    text = question.text
    if system and merged:
        text = f"{system}\n\n{text}"
    elif system:
        yield {"role": "system", "content": clean(system)}
    pictures = [
        {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images
    ]
    # Servers of text-only models refuse lists of parts.
    parts = [*pictures, {"type": "text", "text": clean(text)}] if pictures else clean(text)
    yield {"role": "user", "content": parts}


def _data_url(image: Image) -> str:
    png = io.BytesIO()
    to_rgb(image).save(png, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode('ascii')}"
