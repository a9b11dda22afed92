"""A History on disk: appended as it grows, read back to resume.

A folder has run.json (the request), history.jsonl (one line per candidate), feedback.jsonl (one
line per answer of a person, if any was asked), images/, best.png and timing.json; and latents/, if
corrections are blended into their parents' latents. A picture is on disk before its line, and a
line before the next batch is painted, so a crash at any moment loses at most one batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from ..feedback import Feedback
from ..pictures import PictureError, stored_picture
from ..record import COUNTED, Candidate, Cost, History, InputError
from ..texts import reason_of
from . import files
from .answers import RESTORE, asking_cost, read_feedback, read_proposed
from .lines import (
    SHARED,
    Entry,
    entry_of,
    feedback_line,
    image_name,
    latents_name,
    parse,
    pixel_digest,
)
from .metadata import encoded, png
from .run_file import Run, differences, load_run
from .timing import TIMING, read_timing

__all__ = [
    "Archive",
    "Recording",
    "Run",
    "check_unused",
    "differences",
    "open_archive",
    "read_recording",
]

RUN, HISTORY = "run.json", "history.jsonl"
FEEDBACK, PROPOSED = "feedback.jsonl", "proposed.json"
IMAGES, LATENTS = "images", "latents"
PICTURES = "round-*.png"  # in IMAGES; beside them may lie what other programs put there
BEST, SHEET, PAGE = "best.png", "sheet.png", "report.html"
MADE_HERE = (RUN, HISTORY, FEEDBACK, PROPOSED, TIMING, IMAGES, LATENTS, BEST, SHEET, PAGE)
WRITTEN_LATER = (FEEDBACK, PROPOSED, BEST, SHEET, PAGE)  # only after a picture is in the history
NOTHING_YET = History()
NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Recording:
    """A folder's content; `size`: valid bytes of history.jsonl, `costs`: counts at each picture."""

    run: Run | None = None
    history: History = NOTHING_YET
    costs: tuple[Cost, ...] = ()
    size: int = 0
    notices: tuple[str, ...] = ()


class Archive:
    """The folder of one run, open for writing; `history` is what is on disk.

    Its pictures carry our texts and those of `metadata`, or none at all if that is None;
    history.jsonl has ours in any case.
    """

    def __init__(
        self, folder: Path, recording: Recording, metadata: Mapping[str, str] | None = NO_TEXTS
    ) -> None:
        self.folder = folder
        self.metadata = metadata
        self.run = recording.run
        self.history = recording.history
        self.notices = recording.notices
        self._costs = list(recording.costs)
        self._index = {id(candidate): i for i, candidate in enumerate(recording.history)}
        self._best: Candidate | None = None

    def begin(self, run: Run) -> None:
        """Records the request before anything is painted."""
        files.replace_file(self.folder / RUN, run.dump())
        files.make_folder(self.folder / IMAGES)
        self.run = run
        self._write_best(self.history)  # a killed process may not have written it

    def append(self, history: History) -> None:
        """Writes what is new in `history`; call it for each History of a search.

        A person's feedback is written before the pictures that follow from it.
        """
        answers = list(history.feedback[len(self.history.feedback) :])
        for slot, candidate in list(history.placed)[len(self.history) :]:
            while answers and answers[0].after <= len(self._index):
                self._write_feedback(answers.pop(0))
            self._write(candidate, slot, history.cost)
        for said in answers:
            self._write_feedback(said)
        if history.proposed is None:
            files.remove(self.folder / PROPOSED)
        elif history.proposed != self.history.proposed:
            self.write(PROPOSED, feedback_line(history.proposed))
        self.history = history
        self._write_timing(history)
        self._write_best(history)

    def until(self, round_index: int) -> History:
        """The history up to the end of a round, or all of it if the round is not complete."""
        if len(self.history.rounds) <= round_index + 1:
            return self.history
        begun = self.history.before(round_index + 1, 0)
        return replace(begun, cost=self._costs[len(begun) - 1] + asking_cost(begun))

    def drop_last(self, count: int) -> None:
        """Removes the last pictures from the folder; their cost stays counted.

        It removes one line after the other, so a crash in between leaves a readable folder.
        """
        if not count:
            return
        history = self.history
        self.history = kept = history.without_last(count)
        self._write_timing(kept)  # first: no line will tell what the others have cost
        files.remove(self.folder / PROPOSED)
        if not len(kept):  # without a picture they would be remains of lost ones
            for name in WRITTEN_LATER:
                files.remove(self.folder / name)
        elif kept.feedback != history.feedback:
            lines = b"".join(map(feedback_line, kept.feedback))
            files.replace_file(self.folder / FEEDBACK, lines)
        lines = (self.folder / HISTORY).read_bytes().splitlines(keepends=True)
        for slot, candidate in reversed(list(history.placed)[len(kept) :]):
            del lines[-1], self._costs[-1], self._index[id(candidate)]
            files.truncate(self.folder / HISTORY, sum(map(len, lines)))
            files.remove(self.folder / image_name(*slot))
            files.remove(self.folder / latents_name(*slot))
        self._best = None
        if len(kept):
            self._write_best(self.history)

    @property
    def _calls(self) -> int:
        return self.run.calls if self.run else 0

    def write(self, name: str, data: bytes) -> None:
        files.replace_file(self.folder / name, data)

    def _write(self, candidate: Candidate, slot: tuple[int, int], cost: Cost) -> None:
        index = len(self._index)
        parent = None if candidate.parent is None else self._index[id(candidate.parent)]
        entry = entry_of(candidate, index, slot, parent, cost)
        files.replace_file(self.folder / entry.image, self._png(candidate))
        if candidate.latents is not None:
            files.make_folder(self.folder / LATENTS)
            files.replace_file(self.folder / latents_name(*slot), candidate.latents)
        files.append(self.folder / HISTORY, entry.line())
        self._index[id(candidate)] = entry.index
        self._costs.append(entry.cost)

    def _write_feedback(self, said: Feedback) -> None:
        files.append(self.folder / FEEDBACK, feedback_line(said))

    def _write_timing(self, history: History) -> None:
        cost = history.cost
        told = self._costs[len(history) - 1] if len(history) else Cost(vlm_calls=self._calls)
        told += asking_cost(history)
        record = {"seconds": dict(cost.seconds), "slowest": cost.slowest, "ended": history.ended}
        counts = {name: getattr(cost, name) for name in COUNTED}
        if any(count > getattr(told, name) for name, count in counts.items()):
            record |= counts  # of pictures that were dropped; the next line tells it too
        self.write(TIMING, json.dumps(record, indent=2).encode() + b"\n")

    def _write_best(self, history: History) -> None:
        if len(history) and history.best is not self._best:
            self._best = history.best
            self.write(BEST, self._png(self._best))

    def _png(self, candidate: Candidate) -> bytes:
        if self.metadata is None:
            return encoded(candidate.image)
        return png(candidate, self.run, self.metadata)


@contextmanager
def open_archive(
    folder: Path,
    resume: bool = False,
    known: History = NOTHING_YET,
    metadata: Mapping[str, str] | None = NO_TEXTS,
) -> Iterator[Archive]:
    """The archive in `folder`, locked while it is open; a new folder that stays empty is removed.

    Pictures also carry the texts of `metadata`, or no texts at all if it is None. Candidates of a
    `known` history are returned as the same objects. Raises InputError for a folder that is in use,
    damaged, or already has a run that is not resumed.
    """
    if not resume:
        check_unused(folder)
    with files.reading(folder):
        existed = folder.exists()
    files.make_folder(folder)
    try:
        with files.locked(folder):
            if not resume:
                check_unused(folder)  # again: another process may have begun before we had the lock
            yield Archive(folder, _recovered(folder, known), metadata)
    finally:
        if not existed:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def read_recording(folder: Path, known: History = NOTHING_YET) -> Recording:
    """Reads what `folder` holds, without changing it."""
    with files.reading(folder):
        return _read(folder, known)


def _read(folder: Path, known: History) -> Recording:
    path = folder / RUN
    if not path.is_file():
        if any((folder / name).exists() for name in MADE_HERE):
            raise InputError(f"{folder} holds pictures but no {RUN}. {RESTORE}")
        return Recording()
    run = load_run(path)
    written = _written(folder)  # before the lines, since a search may be painting now
    entries, size, notices = _read_entries(folder / HISTORY, run.settings.mask)
    _check_complete(folder, len(entries), *written)
    timing, ended, untimed = read_timing(folder / TIMING)
    history = _history(folder, entries, known)
    answers, lost = read_feedback(folder / FEEDBACK, len(history))
    history = replace(history, feedback=answers, ended=ended)
    history = replace(history, proposed=read_proposed(folder / PROPOSED, history))
    spent = entries[-1].cost if entries else Cost(vlm_calls=run.calls)
    spent += asking_cost(history)
    counts = {name: max(getattr(spent, name), getattr(timing, name)) for name in COUNTED}
    history = replace(history, cost=replace(timing, **counts))
    costs = tuple(entry.cost for entry in entries)
    return Recording(run, history, costs, size, (*notices, *lost, *untimed))


def _written(folder: Path) -> tuple[int, bool]:
    """How many pictures there are, and whether there is a file that is written after a picture."""
    pictures = len(list((folder / IMAGES).glob(PICTURES)))
    return pictures, any((folder / name).exists() for name in WRITTEN_LATER)


def _check_complete(folder: Path, count: int, pictures: int, later: bool) -> None:
    """Raises InputError if the history has lost candidates: their pictures would be overwritten.

    A crash leaves at most one picture without its line.
    """
    if (later and not count) or pictures > count + 1:
        known = f"{HISTORY} has {count} of them" if (folder / HISTORY).exists() else f"no {HISTORY}"
        raise InputError(f"{folder} holds {pictures} pictures and {known}. {RESTORE}")


def check_unused(folder: Path) -> None:
    """Raises InputError for a folder that holds a run with pictures, or files of one."""
    with files.reading(folder):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file. Choose a folder for the pictures.")
        taken = [name for name in MADE_HERE if (folder / name).exists()]
        begun = HISTORY in taken or any((folder / IMAGES).glob("*"))
    if begun or set(taken) - {RUN, IMAGES}:
        raise InputError(
            f"{folder} already holds a run ({', '.join(taken)}). "
            "Add --resume to continue it, or choose another folder."
        )


def _recovered(folder: Path, known: History) -> Recording:
    """What the folder holds, after removing what a crash left behind."""
    recording = read_recording(folder, known)
    history = folder / HISTORY
    if history.exists() and history.stat().st_size != recording.size:
        files.truncate(history, recording.size)
    said = recording.history.feedback
    if (path := folder / FEEDBACK).exists() and not path.read_bytes().endswith(b"\n"):
        files.replace_file(path, b"".join(map(feedback_line, said)))
    for name in MADE_HERE:
        files.sweep(folder, name)
    files.sweep(folder / IMAGES, PICTURES)
    files.sweep(folder / LATENTS, "round-*.safetensors")
    return recording


def _read_entries(path: Path, mask: str | None) -> tuple[list[Entry], int, tuple[str, ...]]:
    """The entries, their size in bytes, and notices about a line that was cut off."""
    *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    entries: list[Entry] = []
    for line in lines:
        try:
            entries.append(_checked_successor(parse(line, mask), entries))
        except ValueError as error:
            number = len(entries) + 1
            raise InputError(
                f"Line {number} of {path} is damaged: {reason_of(error)}. {RESTORE}"
            ) from error
    size = sum(len(line) + 1 for line in lines)
    dropped = f"The last line of {path.name} was cut off while it was written; it is ignored."
    return entries, size, (dropped,) if torn else ()


def _checked_successor(entry: Entry, before: list[Entry]) -> Entry:
    """`entry`; raises ValueError if it cannot follow `before`."""
    if entry.index != len(before):
        raise ValueError(f"it has index {entry.index}, not {len(before)}")
    last = before[-1] if before else None
    allowed = [(last.round, last.position + 1), (last.round + 1, 0)] if last else [(0, 0)]
    if (entry.round, entry.position) not in allowed:
        raise ValueError(f"round {entry.round}, position {entry.position} does not follow")
    if entry.parent is not None and entry.parent >= entry.index:
        raise ValueError(f"its parent {entry.parent} comes later")
    return entry


def _history(folder: Path, entries: list[Entry], known: History) -> History:
    candidates: list[Candidate] = []
    history = History()
    for entry, same in zip_longest(entries, list(known)[: len(entries)]):
        parent = None if entry.parent is None else candidates[entry.parent]
        if same and _matches(entry, same, parent):
            candidates.append(same)
        elif same:
            raise InputError(f"{folder} holds another search. Choose another folder.")
        else:
            image = _read_image(folder / entry.image, entry)
            shared = {name: getattr(entry, name) for name in SHARED}
            latents = _read_latents(folder, entry)
            candidates.append(Candidate(image=image, parent=parent, latents=latents, **shared))
        history = history.extended(entry.round, (candidates[-1],))
    return history


def _matches(entry: Entry, candidate: Candidate, parent: Candidate | None) -> bool:
    """True if the entry is that of the candidate."""
    written = (entry.prompt, entry.reflection, entry.seed, entry.verdict.score, entry.sha256)
    digest = pixel_digest(candidate.image)
    known = (candidate.prompt, candidate.reflection, candidate.seed, candidate.score, digest)
    return written == known and candidate.parent is parent


def _read_latents(folder: Path, entry: Entry) -> bytes | None:
    if not entry.latents:
        return None
    path = folder / latents_name(entry.round, entry.position)
    if not path.is_file():
        raise InputError(f"{path} is missing. {RESTORE}")
    with files.reading(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry.latents:
        raise InputError(f"{path} does not match its checksum in {HISTORY}. {RESTORE}")
    return data


def _read_image(path: Path, entry: Entry) -> Image.Image:
    try:
        image = stored_picture(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing. {RESTORE}") from None
    except PictureError as error:
        raise InputError(f"{path} is damaged ({error.reason}). {RESTORE}") from error
    if pixel_digest(image) != entry.sha256:
        raise InputError(f"{path} does not match its checksum in {HISTORY}. {RESTORE}")
    image.info.clear()  # our metadata: a resumed search sees the picture as it was painted
    return image
