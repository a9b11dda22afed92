"""Finds out with a few questions about plain pictures what a vision-language model can do.

A model is blind if its answers about two single-colour pictures carry no information about them.
This works for any Vlm; `server_probe` finds out more about a server.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from PIL import Image

from ..protocols import SILENT, Progress
from .interface import ExactVlm, Failure, Question, Vlm
from .thoughts import WRAPPERS, without_thoughts

COLOURS = {
    "red": (210, 30, 30),
    "blue": (30, 50, 210),
    "green": (30, 150, 60),
    "yellow": (240, 215, 30),
}
SIDE = 224  # side of a plain picture in pixels
ONE = (
    "The picture is filled with one plain colour. Which one is it: red, blue, green or yellow? "
    "Answer with that word alone."
)
SEVERAL = (
    "Each picture is filled with one plain colour: red, blue, green or yellow. Name the colours of "
    "the pictures in their order, with commas between them, and nothing else."
)
LOCAL_TOKENS = 256  # tokens of an answer; enough to see whether a local model thinks
TEXT_ONLY = Question("Answer with the word yes alone.", max_tokens=LOCAL_TOKENS)
# Does not mention JSON: only a server that uses the schema answers with an object.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": list(COLOURS)}},
    "required": ["colour"],
    "additionalProperties": False,
}
# Chinese models sometimes answer in Chinese.
CHINESE = {"红": "red", "紅": "red", "蓝": "blue", "藍": "blue", "绿": "green", "綠": "green"}
CHINESE |= {"黄": "yellow", "黃": "yellow"}
WORDS = re.compile(rf"\b(?:{'|'.join(COLOURS)})\b|[{''.join(CHINESE)}]", re.IGNORECASE)
MOST = 4  # numbers of pictures per question that are tried
ADVANTAGE = 0.2  # minimum difference in the right colour's probability between the pictures
SILENT_TOKENS = 32  # tokens beyond four per written word count as a thought


@dataclass(frozen=True, slots=True)
class JudgeFindings:
    """Findings about a model; None: unknown. With a `problem` (one sentence) nearly all is unknown.

    * `sure`: mean probability (0 to 1) of the right colours.
    * `log_probabilities`: number of likeliest tokens it gives; -1 for a local model, which gives
      all.
    * `schema`: the `response_format` it complies with, or "".
    * `answers`, `pictures`: how many a question may have, tested up to 2 and 4.
    * `seconds` per question; `price` per question as the server states it, in its own currency.
    * `calls`: requests used to find this out.
    """

    problem: str = ""
    sees: bool | None = None
    sure: float | None = None
    thinks: bool | None = None
    log_probabilities: int | None = None
    schema: str | None = None
    answers: int | None = None
    pictures: int | None = None
    seconds: float | None = None
    price: float | None = None
    calls: int = 0

    def data(self) -> dict[str, Any]:
        """JSON values without unknown ones."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return known if self.problem else {n: known[n] for n in known if n != "problem"}


def findings_from(data: object) -> JudgeFindings | None:
    """The findings in `JudgeFindings.data`; None for anything else."""
    known = {f.name for f in fields(JudgeFindings)}
    if not isinstance(data, Mapping) or not data.keys() <= known:
        return None
    kinds = {"problem": str, "schema": str, "sees": bool, "thinks": bool}
    for name, value in data.items():
        kind = kinds.get(name, (int, float))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return None
    return JudgeFindings(**data)


def plain_picture(colour: str) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), COLOURS[colour])


def plain_question(
    *colours: str, schema: Mapping[str, Any] | None = None, max_tokens: int = LOCAL_TOKENS
) -> Question:
    pictures = tuple(map(plain_picture, colours))
    text = ONE if len(colours) == 1 else SEVERAL
    return Question(text, pictures, schema=schema, max_tokens=max_tokens)


def colours_in(text: str) -> list[str]:
    """The colours named in a text, in order."""
    return [CHINESE.get(word) or word.lower() for word in WORDS.findall(text)]


def tells_two(of_red: str, of_blue: str) -> bool:
    """Whether texts about a red and a blue picture name them, both first or both last.

    Models write "Red (not blue)", and "Of red, blue, green and yellow it is red".
    """
    red, blue = colours_in(of_red), colours_in(of_blue)
    # A blind model says the same about both.
    return bool(red and blue) and ("red", "blue") in ((red[0], blue[0]), (red[-1], blue[-1]))


def fits_schema(text: str, colour: str) -> bool:
    """Whether a text is exactly the requested JSON object."""
    try:
        return json.loads(text) == {"colour": colour}
    except (ValueError, RecursionError):
        return False


def pictures_told(text: str, colours: Sequence[str]) -> int:
    """The number of pictures named correctly before the first mistake."""
    told = 0
    for said, true in zip(colours_in(text), colours, strict=False):
        if said != true:
            break
        told += 1
    return told


def probe_by_questions(vlm: Vlm, progress: Progress = SILENT) -> JudgeFindings:
    """The findings about a model by questions that every Vlm answers."""
    before, began = vlm.usage, time.monotonic()
    two = [plain_question("red"), plain_question("blue")]
    chances = vlm.choose(two, list(COLOURS), progress, "probe")
    for chance in chances:
        if isinstance(chance, Failure):
            return JudgeFindings(problem=chance.reason, calls=vlm.usage.calls - before.calls)
    of_red, of_blue = (dict(zip(COLOURS, c, strict=True)) for c in chances if isinstance(c, tuple))
    seconds = (time.monotonic() - began) / len(two)
    spent = vlm.usage.completion_tokens
    told = [plain_question(*list(COLOURS)[:2]), plain_question("green", schema=SCHEMA)]
    said = ["" if isinstance(a, Failure) else a for a in vlm.chat(told, progress, "probe")]
    pair, formed = map(without_thoughts, said)
    tokens = vlm.usage.completion_tokens - spent
    return JudgeFindings(
        sees=sees_two(of_red, of_blue),
        sure=(of_red["red"] + of_blue["blue"]) / 2,
        thinks=any(map(holds_thoughts, said)) or thought(f"{pair} {formed}", tokens),
        log_probabilities=-1 if isinstance(vlm, ExactVlm) else None,
        schema="json_schema" if fits_schema(formed, "green") else "",
        pictures=max(1, pictures_told(pair, list(COLOURS)[:2])),
        seconds=seconds,
        calls=vlm.usage.calls - before.calls,
    )


def probe_texts(vlm: Vlm, progress: Progress = SILENT) -> JudgeFindings:
    """Whether a model that is shown no pictures answers; raises what `progress.check` raises."""
    before, began = vlm.usage, time.monotonic()
    (said,) = vlm.chat([TEXT_ONLY], progress, "probe")
    calls = vlm.usage.calls - before.calls
    if isinstance(said, Failure):
        return JudgeFindings(problem=said.reason, calls=calls)
    tokens = vlm.usage.completion_tokens - before.completion_tokens
    return JudgeFindings(
        thinks=holds_thoughts(said) or thought(said, tokens),
        seconds=time.monotonic() - began,
        calls=calls,
    )


def sees_two(of_red: Mapping[str, float], of_blue: Mapping[str, float]) -> bool:
    """Whether colour probabilities (0 to 1) distinguish a red from a blue picture.

    Both right colours must be the likeliest, or clearly likelier than for the other picture.
    """
    likeliest = max(of_red, key=of_red.__getitem__), max(of_blue, key=of_blue.__getitem__)
    advantages = of_red["red"] - of_blue["red"], of_blue["blue"] - of_red["blue"]
    # Equal distributions cannot be right about both, so a blind model never passes.
    return likeliest == ("red", "blue") or min(advantages) >= ADVANTAGE


def holds_thoughts(text: str) -> bool:
    """Whether a text contains marked thoughts."""
    return without_thoughts(text) != WRAPPERS.sub("", text).strip()


def thought(text: str, tokens: int) -> bool:
    """Whether `tokens` are many more than a text of this length needs."""
    return tokens > 4 * len(text.split()) + SILENT_TOKENS
