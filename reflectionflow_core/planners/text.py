"""The stages of a plan as text, for people to read and edit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..record import InputError, Stage

ARROW = "→"


def as_text(stages: Sequence[Stage]) -> str:
    """One line per stage: "instruction → scene → object; object".

    An arrow, semicolon or line break of a text is written in another way, so that the line can be
    read again.
    """
    return "\n".join(
        f" {ARROW} ".join([_plain(stage.instruction), _plain(stage.scene), _listed(stage.objects)])
        for stage in stages
    )


def _listed(objects: Sequence[str]) -> str:
    return "; ".join(_plain(each.replace(";", ",")) for each in objects)


def _plain(text: str) -> str:
    return " ".join(re.sub(f"{ARROW}|->", " to ", text).split())


def from_text(text: str) -> tuple[Stage, ...]:
    """Parses text written by `as_text`, also with "->"; InputError for invalid lines."""
    stages = []
    for line in filter(str.strip, text.splitlines()):
        parts = [part.strip() for part in line.replace("->", ARROW).split(ARROW)]
        if len(parts) != 3:
            raise InputError(
                f"The line {line.strip()!r:.80} is not a stage. Write: instruction {ARROW} scene "
                f"{ARROW} the objects to be seen by then, separated by semicolons."
            )
        objects = tuple(filter(None, (each.strip() for each in parts[2].split(";"))))
        stages.append(Stage(parts[0], parts[1], objects))
    return tuple(stages)
