"""Answers as models write them, drawn from a seed, with what each of them means.

A truth is wrapped, slipped in or drowned in thoughts by up to three kinds of habits, and a third of
all answers means nothing: cut, undecided, out of range. `meant` is None for those.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from reflectionflow_core.vlm.thoughts import PAIRS


class Marked(BaseModel):
    """What is asked for where an object is."""

    model_config = ConfigDict(extra="forbid")
    mark: float = Field(ge=0, le=10)
    why: str
    lacks: list[str]


@dataclass(frozen=True)
class BrokenAnswer:
    """A model's text, the habits in it, and what it means: an object, a choice, or None."""

    text: str
    habits: tuple[str, ...]
    meant: Marked | str | None
    closed: bool  # answers yes or no


WHY = (
    "fine",
    "the cup’s rim",
    "50% red, half done",
    "das Glas fehlt",
    "圆在左边",
    "a 3/4 view",
    "ok",
)
LACKS = ("a second cup", "red, not blue", "the word “OPEN”", "左边的圆", "hands; feet")
YES_WORDS = ("yes", "Yes", "YES", "是", "是的", "Ja", "Oui", "Sí", "はい", "Да", "✅", "correct")
NO_WORDS = (
    "no",
    "No",
    "NO",
    "不是",
    "否",
    "Nein",
    "Non",
    "Não",
    "いいえ",
    "Нет",
    "❌",
    "incorrect",
)
Habit = Callable[[str, random.Random], str]


def drawn(seed: int, place: int) -> BrokenAnswer:
    """The answer at a place, always the same for a seed."""
    draw = random.Random(f"{seed} {place}")
    closed = draw.random() < 0.5
    if draw.random() < 1 / 3:
        kinds = NO_CHOICES if closed else NO_OBJECTS
        name = draw.choice(list(kinds))
        text = kinds[name](draw)
        outer = draw.sample(list(THOUGHTS), draw.randint(0, 1))
        return _wrapped(text, [name], outer, None, closed, draw)
    truth = draw.choice(("yes", "no")) if closed else _object(draw)
    text = _word(truth, draw) if isinstance(truth, str) else _dump(truth)
    slips = draw.sample(list(SLIPS), draw.randint(0, 2)) if not closed else []
    for name in slips:
        text = SLIPS[name](text, draw)
    inner = draw.sample(list(CLOSED if closed else AROUND), draw.randint(0, 1))
    outer = draw.sample(list(THOUGHTS), draw.randint(0, 1))
    return _wrapped(text, slips, [*inner, *outer], truth, closed, draw)


def _wrapped(
    text: str,
    habits: list[str],
    around: list[str],
    meant: Marked | str | None,
    closed: bool,
    draw: random.Random,
) -> BrokenAnswer:
    for name in around:
        kinds = CLOSED if closed and name in CLOSED else AROUND if name in AROUND else THOUGHTS
        text = kinds[name](text, draw)
    return BrokenAnswer(text, (*habits, *around), meant, closed)


def _object(draw: random.Random) -> Marked:
    lacks: list[str] = draw.sample(LACKS, draw.randint(0, 3))
    return Marked(mark=draw.randint(0, 10), why=draw.choice(WHY), lacks=lacks)


def _dump(told: Marked) -> str:
    table = {"mark": int(told.mark), "why": told.why, "lacks": told.lacks}
    return json.dumps(table, ensure_ascii=False)


def _word(truth: str, draw: random.Random) -> str:
    return draw.choice(YES_WORDS if truth == "yes" else NO_WORDS)


def _draft(draw: random.Random) -> str:
    """What a thought turns over in its mind."""
    return draw.choice((_dump(_object(draw)), "Yes?", "no, wait", "{mark: 3", "Answer: yes", "是"))


def _mark(replacement: str) -> Habit:
    return lambda text, _: re.sub(r'"mark": (\d+)(?=,)', replacement, text)


_NEXT = re.compile(r",\s*(?=[\"“]?(?:why|lacks|Lacks)\b)")  # between two fields


def _raw_newline(text: str, draw: random.Random) -> str:
    del draw
    return text.replace("half done", "half\ndone").replace("the cup", "the\ncup")


def _comment(text: str, draw: random.Random) -> str:
    comment = draw.choice((" // as seen\n", " /* {so} */ ", " # sure\n"))
    return _NEXT.sub(f",{comment}", text, count=1)


def _curly(text: str, draw: random.Random) -> str:
    del draw
    return re.sub(r'"(mark|why|lacks)"', r"“\1”", text)


def _bare(text: str, draw: random.Random) -> str:
    del draw
    return re.sub(r'"(mark|why|lacks)":', r"\1:", text)


# Slips within an object that leave its meaning.
SLIPS: dict[str, Habit] = {
    "trailing comma": lambda text, _: text.rstrip().removesuffix("}") + ",}",
    "raw line break": _raw_newline,
    "comment": _comment,
    "curly quotes": _curly,
    "names without quotes": _bare,
    "full-width colons": lambda text, _: re.sub(r'(mark|why|lacks)(["”]?):', r"\1\2：", text),
    "number as text": _mark(r'"mark": "\1"'),
    "n/10": _mark(r'"mark": "\1/10"'),
    "n/10 bare": _mark(r'"mark": \1/10'),
    "n out of 10": _mark(r'"mark": "\1 out of 10"'),
    "n.0": _mark(r'"mark": \1.0'),
    "upper-case names": lambda text, _: text.replace("mark", "Mark", 1).replace(
        "lacks", "Lacks", 1
    ),
    "indented": lambda text, _: _NEXT.sub(",\n    ", text),
}
# What stands around an answer of an object.
AROUND: dict[str, Habit] = {
    "fence": lambda text, _: f"```json\n{text}\n```",
    "fence without a name": lambda text, _: f"Sure!\n```\n{text}\n```\n",
    "prose": lambda text, _: f"Here it is: {text} I hope {{this}} helps.",
    "bold": lambda text, _: f"**{text}**",
    "tag": lambda text, _: f"<answer>{text}</answer>",
    "in an object": lambda text, _: f'{{"answer": {text}}}',
    "in a list": lambda text, _: f"[{text}]",
    "draft before": lambda text, draw: f"First: {_dump(_object(draw))}\nBetter: {text}",
    "byte order mark": lambda text, _: f"\ufeff{text}",
    "braces before": lambda text, _: f"{{{{ {{x}} {{{text}",
}
# What stands around a closed answer.
CLOSED: dict[str, Habit] = {
    "full stop": lambda text, _: f"{text}.",
    "bold": lambda text, _: f"**{text}**",
    "code": lambda text, _: f"`{text}`",
    "quoted": lambda text, _: f'"{text}"',
    "tag": lambda text, _: f"<answer>{text}</answer>",
    "boxed": lambda text, _: f"\\boxed{{{text}}}",
    "boxed text": lambda text, _: f"$\\boxed{{\\text{{{text}}}}}$",
    "answer:": lambda text, _: f"Answer: {text}",
    "the answer is": lambda text, _: f"The answer is {text}.",
    "答案": lambda text, _: f"答案：{text}。",
    "reason after": lambda text, _: f"{text}. The cup stands on the left of the plate.",
    "reason before": lambda text, _: f"The cup stands on the left of the plate.\n\n{text}",
    "JSON": lambda text, _: json.dumps({"answer": text}, ensure_ascii=False),
    "line breaks": lambda text, _: f"\n\n {text} \n",
}


def _thought(opening: str, closing: str) -> Habit:
    def habit(text: str, draw: random.Random) -> str:
        return f"{opening}\nHm. {_draft(draw)} But no.\n{closing}\n\n{text}"

    return habit


def _opened_elsewhere(text: str, draw: random.Random) -> str:
    return f"Hm. {_draft(draw)} But no.\n</think>\n{text}"


def _harmony(text: str, draw: random.Random) -> str:
    thought = f"<|channel|>analysis<|message|>{_draft(draw)}<|end|>"
    return f"{thought}<|start|>assistant<|channel|>final<|message|>{text}"


def _two_thoughts(text: str, draw: random.Random) -> str:
    first, second = _draft(draw), _draft(draw)
    return f"<think>{first}</think>\n<think>{second}</think>\n{text}"


THOUGHTS: dict[str, Habit] = {
    **{f"thought in {opening}": _thought(opening, closing) for opening, closing in PAIRS},
    "thought that the template opens": _opened_elsewhere,
    "two thoughts": _two_thoughts,
    "harmony": _harmony,
    "box": lambda text, _: f"<|begin_of_box|>{text}<|end_of_box|>",
}
Nothing = Callable[[random.Random], str]


def _cut(draw: random.Random) -> str:
    text = _dump(_object(draw))
    return text[: draw.randint(1, len(text) - 1)]


def _with(name: str, value: str) -> Nothing:
    def changed(draw: random.Random) -> str:
        table = {"mark": "5", "why": '"fine"', "lacks": "[]", name: value}
        return "{" + ", ".join(f'"{key}": {said}' for key, said in table.items()) + "}"

    return changed


def _lacking(draw: random.Random) -> str:
    table = json.loads(_dump(_object(draw)))
    del table[draw.choice(list(table))]
    return json.dumps(table)


def _unclosed(draw: random.Random) -> str:
    opening = draw.choice([opening for opening, _ in PAIRS])
    return f"{opening}\nPerhaps {_draft(draw)}, but let me look again"


# What means no object.
NO_OBJECTS: dict[str, Nothing] = {
    "cut": _cut,
    "draft, then cut": lambda draw: f"First: {_dump(_object(draw))}\nBetter: {_cut(draw)}",
    "field missing": _lacking,
    "out of range": _with("mark", "70"),
    "below the range": _with("mark", "-3"),
    "share of another whole": _with("mark", '"3/5"'),
    "word for a number": _with("mark", '"high"'),
    "two numbers": _with("mark", '"3 or 4"'),
    "range of numbers": _with("mark", '"3-4"'),
    "NaN": _with("mark", "NaN"),
    "infinite": _with("mark", "1e999"),
    "true for a number": _with("mark", "true"),
    "null": _with("mark", "null"),
    "number for a list": _with("lacks", "3"),
    "unknown field": _with("surprise", "1"),
    "only a thought": _unclosed,
    "nothing behind a thought": lambda draw: f"<think>{_draft(draw)}</think>",
    "prose": lambda _: "I see a red cup and would give it eight of ten.",
    "refusal": lambda _: "I'm sorry, but I can't help with that.",
    "empty": lambda _: "",
    "list of numbers": lambda _: "[9, 8, 7]",
    "schema": lambda _: json.dumps(Marked.model_json_schema()),
    "nested deeply": lambda draw: '{"mark":' * draw.randint(50, 3000),
}
BOTH = ("yes or no", "Yes/No", "yes and no", "是或否", "**Yes** / **No**", "✅ / ❌")
UNDECIDED = ("maybe", "unsure", "I cannot tell.", "Perhaps", "不确定", "vielleicht")
ALIKE = ("notable", "Yesterday it rained", "nothing", "note", "Japan", "Sister", "jam")
# What means neither yes nor no.
NO_CHOICES: dict[str, Nothing] = {
    "both": lambda draw: draw.choice(
        ("yes or no", "Yes/No", "yes and no", "是或否", "**Yes** / **No**")
    ),
    "undecided": lambda draw: draw.choice(
        ("maybe", "unsure", "I cannot tell.", "Perhaps", "不确定")
    ),
    "begins like one": lambda draw: draw.choice(
        ("notable", "Yesterday it rained", "nothing", "note")
    ),
    "question": lambda _: "Is the answer hidden somewhere?",
    "prose": lambda _: "The picture shows a red cup on a table.",
    "refusal": lambda _: "I'm sorry, but I can't help with that.",
    "only a thought": _unclosed,
    "nothing behind a thought": lambda draw: f"<think>{_draft(draw)}</think>",
    "empty": lambda _: "",
    "number": lambda draw: str(draw.randint(0, 10)),
}
