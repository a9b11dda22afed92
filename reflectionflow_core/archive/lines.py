"""One candidate as one line of JSON, and back.

A line has no time and no absolute path, so the same search writes the same bytes. It has the name
of the picture's file and the SHA-256 of its pixels.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from ..evidence import Box, Evidence
from ..feedback import Feedback
from ..record import (
    COUNTED,
    Candidate,
    Cost,
    Inspection,
    Neighbour,
    Region,
    Restart,
    Seed,
    Verdict,
)
from ..regions.masks import mask_picture
from ..texts import parse_json
from ..verdict import Trust

# Older files gave a picture that could not be judged a low score, and its reason after this.
OLD_FAILURE = "The picture could not be judged: "
# Fields that an Entry shares with its Candidate.
SHARED = (
    *("prompt", "reflection", "seed", "verdict", "action"),
    *("steps", "finished", "stage", "inspection", "region", "broken"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate without its picture.

    `parent` is the index of another entry; `cost` is what the search had spent up to it; `latents`
    is the SHA-256 of the file of its latents, "" where none are kept.
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
    region: Region | None = None
    broken: tuple[str, ...] = ()
    latents: str = ""

    @property
    def image(self) -> str:
        return image_name(self.round, self.position)

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
        if self.verdict.evidence:
            record["evidence"] = [asdict(seen) for seen in self.verdict.evidence]
        if self.verdict.trust is not None:
            record["trust"] = _plain_trust(self.verdict.trust)
        if self.inspection is not None:
            record |= {"stage": self.stage, "inspection": asdict(self.inspection)}
        if self.region is not None:
            record["region"] = _plain_region(self.region)
        if self.broken:
            record["broken"] = list(self.broken)
        if self.latents:
            record["latents"] = self.latents
        return record

    def line(self) -> bytes:
        # ASCII, so that no text of any model can break a line or be invalid UTF-8.
        return json.dumps(self.record(), ensure_ascii=True).encode() + b"\n"


def feedback_line(said: Feedback) -> bytes:
    return json.dumps(said.data(), ensure_ascii=True).encode() + b"\n"


def image_name(round_index: int, position: int) -> str:
    """The file of a picture, below its run's folder."""
    return f"images/round-{round_index:03d}-{position:03d}.png"


def latents_name(round_index: int, position: int) -> str:
    """The file of a picture's latents, below its run's folder."""
    return f"latents/round-{round_index:03d}-{position:03d}.safetensors"


def entry_of(
    candidate: Candidate, index: int, slot: tuple[int, int], parent: int | None, cost: Cost
) -> Entry:
    """The entry of a candidate at `slot`, (round, position); `parent` is its parent's index."""
    return Entry(
        index=index,
        round=slot[0],
        position=slot[1],
        sha256=pixel_digest(candidate.image),
        parent=parent,
        cost=cost,
        latents=hashlib.sha256(candidate.latents).hexdigest() if candidate.latents else "",
        **{name: getattr(candidate, name) for name in SHARED},
    )


def parse(line: bytes, mask: str | None = None) -> Entry:
    """The entry of a line, for the user's `mask`; ValueError with the reason if damaged."""
    record = parse_json(line)
    if not isinstance(record, dict):
        raise ValueError("it is not a JSON object")
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
        # Older files do not have these.
        action=_text({"action": "", **record}, "action"),
        steps=_whole({"steps": 0, **record}, "steps"),
        finished=_flag({"finished": True, **record}, "finished"),
        stage=_whole(record, "stage") if "stage" in record else None,
        inspection=_inspection(record["inspection"]) if "inspection" in record else None,
        region=_region(record["region"], mask) if "region" in record else None,
        broken=_texts({"broken": [], **record}, "broken"),
        latents=_text({"latents": "", **record}, "latents"),
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
        raise ValueError("its aspects are not a JSON object")
    if not (passed is None or isinstance(passed, bool)):
        raise ValueError("passed is not true, false or null")
    measured = MappingProxyType({name: _real(aspects, name) for name in aspects})
    explanation, unmet = _text(record, "explanation"), _texts(record, "unmet")
    evidence = tuple(map(_evidence, _value({"evidence": [], **record}, "evidence", list, "a list")))
    if record.get("score", "") is None:
        return Verdict(None, passed, measured, unmet, explanation, evidence)
    score = _real(record, "score")
    if explanation.startswith(OLD_FAILURE) and passed is None:
        return Verdict.unjudged(explanation.removeprefix(OLD_FAILURE), measured)
    return Verdict(score, passed, measured, unmet, explanation, evidence, _trust(record))


def _plain_trust(trust: Trust) -> dict[str, Any]:
    looks = [list(unmet) for unmet in trust.looks]
    return {"posterior": trust.posterior, "beliefs": dict(trust.beliefs), "looks": looks}


def _trust(record: dict[str, Any]) -> Trust | None:
    """Only verdicts of judges whose errors were known have it."""
    if "trust" not in record:
        return None
    written = _value(record, "trust", dict, "a JSON object")
    beliefs = _value(written, "beliefs", dict, "a JSON object")
    looks = _value(written, "looks", list, "a list")
    return Trust(
        _real(written, "posterior"),
        MappingProxyType({name: _real(beliefs, name) for name in beliefs}),
        tuple(_texts({"looks": unmet}, "looks") for unmet in looks),
    )


def _evidence(record: Any) -> Evidence:
    """Files of verifiers that know no places, and older files, have no evidence."""
    if not isinstance(record, dict):
        raise ValueError("its evidence is not a list of JSON objects")
    written, sureness = record.get("box"), record.get("sureness")
    box = None if written is None else _box(written, "evidence")
    sure = None if sureness is None else _real(record, "sureness")
    return Evidence(_text(record, "text"), box, sure)


def _box(value: Any, of: str) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"the box of its {of} is not a list of four numbers")
    left, top, right, bottom = (_real({"box": edge}, "box") for edge in value)
    return left, top, right, bottom


def _plain_region(region: Region) -> Any:
    boxes = [list(box) for box in region.boxes]
    if region.said:
        return {"boxes": boxes, "mask": region.mask}
    return boxes if region.mask is None else "mask"  # of the settings


def _region(value: Any, mask: str | None) -> Region:
    if value == "mask":
        return Region(mask=mask)
    said, drawn = isinstance(value, dict), None
    if said:
        value, drawn = value.get("boxes"), value.get("mask")
        if drawn is not None:
            mask_picture(drawn if isinstance(drawn, str) else "")  # raises ValueError
    if not isinstance(value, list):
        raise ValueError("its region is not a list of boxes")
    return Region(tuple(_box(box, "region") for box in value), drawn, said)


def _inspection(record: Any) -> Inspection:
    if not isinstance(record, dict) or not isinstance(record.get("accepted"), bool):
        raise ValueError("its inspection is not valid")
    wrong, missing, later = (_texts(record, name) for name in ("wrong", "missing", "later"))
    refine, explanation = (_text(record, name) for name in ("refine", "explanation"))
    return Inspection(record["accepted"], wrong, missing, later, refine, explanation)


def _cost(value: Any) -> Cost:
    if not isinstance(value, dict):
        raise ValueError("its cost is not a JSON object")
    images, steps, vlm_calls = (_whole(value, name) for name in COUNTED)
    return Cost(images, steps, vlm_calls)


def _value(record: dict[str, Any], name: str, kind: Any, description: str) -> Any:
    value = record.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is not {description}")
    return value


def _text(record: dict[str, Any], name: str) -> str:
    return _value(record, name, str, "a text")


def _flag(record: dict[str, Any], name: str) -> bool:
    return _value(record, name, bool, "true or false")


def _real(record: dict[str, Any], name: str) -> float:
    value = _value(record, name, int | float, "a number")
    if abs(value) > sys.float_info.max:  # also an infinite one
        raise ValueError(f"{name} is too large a number")
    return value


def _whole(record: dict[str, Any], name: str) -> int:
    value = _value(record, name, int, "a whole number")
    if value < 0:
        raise ValueError(f"{name} is less than 0")
    return value


def _texts(record: dict[str, Any], name: str) -> tuple[str, ...]:
    values = _value(record, name, list, "a list of texts")
    if not all(isinstance(text, str) for text in values):
        raise ValueError(f"{name} is not a list of texts")
    return tuple(values)
