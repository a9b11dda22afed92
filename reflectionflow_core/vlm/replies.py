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
# Parts of finish reasons, such as "content_filter: PROHIBITED_CONTENT".
FILTERED = ("filter", "safety", "sensitive", "refusal", "prohibited", "blocklist", "recitation")
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
    declined = _refusal(as_table(choices[0].get("message")))
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
    content = message.get("content")
    is_read = isinstance(content, dict) and "text" not in content and "type" not in content
    if is_read or isinstance(content, bool | int | float):  # by a server that reads JSON
        content = json.dumps(content)
    text = _text(content) or _text(choice.get("text"))
    if text.strip() and "{" in text:
        return text
    return f"{text}\n{_arguments(message)}" if text.strip() else _arguments(message)


def _text(content: object) -> str:
    """The text of a content: a string, or parts without those for thoughts."""
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, dict):
        kind, text = content.get("type", "text"), content.get("text")
        is_answer = kind in ("text", "output_text") and not content.get("thought")
        return _text(text.get("value") if isinstance(text, dict) else text) if is_answer else ""
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
    return any(message.get(name) for name in THOUGHTS) or any(
        part.get("thought") or part.get("type") in THOUGHTS for part in _parts(message)
    )


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [as_table(part) for part in content] if isinstance(content, list) else []


def _is_cut(choice: Mapping[str, Any]) -> bool:
    return _reason(choice) in CUT


def _reason(choice: Mapping[str, Any]) -> str:
    return str(choice.get("finish_reason")).lower()


def _holds_thought(text: str) -> bool:
    return len(without_thoughts(text)) < len(text.strip())


def _refusal(message: Mapping[str, Any]) -> str:
    said = [part.get("refusal") for part in (message, *_parts(message))]
    return clean(next((words for words in said if isinstance(words, str)), ""))


def _why_empty(choice: Mapping[str, Any], declined: str) -> str:
    if declined:
        return "declined to answer"
    if _is_cut(choice):
        return TOO_SHORT
    if any(part in _reason(choice) for part in FILTERED):
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
    return AnswerToken(text, tuple(likely.items()) if _is_plausible(likely, text) else ())


def _is_plausible(scores: Mapping[str, float], written: str) -> bool:
    """Whether scores of tokens are log-probabilities or logits, and include the written token.

    Otherwise they are fillers (0 for each) or have another sign, by which "yes" would mean "no".
    """
    if written not in scores:
        return False
    highest = max(scores.values())
    if highest > 0:  # logits, of which greedy decoding takes the highest
        return scores[written] == highest
    return sum(map(math.exp, scores.values())) < 1.1  # rounded


def _from_events(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The completion from events that a server streamed; several answers arrive interleaved."""
    pieces: dict[int, list[Mapping[str, Any]]] = {}
    usage: object = None
    for event in events:
        usage = event.get("usage") or usage
        listed = event.get("choices")
        for choice in map(as_table, listed if isinstance(listed, list) else ()):
            pieces.setdefault(_count(choice.get("index")), []).append(choice)
    return {"choices": [_joined(pieces[index]) for index in sorted(pieces)], "usage": usage}


def _joined(pieces: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One choice from its pieces: deltas, or else the last whole message."""
    deltas = [as_table(piece.get("delta")) for piece in pieces]
    contents = [content for delta in deltas if (content := delta.get("content"))]
    arguments = "".join(map(_arguments, deltas))
    message: dict[str, Any] = {
        "content": [part for c in contents for part in (c if isinstance(c, list) else [c])],
        "function_call": {"arguments": arguments},
        "refusal": "".join(map(_refusal, deltas)),
        **{name: True for name in THOUGHTS if any(delta.get(name) for delta in deltas)},
    }
    wholes = [whole for piece in pieces if (whole := as_table(piece.get("message")))]
    if wholes and not contents and not arguments:
        message = {**message, **wholes[-1]}
    steps = [as_table(piece.get("logprobs")).get("content") for piece in pieces]
    return {
        "message": message,
        "finish_reason": next((r for p in reversed(pieces) if (r := p.get("finish_reason"))), None),
        "logprobs": {"content": [s for some in steps if isinstance(some, list) for s in some]},
    }


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value from JSON is a finite number that fits into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0
