"""One candidate as one line of JSON, and back.

A line holds no time and no absolute path, so the same search writes the same bytes. Pictures lie
beside it; a line holds their name and the SHA-256 of their pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from ..record import Candidate, Cost, Inspection, Neighbour, Restart, Seed, Verdict

COUNTED = ("images", "steps", "vlm_calls")  # what a Cost counts, without its seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate without its picture.

    `parent` is the index of another entry; `cost` is what the search had spent by then.
    """

    index: int
    round: int
    position: int
    sha256: str
    prompt: str
    reflection: str
    seed: Seed
    parent: int | None
    verdict: Verdict
    cost: Cost
    action: str = ""
    steps: int = 0
    finished: bool = True
    stage: int | None = None
    inspection: Inspection | None = None

    @property
    def image(self) -> str:
        return f"images/round-{self.round:03d}-{self.position:03d}.png"

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "index": self.index,
            "round": self.round,
            "position": self.position,
            "image": self.image,
            "sha256": self.sha256,
            "prompt": self.prompt,
            "reflection": self.reflection,
            "seed": seed_to_json(self.seed),
            "parent": self.parent,
            "action": self.action,
            "steps": self.steps,
            "finished": self.finished,
            "score": self.verdict.score,
            "passed": self.verdict.passed,
            "aspects": dict(self.verdict.aspects),
            "unmet": list(self.verdict.unmet),
            "explanation": self.verdict.explanation,
            "cost": {name: getattr(self.cost, name) for name in COUNTED},
        }
        if self.inspection is not None:
            record |= {"stage": self.stage, "inspection": asdict(self.inspection)}
        return record

    def line(self) -> bytes:
        # ASCII, so that no text of any model can break a line or be invalid UTF-8.
        return json.dumps(self.record(), ensure_ascii=True).encode() + b"\n"


def entry_of(
    candidate: Candidate, index: int, place: tuple[int, int], parent: int | None, cost: Cost
) -> Entry:
    """A candidate at a place, (round, position); `parent` is the index of its parent's entry."""
    return Entry(
        index=index,
        round=place[0],
        position=place[1],
        sha256=pixel_digest(candidate.image),
        prompt=candidate.prompt,
        reflection=candidate.reflection,
        seed=candidate.seed,
        parent=parent,
        verdict=candidate.verdict,
        cost=cost,
        action=candidate.action,
        steps=candidate.steps,
        finished=candidate.finished,
        stage=candidate.stage,
        inspection=candidate.inspection,
    )


def parse(line: bytes) -> Entry:
    """The entry of a line; raises ValueError with the reason where it is damaged."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    entry = Entry(
        index=_whole(record, "index"),
        round=_whole(record, "round"),
        position=_whole(record, "position"),
        sha256=_text(record, "sha256"),
        prompt=_text(record, "prompt"),
        reflection=_text(record, "reflection"),
        seed=_seed(record.get("seed")),
        parent=None if record.get("parent", "") is None else _whole(record, "parent"),
        verdict=_verdict(record),
        cost=_cost(record.get("cost")),
        # The rest was not always recorded.
        action=_text({"action": "", **record}, "action"),
        steps=_whole({"steps": 0, **record}, "steps"),
        finished=_flag({"finished": True, **record}, "finished"),
        stage=_whole(record, "stage") if "stage" in record else None,
        inspection=_inspection(record["inspection"]) if "inspection" in record else None,
    )
    if record.get("image") != entry.image:
        raise ValueError(f"its image is not {entry.image}")
    return entry


def pixel_digest(image: Image) -> str:
    header = f"{image.mode} {image.width}x{image.height}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def seed_to_json(seed: Seed) -> Any:
    if isinstance(seed, int):
        return int(seed)
    if isinstance(seed, Restart):
        return {"seed": seed.seed, "level": seed.level}
    return {"pivot": seed_to_json(seed.pivot), "seed": seed.seed, "radius": seed.radius}


def _seed(value: Any) -> Seed:
    if isinstance(value, dict) and "level" in value:
        return Restart(_whole(value, "seed"), _real(value, "level"))
    if isinstance(value, dict):
        return Neighbour(_seed(value.get("pivot")), _whole(value, "seed"), _real(value, "radius"))
    return _whole({"seed": value}, "seed")


def _verdict(record: dict[str, Any]) -> Verdict:
    aspects, passed = record.get("aspects"), record.get("passed", "")
    if not isinstance(aspects, dict):
        raise ValueError("its aspects are no JSON object")
    if not (passed is None or isinstance(passed, bool)):
        raise ValueError("passed is none of true, false, null")
    measured = MappingProxyType({name: _real(aspects, name) for name in aspects})
    return Verdict(
        _real(record, "score"),
        passed,
        measured,
        _texts(record, "unmet"),
        _text(record, "explanation"),
    )


def _inspection(record: Any) -> Inspection:
    if not isinstance(record, dict) or not isinstance(record.get("accepted"), bool):
        raise ValueError("its inspection is none")
    wrong, missing, later = (_texts(record, name) for name in ("wrong", "missing", "later"))
    refine, explanation = (_text(record, name) for name in ("refine", "explanation"))
    return Inspection(record["accepted"], wrong, missing, later, refine, explanation)


def _cost(value: Any) -> Cost:
    if not isinstance(value, dict):
        raise ValueError("its cost is no JSON object")
    images, steps, vlm_calls = (_whole(value, name) for name in COUNTED)
    return Cost(images, steps, vlm_calls)


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _flag(record: dict[str, Any], name: str) -> bool:
    value = record.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def _texts(record: dict[str, Any], name: str) -> tuple[str, ...]:
    value = record.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} is no list of texts")
    return tuple(value)


def _whole(record: dict[str, Any], name: str) -> int:
    value = record.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is no whole number")
    return value


def _real(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is no number")
    return value
