"""The names of objects that a detector knows, and their synonyms."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from ..record import InputError
from .words import singular

# Names of one object in GenEval, in COCO's editions and in speech. None is wider than another:
# "woman" is missing, since a person detector cannot recognise one.
_SAME = (
    ("airplane", "aeroplane", "plane"),
    ("motorcycle", "motorbike"),
    ("bicycle", "bike"),
    ("couch", "sofa"),
    ("tv", "tvmonitor", "television", "tv monitor"),
    ("tv remote", "remote", "remote control"),
    ("computer keyboard", "keyboard"),
    ("computer mouse", "mouse"),
    ("cell phone", "mobile phone", "smartphone"),
    ("donut", "doughnut"),
    ("hair drier", "hair dryer"),
    ("refrigerator", "fridge"),
    ("potted plant", "houseplant"),
    ("teddy bear", "teddy"),
    ("person", "human"),
)


def plain(name: str) -> str:
    """A name without spaces and capitals; data sets write "pottedplant"."""
    return "".join(name.lower().replace("_", " ").replace("-", " ").split())


_OTHERS = {plain(name): [plain(other) for other in group] for group in _SAME for name in group}


def class_numbers(labels: Mapping[int, str], names: Sequence[str]) -> list[int]:
    """The class number of each name; InputError for a name that is not among `labels`."""
    known = _known(labels)
    numbers = [_number(known, name) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if number is None:
            raise InputError(unknown_name(name, tuple(labels.values())))
    return [number for number in numbers if number is not None]


def knows(labels: Sequence[str] | None, name: str) -> bool:
    """Whether a name is among the labels; a detector without labels (None) knows every word."""
    return labels is None or _number(_known(dict(enumerate(labels))), name) is not None


def _known(labels: Mapping[int, str]) -> dict[str, int]:
    """The class numbers by name; plural labels are also known by their singular."""
    named = [(label.lower(), int(number)) for number, label in labels.items()]
    alone = {plain(singular(label)): number for label, number in named}
    return alone | {plain(label): number for label, number in named}


def _number(known: Mapping[str, int], name: str) -> int | None:
    words = (plain(name), *_OTHERS.get(plain(name), ()))
    return next((known[word] for word in words if word in known), None)


def unknown_name(name: str, labels: Collection[str]) -> str:
    """The message for a name that a detector with these labels does not know."""
    words = {plain(label): label for label in labels}
    near = difflib.get_close_matches(plain(name), words, n=1, cutoff=0.75)
    hint = f" The nearest known name is {words[near[0]]!r}." if near else ""
    return (
        f"The detector does not know {name!r:.80}.{hint} Choose one with an open "
        "vocabulary (Grounding DINO, OWLv2), or the verifier `checklist`."
    )
