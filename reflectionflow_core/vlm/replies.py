"""Reads the responses of OpenAI-compatible servers in their various forms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from .closed import certain_text
from .likelihoods import AnswerToken, tokens_of
from .server_errors import as_table, clean, parsed, parsed_events
from .thoughts import without_thoughts

TOO_SHORT = "reached the limit of tokens before it began to answer"
MAX_TOKENS = 10**9  # highest plausible count of tokens; larger ones are ignored
THOUGHT_ONLY = "thought, and gave no answer"
NO_JSON = "answered with something that is not JSON"
NO_COMPLETION = "answered with JSON that is not a chat completion"
CUT = ("length", "max_tokens", "model_length")  # finish reasons of answers that were cut
FILTERED = ("content_filter", "safety", "sensitive")
THOUGHTS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_details",
)  # fields of messages with thoughts


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed response; without texts, `problem` gives the reason.

    * `texts`: without thoughts. `doubtful` says of each whether it was cut without a thought before
      it, so that it may itself be a thought.
    * `tokens`: those of the first text, with alternatives; () if not given.
    * `thought`: whether the model was seen thinking; `was_cut`: whether the first text hit the
      token limit.
    * `declined`: the model's refusal in its own words.
    """

    texts: tuple[str, ...] = ()
    tokens: tuple[AnswerToken, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problem: str = ""
    thought: bool = False
    was_cut: bool = False
    declined: str = ""
    doubtful: tuple[bool, ...] = ()

    def certain(self, choices: Sequence[str]) -> list[str]:
        """The texts, each as far as it answers a closed question."""
        pairs = zip(self.texts, self.doubtful, strict=True)
        return [certain_text(text, choices, cut) for text, cut in pairs]


def read(raw: bytes) -> Reply:
    """The reply in a response's body, which may contain anything."""
    found = parsed(raw)
    if found is None and (events := parsed_events(raw)):
        found = _from_events(events)
    if found is None:
        return Reply(problem=NO_JSON)
    if not isinstance(found, dict):
        return Reply(problem=NO_COMPLETION)
    usage = as_table(found.get("usage"))
    counts = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    listed = found.get("choices")
    choices = [as_table(choice) for choice in listed] if isinstance(listed, list) else []
    if not choices:
        return Reply((), (), *counts, problem=NO_COMPLETION)
    written = list(map(_written, choices))
    said = [
        (text, c, w) for c, w in zip(choices, written, strict=True) if (text := without_thoughts(w))
    ]
    texts = tuple(text for text, _, _ in said)
    declined = _declined(choices[0])
    return Reply(
        texts,
        tokens_of(without_thoughts(written[0]), _tokens(choices[0])),
        *counts,
        problem="" if texts else _why_empty(choices[0], declined),
        thought=any(map(_thinks, choices)) or any(map(_holds_thought, written)),
        was_cut=_is_cut(choices[0]),
        declined=declined,
        doubtful=tuple(_is_cut(c) and not _thinks(c) and not _holds_thought(w) for _, c, w in said),
    )


def _written(choice: Mapping[str, Any]) -> str:
    """What the model wrote, also as parts of a message or as tool arguments."""
    message = as_table(choice.get("message"))
    text = _text(message.get("content")) or _text(choice.get("text"))
    return text if text.strip() else _arguments(message)


def _text(content: object) -> str:
    """The text of a content: a string, or parts without those for thoughts."""
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, dict):
        kind = content.get("type", "text")
        return _text(content.get("text")) if kind in ("text", "output_text") else ""
    return "".join(map(_text, content)) if isinstance(content, list) else ""


def _arguments(message: Mapping[str, Any]) -> str:
    """The arguments of a tool that the model called instead of writing the object."""
    calls = message.get("tool_calls")
    tools = [as_table(call).get("function") for call in calls] if isinstance(calls, list) else []
    for tool in (*tools, message.get("function_call")):
        arguments = as_table(tool).get("arguments")
        if isinstance(arguments, dict):
            return json.dumps(arguments)
        if isinstance(arguments, str) and arguments.strip():
            return clean(arguments)
    return ""


def _thinks(choice: Mapping[str, Any]) -> bool:
    message = as_table(choice.get("message"))
    parts = message.get("content")
    kinds = [as_table(part).get("type") for part in parts] if isinstance(parts, list) else []
    return any(message.get(name) for name in THOUGHTS) or "thinking" in kinds


def _is_cut(choice: Mapping[str, Any]) -> bool:
    return _reason(choice) in CUT


def _reason(choice: Mapping[str, Any]) -> str:
    return str(choice.get("finish_reason")).lower()


def _holds_thought(text: str) -> bool:
    return len(without_thoughts(text)) < len(text.strip())


def _declined(choice: Mapping[str, Any]) -> str:
    refusal = as_table(choice.get("message")).get("refusal")
    return clean(refusal) if isinstance(refusal, str) else ""


def _why_empty(choice: Mapping[str, Any], declined: str) -> str:
    if declined:
        return "declined to answer"
    if _is_cut(choice):
        return TOO_SHORT
    if _reason(choice) in FILTERED:
        return "was stopped by its filter of contents"
    return THOUGHT_ONLY if _thinks(choice) else "gave an empty answer"


def _tokens(choice: Mapping[str, Any]) -> tuple[AnswerToken, ...]:
    steps = as_table(choice.get("logprobs")).get("content")
    read = [_token(as_table(step)) for step in (steps if isinstance(steps, list) else ())]
    tokens = tuple(token for token in read if token)
    return tokens if any(token.rivals for token in tokens) else ()


def _token(step: Mapping[str, Any]) -> AnswerToken | None:
    text, listed = step.get("token"), step.get("top_logprobs")
    if not isinstance(text, str):
        return None
    likely = {
        top["token"]: float(top["logprob"])
        for top in (*map(as_table, listed if isinstance(listed, list) else ()), step)
        if isinstance(top.get("token"), str) and is_number(top.get("logprob"))
    }
    # Without the token itself its rivals would be all there is.
    return AnswerToken(text, tuple(likely.items()) if text in likely else ())


def _from_events(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The completion from events that a server streamed without being asked to."""
    deltas = list(map(_first_choice, events))
    texts = [_text(as_table(choice.get("delta")).get("content")) for choice in deltas]
    reasons = [r for choice in deltas if (r := choice.get("finish_reason"))]
    message = {"role": "assistant", "content": "".join(texts)}
    return {"choices": [{"message": message, "finish_reason": reasons[-1] if reasons else None}]}


def _first_choice(found: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = found.get("choices")
    return as_table(choices[0]) if isinstance(choices, list) and choices else {}


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0
