"""Removes what a model thought before its answer: a draft in a thought is never an answer.

Servers with a parser for thoughts send them in fields of their own, which wire.py leaves out; here
are those that stand in the text.
"""

from __future__ import annotations

import re

# How models mark thoughts: Qwen, DeepSeek and GLM; Mistral; Kimi; Seed; Cohere; Gemma.
TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
PAIRS = (
    *((f"<{tag}>", f"</{tag}>") for tag in TAGS),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
# Around an answer that is no thought: GLM's box, Cohere's and Granite's response.
WRAPPERS = re.compile(
    r"<\|(?:begin|end)_of_box\|>|<\|(?:START|END)_RESPONSE\|>|</?response>", re.IGNORECASE
)
# gpt-oss (harmony): <|channel|>analysis<|message|>...<|end|>...<|channel|>final<|message|>answer
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start)\|>.*", re.DOTALL)


def without_thoughts(text: str) -> str:
    """The text without thoughts, also an unfinished one, and without the marks of an answer.

    A thought may lack its opening mark, which some chat templates write into the question.
    """
    text = WRAPPERS.sub("", _final_channel(text))
    for opening, closing in PAIRS:
        text = _outside(text, opening, closing)
    return text.strip()


def closing_mark(prompt: str) -> str:
    """The mark that closes the thought with which a prompt ends; "" if it ends with none."""
    end = prompt.rstrip().lower()
    return next((closing for opening, closing in PAIRS if end.endswith(opening.lower())), "")


def _outside(text: str, opening: str, closing: str) -> str:
    """The text outside of these marks, in time linear in its length."""
    lower, opening, closing = text.lower(), opening.lower(), closing.lower()
    if len(lower) != len(text) or (opening not in lower and closing not in lower):
        return text  # lower case may be longer for rare signs, which no model's marks stand among
    kept, at = "", 0
    while (start := lower.find(opening, at)) >= 0:
        end = lower.find(closing, start)
        if end < 0:
            break
        kept, at = kept + text[at:start], end + len(closing)
    kept += text[at:]
    if (end := kept.lower().rfind(closing)) >= 0:
        kept = kept[end + len(closing) :]
    # Within a line it may be a word of the answer.
    begins = re.search(rf"^[ \t]*{re.escape(opening)}", kept, re.MULTILINE | re.IGNORECASE)
    return kept[: begins.start()] if begins else kept


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    final = next((c for c in reversed(channels) if c[1] == "final"), None)
    return _HARMONY_END.sub("", text[final.end() :]) if final else ""
