"""A pause of a search as data for a browser panel (`panel.js`), and the panel's answer.

ComfyUI and the command line use the same panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ..feedback import Feedback, Place
from ..pictures import PictureError, read_mask, stored_picture
from ..record import Candidate, InputError
from ..search import Pause
from ..texts import usable_text
from .words import counted, verdict_text

PANEL = Path(__file__).with_name("panel.js")
MOST_BYTES = 2**20  # largest answer with masks, in bytes
MOST_TEXT = 2000  # longest text of a person, in characters
MOST_BOXES = 16  # boxes per picture
MOST_MASK = 1024  # largest side of a mask in pixels
SIDE = 768  # largest side of a picture on the panel in pixels


def pause_data(pause: Pause) -> dict[str, Any]:
    """The panel's content as JSON."""
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
    """One of the panel's pictures as PNG, or None for an unknown number."""
    if number not in pause.shown:
        return None
    image = list(pause.history)[number].image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def answer_of(given: Any, pause: Pause) -> tuple[Feedback, bool]:
    """A panel's answer, and whether the search should stop.

    InputError for texts and regions that are too large, damaged or without effect.
    """
    known = {"picked", "vetoed", "reflections", "places", "prompt", "stop"}
    if not isinstance(given, dict) or given.keys() - known:
        raise InputError("The answer is not from this panel. Reload the page.")
    record = {key: value for key, value in given.items() if key != "stop" and value is not None}
    try:
        said = Feedback.from_data({**record, "after": len(pause.history)})
    except ValueError as error:
        raise InputError(f"The answer is invalid: {error}. Reload the page.") from error
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
            stored = stored_picture(place.mask)
            if stored.format != "PNG" or max(stored.size) > MOST_MASK:
                raise PictureError(f"it is not a PNG of at most {MOST_MASK} pixels")
            read_mask(place.mask)
        except PictureError as error:
            raise InputError(f"A mask cannot be used: {error.reason}. Brush it again.") from error
