"""The request of a run: run.json, written before the first picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..choice import ActorChoice
from ..record import InputError, Stage
from ..settings import RANDOM_SEED, Budget, SearchSettings
from ..texts import parse_json, reason_of

FORMAT = 1
# These may change when a run is resumed: a shorter search is the beginning of a longer one, and a
# plan only says where the weights are kept.
CHANGEABLE = ("depth", "stop", "budget", "plan")
NOTHING = type(None)
# What the fields of a run may hold, by their annotations.
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str | None": (str, NOTHING),
    "int | None": (int, NOTHING),
    "float | None": (int, float, NOTHING),
    "str | float": (str, int, float),
    "bool | None": (bool, NOTHING),
    "list | None": (list, NOTHING),
    "Sequence[str]": (list,),
    "Mapping[str, Any]": (dict,),
    "Mapping[str, str]": (dict,),
}


ACTORS = {
    **{f.name: str(f.type) for f in fields(ActorChoice)},
    **{"size": "list | None", "steps": "int | None", "guidance": "float | None"},
    **{"condition_size": "int | None", "condition_fit": "str | None", "prompt_style": "str"},
}


# What comes with a choice and is none itself: the reader of the verifier text. Runs that were
# recorded before it was known lack it.
UNCHOSEN = ("ocr",)


@dataclass(frozen=True, slots=True)
class Run:
    """A prompt, its settings and its actors.

    * `actors`: the options that chose the actors.
    * `identity`: digests of the weights, which recognise a model that was moved or changed.
    * `versions`: those of the libraries.
    * `think_first`: a thought is written before the first picture; `calls` are the VLM calls for
      it.
    * `judge`: the findings about the vision-language model.
    * `ask`: a person is asked after every round.
    """

    prompt: str
    settings: SearchSettings
    actors: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    think_first: bool = False
    calls: int = 0
    judge: Mapping[str, Any] = field(default_factory=dict)
    ask: bool = False

    def dump(self) -> bytes:
        record = {"format": FORMAT, **{f.name: plain(getattr(self, f.name)) for f in fields(self)}}
        return json.dumps(record, indent=2).encode() + b"\n"


def load_run(path: Path) -> Run:
    try:
        record = parse_json(path.read_bytes())
        if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
            raise ValueError("it is no run of this version")
        known = _checked(Run, record)
        _check_actors(known.get("actors", {}))
        return Run(**{**known, "settings": _settings(known["settings"])})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} cannot be read ({reason_of(error)}). Restore it from a backup, or start in "
            "another folder; nothing was changed."
        ) from error


def _checked(kind: Any, record: Any) -> dict[str, Any]:
    """The record, checked against fields and types of the dataclass `kind`; raises ValueError."""
    if not isinstance(record, dict):
        raise ValueError(f"{record!r:.80} is not a JSON object")
    types = {f.name: str(f.type) for f in fields(kind)}
    for name, value in record.items():
        if name not in types:
            raise ValueError(f"it has {name!r:.80}, which this version does not know")
        _check_type(name, value, types[name])
    return record


def _check_actors(record: Mapping[str, Any]) -> None:
    """Raises ValueError for a known option of another type; nodes record further ones."""
    for name in ACTORS.keys() & record.keys():
        _check_type(name, record[name], ACTORS[name])
    for name, kind in (("plugins", str), ("size", int)):
        if not all(type(each) is kind for each in record.get(name) or ()):
            raise ValueError(f"{name} is {record[name]!r:.80}, which is not {kind.__name__}s")
    if record.get("size") is not None and len(record["size"]) != 2:
        raise ValueError(f"size is {record['size']!r:.80}, which is not width and height")


def _check_type(name: str, value: Any, kind: str) -> None:
    allowed = TYPES.get(kind)
    # By the type itself, since True is an int, too.
    if allowed is not None and type(value) not in allowed:
        raise ValueError(f"{name} is {value!r:.80}, which is not {kind}")


def _settings(record: Any) -> SearchSettings:
    known = _checked(SearchSettings, record)
    if known.get("seed") == RANDOM_SEED:
        raise ValueError(f"its seed is {RANDOM_SEED}, which was never recorded")
    return SearchSettings(
        **{
            **known,
            "axes": tuple(known["axes"]),
            "budget": Budget(**_checked(Budget, known["budget"])),
            "stages": tuple(map(_stage, known.get("stages", []))),
        }
    )


def _stage(record: Any) -> Stage:
    known = _checked(Stage, record)
    return Stage(**{**known, "objects": tuple(known["objects"])})


def differences(recorded: Run, asked: Run) -> list[str]:
    """Why `asked` cannot continue `recorded`, each as "name recorded, now asked"; [] if it can."""
    found = []
    if recorded.prompt != asked.prompt:
        found.append(_difference("prompt", recorded.prompt, asked.prompt))
    for f in fields(SearchSettings):
        before, now = getattr(recorded.settings, f.name), getattr(asked.settings, f.name)
        if f.name not in CHANGEABLE and before != now:
            found.append(_difference(f.name, before, now))
    if asked.settings.depth < recorded.settings.depth:
        found.append(
            _difference("depth", recorded.settings.depth, asked.settings.depth)
            + " (it can only be raised)"
        )
    return found + _differing_actors(recorded, asked)


def _differing_actors(recorded: Run, asked: Run) -> list[str]:
    before, now = plain(recorded.actors), plain(asked.actors)
    found = [
        _difference(name, before.get(name), now.get(name))
        for name in {**before, **now}
        # Weights are compared by content, not by path.
        if name not in (*asked.identity, *CHANGEABLE) and before.get(name) != now.get(name)
    ]
    for name in asked.identity:
        if name in UNCHOSEN:
            if recorded.identity.get(name) not in (None, asked.identity[name]):
                was, is_now = (str(run.identity[name]) for run in (recorded, asked))
                found.append(f"another {name} ({was[:40]}, now {is_now[:40]})")
            continue
        if recorded.identity.get(name) != asked.identity[name]:
            moved = before.get(name) != now.get(name)
            changed = f"{name} {before.get(name)}, now {now.get(name)}"
            found.append(changed if moved else f"other contents of the {name} {now.get(name)}")
    return found


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "mask":  # a picture as text tells nobody anything
        return "another mask" if before and now else f"{'a' if before else 'no'} mask"
    return f"{name.replace('_', ' ')} {plain(before)!r}, now {plain(now)!r}"


def plain(value: Any) -> Any:
    """`value` as it is read back from JSON."""
    return json.loads(json.dumps(value, default=_as_dict))


def _as_dict(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else asdict(value)
