"""Removes a model's thoughts from its answer, so that a draft never counts as the answer.

Servers that parse thoughts send them in separate fields, which wire.py drops; here are those in the
text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# How models mark thoughts: Qwen, DeepSeek and GLM; LongCat; Seed; MiniMax; Mistral; Kimi; Cohere;
# OpenThinker; Gemma; MedGemma; Apertus.
TAGS = (
    *("think", "thinking", "thought", "thoughts", "reasoning"),
    *("analysis", "scratchpad", "reflection", "inner_monologue"),  # as prompts for others ask for
    *("cot", "chain_of_thought", "thinking_process", "thought_process", "reasoning_content"),
    *("longcat_think", "seed:think", "mm:think"),
)
PAIRS = (
    *((f"<{tag}>", f"</{tag}>") for tag in TAGS),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>", "<unused95>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
)
# Marks around the answer itself: GLM's box, OpenThinker's solution, Cohere's and Granite's
# response.
WRAPPERS = re.compile(
    r"<\|(?:begin|end)_of_(?:box|solution)\|>|<\|(?:START|END)_RESPONSE\|>|</?response>",
    re.IGNORECASE,
)
# gpt-oss (harmony): <|channel|>analysis<|message|>...<|end|>...<|channel|>final<|message|>answer
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start)\|>.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Marks:
    """Patterns of one pair of marks; `line` finds an opening mark at the start of a line."""

    opening: re.Pattern[str]
    closing: re.Pattern[str]
    line: re.Pattern[str]


def _marks(opening: str, closing: str) -> _Marks:
    """Patterns that ignore case and spaces before the ends of tags."""
    first, last = (re.sub(r"(?<=\w)>$", r"\\s?>", re.escape(mark)) for mark in (opening, closing))
    how = re.IGNORECASE | re.ASCII | re.MULTILINE
    return _Marks(*(re.compile(each, how) for each in (first, last, rf"^[ \t]*{first}")))


_MARKS = tuple(_marks(*pair) for pair in PAIRS)


def without_thoughts(text: str) -> str:
    """The text without thoughts, even unfinished ones, and without answer marks.

    A thought may lack its opening mark if the chat template puts it into the question.
    """
    text = WRAPPERS.sub("", _final_channel(text))
    for marks in _MARKS:
        text = _outside(text, marks)
    return text.strip()


def closing_mark(prompt: str) -> str:
    """The closing mark of a thought opened at the end of a prompt; "" if none is open."""
    end = prompt.rstrip().lower()
    return next((closing for opening, closing in PAIRS if end.endswith(opening.lower())), "")


def _outside(text: str, marks: _Marks) -> str:
    """The text outside these marks, in linear time."""
    kept, at = [], 0
    while opening := marks.opening.search(text, at):
        closing = marks.closing.search(text, opening.end())
        if closing is None:
            break
        kept.append(text[at : opening.start()])
        at = closing.end()
    text = "".join([*kept, text[at:]])
    text = text[max((closing.end() for closing in marks.closing.finditer(text)), default=0) :]
    # Within a line an opening mark may be part of the answer.
    begins = marks.line.search(text)
    return text[: begins.start()] if begins else text


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    final = next((c for c in reversed(channels) if c[1] == "final"), None)
    return _HARMONY_END.sub("", text[final.end() :]) if final else ""
