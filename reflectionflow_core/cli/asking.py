"""`reflectionflow run --ask`: asks a person in the terminal between two rounds."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from ..archive.lines import image_name
from ..feedback import Feedback, Place
from ..pictures import PictureError, read_mask
from ..protocols import SILENT, Progress
from ..record import InputError
from ..report.words import candidate_name, verdict_text
from ..search import Pause
from ..texts import usable_text, user_path
from .screen import Screen

HELP = """\
Enter alone goes on as planned. Or type one or more of these lines, then an empty line:
  2                    picture 2 is the winner; the search goes on from it
  -3                   veto picture 3
  2: turn the mug red  what to change in picture 2
  2 box 0.1 0.2 0.5 0.6    where: left, top, right, bottom as fractions
  2 mask FILE.png      where this picture is white; only there it is corrected
  prompt: a red mug    paint from these words from now on
  prompt:              paint from the search's own words again
  stop                 end here and keep the best; --resume goes on, or asks again if no other
                       line was typed before it
"""
STOP = "stop"
ONCE_MORE = "Say all of it again, or press Enter to go on as planned."
LINE = re.compile(
    r"-\s*(?P<veto>[0-9]{1,6})|(?P<number>[0-9]{1,6})\s*"
    r"(?::\s*(?P<words>.+)|\s+box\s+(?P<box>.+)|\s+mask\s+(?P<mask>.+))?"
)
FRACTION = re.compile(r"[0-9]*\.?[0-9]+")


class StoppedByPersonError(Exception):
    """The person ended the search and keeps its pictures."""


class Terminal:
    """Asks on a screen and reads lines; at the end of input the search continues as planned.

    `stops` is True once the person has ended the search.
    """

    def __init__(
        self, folder: Path, screen: Screen, read_line: Callable[[], str] | None = None
    ) -> None:
        self.folder, self.screen, self.stops = folder, screen, False
        self.read_line = read_line or sys.stdin.readline

    def answer(self, pause: Pause, progress: Progress = SILENT) -> Feedback:
        del progress  # Ctrl-C raises by itself
        with self.screen.still():
            self.screen.say(f"{pause_text(pause, self.folder)}\n{HELP}")
            return self._read(pause)

    def _read(self, pause: Pause) -> Feedback:
        said = pause.unchanged
        # Where nobody types any more, what was said ends as by an empty line.
        while line := self.read_line() or ("" if said == pause.unchanged else "\n"):
            told = line.strip()
            try:
                if told and told != STOP:
                    said = with_line(said, told)
                    continue
                if told and said.changes_nothing:
                    raise StoppedByPersonError
                pause.check(said)
                self.stops = bool(told)
                return said
            except ValueError as error:  # an InputError, too
                self.screen.say(f"{error} {'This line is ignored.' if told else ONCE_MORE}")
                said = said if told else pause.unchanged
        self.screen.say("Nobody answers here, so the search goes on as planned.")
        return pause.unchanged


def pause_text(pause: Pause, folder: Path) -> str:
    """The pictures to choose from, and what will be changed in each."""
    history, planned, lines = pause.history, pause.planned, []
    pictures = list(history.placed)
    for number in pause.shown:
        slot, candidate = pictures[number]
        star = "★" if candidate is history.best else " "
        name, verdict = candidate_name(*slot), verdict_text(candidate.verdict)
        lines.append(f"{star}{number + 1:>4}  {name}: {verdict}  {folder / image_name(*slot)}")
        lines += [f"       next: {text or 'paint it again'}" for text in planned.get(number, ())]
    ends = [] if pause.requests else ["The search would end here."]
    return "\n".join([f"Round {len(history.rounds) - 1} is over.", *lines, *ends])


def with_line(said: Feedback, line: str) -> Feedback:
    """The feedback with one more line; raises InputError or ValueError for an invalid line."""
    usable_text(line, "line")
    if line.startswith("prompt:"):
        return replace(said, prompt=line.removeprefix("prompt:").strip())
    found = LINE.fullmatch(line)
    if found is None:
        raise InputError('Type a number such as 2, "2: words", "prompt: words" or "stop".')
    number = int(found["veto"] or found["number"]) - 1
    if not 0 <= number < said.after:
        raise InputError(f"There is no picture {number + 1}. They are 1 to {said.after}.")
    if found["veto"]:
        return replace(said, vetoed=(*said.vetoed, number))
    if found["words"]:
        words = {**said.reflections, number: found["words"]}
        return replace(said, reflections=words)
    if place := place_of(found["box"], found["mask"]):
        return replace(said, places={**said.places, number: place})
    return replace(said, picked=number)


def place_of(box: str | None, mask: str | None) -> Place | None:
    if box:
        edges = [float(edge) for edge in box.split() if FRACTION.fullmatch(edge)]
        if len(edges) != len(box.split()) or len(edges) != 4:
            raise InputError("A box is four fractions of the picture, such as 0.1 0.2 0.5 0.6.")
        left, top, right, bottom = edges
        return Place(((left, top, right, bottom),))
    return Place(mask=_mask_in(_typed_path(mask))) if mask else None


def _typed_path(text: str) -> Path:
    """The file of a name as terminals write it where a file is dragged into them: in quotes, or
    with a backslash before each space."""
    bare = text.strip("'\"")
    if bare == text and sys.platform != "win32":
        bare = re.sub(r"\\(.)", r"\1", text)
    return user_path(bare)


def _mask_in(path: Path) -> bytes:
    try:
        mask = read_mask(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except PictureError as error:
        raise InputError(f"{path} cannot be used: {error.reason}.") from error
    stored = BytesIO()
    mask.save(stored, "PNG")
    return stored.getvalue()
