"""A pause of a search as a panel in a browser shows it, and what the panel sends back.

The panel itself is `panel.js`. ComfyUI and the command line show the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ..feedback import Feedback, Place
from ..pictures import PictureError, stored_picture
from ..record import Candidate, InputError
from ..search import Pause
from ..texts import usable_text
from .words import counted, verdict_text

PANEL = Path(__file__).with_name("panel.js")
MOST_BYTES = 2**20  # of an answer with its masks
MOST_TEXT = 2000  # characters of a person's words
MOST_BOXES = 16  # of one picture
MOST_MASK = 1024  # pixels a side
SIDE = 768  # pixels of a picture on the panel


def pause_data(pause: Pause) -> dict[str, Any]:
    """What the panel shows, as JSON."""
    history, planned = pause.history, pause.planned
    pictures = list(history.placed)
    return {
        "round": len(history.rounds) - 1,
        "prompt": pause.prompt,
        "painted_from": pause.unchanged.prompt,
        "ends": not pause.requests,
        "corrects": any(request.corrects for request in pause.requests),
        "pictures": [
            {"number": number, "slot": pictures[number][0]}
            | _described(pictures[number][1])
            | {"best": pictures[number][1] is history.best, "planned": planned.get(number)}
            for number in pause.shown
        ],
    }


def pause_picture(pause: Pause, number: int) -> bytes | None:
    """One of the panel's pictures as a PNG, or None for another number."""
    if number not in pause.shown:
        return None
    image = list(pause.history)[number].image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def answer_of(given: Any, pause: Pause) -> tuple[Feedback, bool]:
    """A panel's answer, and whether the search is to stop; raises InputError for texts and places
    that are too large, damaged or without effect."""
    known = {"picked", "vetoed", "reflections", "places", "prompt", "stop"}
    if not isinstance(given, dict) or given.keys() - known:
        raise InputError("The answer is not one of this panel. Reload the page.")
    record = {key: value for key, value in given.items() if key != "stop" and value is not None}
    try:
        said = Feedback.from_data({**record, "after": len(pause.history)})
    except ValueError as error:
        raise InputError(f"The answer cannot be used: {error}. Reload the page.") from error
    for text in (said.prompt, *said.reflections.values()):
        if len(usable_text(text, "text")) > MOST_TEXT:
            raise InputError(f"A text has {counted(len(text), 'character')}. Give {MOST_TEXT:,}.")
    _check_places(tuple(said.places.values()))
    pause.check(said)
    return said, given.get("stop") is True


def _described(candidate: Candidate) -> dict[str, Any]:
    verdict = candidate.verdict
    return {
        "width": candidate.image.width,
        "height": candidate.image.height,
        "score": verdict.score,
        "passed": verdict.passed,
        "verdict": verdict_text(verdict),
        "faults": list(verdict.unmet),
        "boxes": [[seen.text, *seen.box] for seen in verdict.evidence if seen.box],
        "reflection": candidate.reflection,
    }


def _check_places(places: Sequence[Place]) -> None:
    for place in places:
        if len(place.boxes) > MOST_BOXES:
            raise InputError(f"A picture has {len(place.boxes)} boxes. Draw at most {MOST_BOXES}.")
        if not place.mask:
            continue
        try:
            mask = stored_picture(place.mask)
        except PictureError as error:
            raise InputError(f"A mask is not a picture: {error.reason}. Brush it again.") from error
        if mask.format != "PNG" or max(mask.size) > MOST_MASK:
            raise InputError(f"A mask is not a PNG of at most {MOST_MASK} pixels. Brush it again.")
