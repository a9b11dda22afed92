"""Removes what a model thought before its answer: a draft in a thought is never an answer.

Servers with a parser for thoughts send them in fields of their own, which wire.py leaves out; here
are those that stand in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# How models mark thoughts: Qwen, DeepSeek and GLM; LongCat; Seed; MiniMax; Mistral; Kimi; Cohere;
# OpenThinker; Gemma; MedGemma.
TAGS = (
    *("think", "thinking", "thought", "thoughts", "reasoning"),
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
)
# Around an answer that is no thought: GLM's box, OpenThinker's solution, Cohere's and Granite's
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
    """Patterns of one pair of marks; `line` finds an opening at the beginning of a line."""

    opening: re.Pattern[str]
    closing: re.Pattern[str]
    line: re.Pattern[str]


def _marks(opening: str, closing: str) -> _Marks:
    """In any case, and with spaces before the ends of tags; the text itself stays as it is."""
    first, last = (re.sub(r"(?<=\w)>$", r"\\s?>", re.escape(mark)) for mark in (opening, closing))
    how = re.IGNORECASE | re.ASCII | re.MULTILINE
    return _Marks(*(re.compile(each, how) for each in (first, last, rf"^[ \t]*{first}")))


_MARKS = tuple(_marks(*pair) for pair in PAIRS)


def without_thoughts(text: str) -> str:
    """The text without thoughts, also an unfinished one, and without the marks of an answer.

    A thought may lack its opening mark, which some chat templates write into the question.
    """
    text = WRAPPERS.sub("", _final_channel(text))
    for marks in _MARKS:
        text = _outside(text, marks)
    return text.strip()


def closing_mark(prompt: str) -> str:
    """The mark that closes the thought with which a prompt ends; "" if it ends with none."""
    end = prompt.rstrip().lower()
    return next((closing for opening, closing in PAIRS if end.endswith(opening.lower())), "")


def _outside(text: str, marks: _Marks) -> str:
    """The text outside of these marks, in time linear in its length."""
    kept, at = [], 0
    while opening := marks.opening.search(text, at):
        closing = marks.closing.search(text, opening.end())
        if closing is None:
            break
        kept.append(text[at : opening.start()])
        at = closing.end()
    text = "".join([*kept, text[at:]])
    text = text[max((closing.end() for closing in marks.closing.finditer(text)), default=0) :]
    # Within a line an opening may be a word of the answer.
    begins = marks.line.search(text)
    return text[: begins.start()] if begins else text


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    final = next((c for c in reversed(channels) if c[1] == "final"), None)
    return _HARMONY_END.sub("", text[final.end() :]) if final else ""
