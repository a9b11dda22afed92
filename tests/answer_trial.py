"""Thousands of broken answers through all three doors: a server, a model on this machine, and
ComfyUI's text generation; and what was read of each.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from broken_answers import BrokenAnswer, Marked, drawn
from pack import module, pack
from vlm_server import MODEL, Asked, Reply, VlmServer, says

from reflectionflow_core.vlm import answers
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Question, Usage
from reflectionflow_core.vlm.local import LocalVlm
from reflectionflow_core.vlm.local_settings import LocalSettings
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

DOORS = ("endpoint", "local", "ComfyUI")
OUTCOMES = ("read", "refused rightly", "refused, though readable", "wrong", "crash")
YES_NO = ("yes", "no")
LIMITS = RequestLimits(8, seconds=60, tries=2, pause=0.002, longest_pause=0.01)
BATCH = 100  # answers of one endpoint, which remembers what its server does
WORD = re.compile(r"\s*[^\W\d_]+|\s*\S|\s+")  # a token, with the space before it
PLACE = re.compile(r"number (\d+)")


@dataclass
class Result:
    """How many answers had each outcome, by door and habit, and the answers that went wrong."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    habits: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[tuple[str, BrokenAnswer, object]] = field(default_factory=list)

    def total(self, outcome: str) -> int:
        return sum(count for (_, name), count in self.outcomes.items() if name == outcome)

    def add(self, door: str, answer: BrokenAnswer, read: object) -> None:
        outcome = judged(answer, read)
        self.outcomes[door, outcome] += 1
        for habit in answer.habits or ("none",):
            self.habits[habit, outcome] += 1
        if outcome in OUTCOMES[2:]:
            self.faults.append((door, answer, read))


def judged(answer: BrokenAnswer, read: object) -> str:
    """The outcome: what was read against what was meant."""
    if isinstance(read, BaseException):
        return "crash"
    if type(read).__name__ == "Failure":
        return "refused rightly" if answer.meant is None else "refused, though readable"
    if isinstance(read, tuple):
        read = YES_NO[0] if read[0] > read[1] else YES_NO[1]
    same = json.dumps(_plain(read)).replace("\\n", " ") == json.dumps(_plain(answer.meant))
    return "read" if answer.meant is not None and same else "wrong"


def _plain(value: object) -> object:
    return value.model_dump() if isinstance(value, Marked) else value


def trial(count: int, seed: int = 0) -> Result:
    """Asks `count` questions, each through one of the doors."""
    result = Result()
    reciters = {"endpoint": through_endpoint, "local": through_local, "ComfyUI": through_comfy}
    for door, through in zip(DOORS, reciters.values(), strict=True):
        places = range(DOORS.index(door), count, len(DOORS))
        for start in range(0, len(places), BATCH):
            asked = {place: drawn(seed, place) for place in places[start : start + BATCH]}
            for place, read in through(asked).items():
                result.add(door, asked[place], read)
    return result


Reads = dict[int, object]


def _asked(
    vlm: Any, made: type, ask: Callable[..., Any], table: dict[int, BrokenAnswer]
) -> dict[int, object]:
    """What is read of each answer, asked all at once, or one by one if that crashes."""
    found: Reads = {}
    for closed in (True, False):
        places = [place for place, answer in table.items() if answer.closed is closed]

        def put(some: Sequence[int], closed: bool = closed) -> list[Any]:
            questions = [made(f"number {place}", max_tokens=4000) for place in some]
            return vlm.choose(questions, YES_NO) if closed else ask(vlm, questions, Marked)

        try:
            found.update(zip(places, put(places), strict=True))
        except Exception:
            for place in places:
                try:
                    (found[place],) = put([place])
                except Exception as crash:
                    found[place] = crash
    return found


def through_endpoint(table: dict[int, BrokenAnswer]) -> Reads:
    """Half of the answers come with log-probabilities of their tokens."""

    def script(asked: Asked) -> Reply:
        place = _place(asked.text)
        text = table[place].text
        reply = says(*[text] * asked.body.get("n", 1))
        if place % 2 or not asked.body.get("logprobs"):
            return reply
        body = json.loads(reply.body)
        body["choices"][0]["logprobs"] = {"content": list(_tokens(text))}
        return Reply(json.dumps(body).encode())

    with VlmServer(script) as server:
        vlm = Endpoint(Profile("mine", server.url, "", MODEL), LIMITS)
        return _asked(vlm, Question, answers.ask, table)


def _tokens(text: str) -> Iterator[dict[str, Any]]:
    """Words with the space before them, each nearly sure; the others say yes or no at random."""
    for word in WORD.findall(text):
        noise = [{"token": t, "logprob": p} for t, p in (("yes", -9.1), ("no", -9.0))]
        yield {"token": word, "logprob": -0.01, "top_logprobs": noise}


def through_local(table: dict[int, BrokenAnswer]) -> Reads:
    return _asked(_Reciter(table), Question, answers.ask, table)


class _Reciter(LocalVlm):
    """A local model without weights: its tokens are characters, written as they are scripted."""

    def __init__(self, table: dict[int, BrokenAnswer]) -> None:
        self.table, self.settings, self.usage = table, LocalSettings(), Usage()
        self.ends, self.context, self.grammars, self.shares = [0], 100_000, None, False
        self.placement = SimpleNamespace(
            on_device=lambda _: torch.no_grad(), device=torch.device("cpu")
        )
        self.model, self._begun, self._keeps = None, None, False
        tokenizer = SimpleNamespace(
            decode=lambda tokens, **_: "".join(map(chr, tokens)).replace("\0", ""),
            all_special_tokens=[],
            added_tokens_decoder={},
        )
        self.processor = SimpleNamespace(tokenizer=tokenizer)

    def _row(self, question: Question) -> list[int]:
        return list(map(ord, self.table[_place(question.text)].text))

    def _generated(self, asked: Any, indices: Any, progress: Any) -> list[list[int]]:
        return [[*self._row(question)[: question.max_tokens - 1], 0] for question in asked]

    def _weighed(
        self, questions: Any, choices: Any, weigh: Any, progress: Any, phase: Any
    ) -> list[Any]:
        return [None] * len(questions)

    def _reader(self, asked: Any, room: int) -> Any:
        row = self._row(asked[0])

        def read(prefix: Sequence[int]) -> Any:
            logits = torch.full((1, max([*row, 127]) + 1), -20.0)
            logits[0, row[len(prefix)] if len(prefix) < len(row) else 0] = 20.0
            return logits

        return read


def through_comfy(table: dict[int, BrokenAnswer]) -> Reads:
    """ComfyUI's part alone is scripted: a CLIP whose tokens are words."""
    vlm = comfy_text().ComfyVlm(_Clip(table))
    core = importlib.import_module(f"{pack().__name__}.reflectionflow_core.vlm.answers")
    return _asked(vlm, core.Question, core.ask, table)


class _Clip:
    def __init__(self, table: dict[int, BrokenAnswer]) -> None:
        self.table = table
        self.words: list[str] = []

    def tokenize(self, text: str, **_: Any) -> int:
        return _place(text)

    def generate(self, tokens: int, max_length: int, **_: Any) -> list[int]:
        words = WORD.findall(self.table[tokens].text)[:max_length]
        self.words += words
        return list(range(len(self.words) - len(words), len(self.words)))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[index] for index in ids)


def comfy_text() -> ModuleType:
    """nodes/comfy/text.py; of ComfyUI it needs the names of an exception and a class."""
    if "comfy" not in sys.modules:
        management = ModuleType("comfy.model_management")
        management.OOM_EXCEPTION = torch.OutOfMemoryError  # type: ignore[attr-defined]
        patcher = ModuleType("comfy.model_patcher")
        patcher.ModelPatcher = object  # type: ignore[attr-defined]
        comfy = ModuleType("comfy")
        comfy.model_management = management  # type: ignore[attr-defined]
        sys.modules |= {module.__name__: module for module in (comfy, management, patcher)}
    return module("comfy.text")


def _place(text: str) -> int:
    found = PLACE.search(text)
    assert found
    return int(found[1])


def table(result: Result) -> Iterator[str]:
    """As Markdown: a line a door, then a line a habit."""
    for title, counts in (("door", result.outcomes), ("habit", result.habits)):
        yield f"| {title} | {' | '.join(OUTCOMES)} |"
        yield f"|---|{'---|' * len(OUTCOMES)}"
        for name in dict.fromkeys(name for name, _ in counts):
            yield f"| {name} | {' | '.join(str(counts[name, o]) for o in OUTCOMES)} |"
        yield ""
