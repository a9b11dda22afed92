"""Finds wanted texts in the lines read by OCR, wherever they are broken."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from .letters import expected, glyphs, is_upper, letters_of, next_row, words_of
from .reading import ReadLine

TOO_FAR = 0.5  # share of letters that may differ in the same text
CANDIDATES = 20  # places considered per text
MAX_VISITS = 20_000  # words considered, which limits the time for a picture full of text
SAME_ROW = 0.7  # largest offset of lines in a row, in half line heights
ACCENTED = 0.9  # lowest confidence of a line whose unwanted accents count
TILT = 0.9  # lowest cosine between the directions of related lines
FRAGMENT = 3  # fewest letters of a beginning or rest of a text


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word on a line; `upper`: capitals (None: unknown); `doubtful`: accents may be dirt."""

    text: str
    glyphs: str
    upper: bool | None
    line: int
    position: int
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class TextMatch:
    """Where a wanted text is: its words in order, and their edit distance `cost`."""

    cost: int
    words: tuple[ReadWord, ...]

    @property
    def lines(self) -> list[int]:
        return list(dict.fromkeys(word.line for word in self.words))


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of a picture, their words, and which lines may follow each other.

    `touching` are pairs of lines in one row that are at most a letter's height apart.
    """

    lines: Sequence[ReadLine]
    words: list[list[ReadWord]] = field(default_factory=list)  # by line
    following: list[list[int]] = field(default_factory=list)  # by line
    touching: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, lines: Sequence[ReadLine]) -> Page:
        words = [_words(line, number) for number, line in enumerate(lines)]
        frames = [_Frame.of(line, row) for line, row in zip(lines, words, strict=True)]
        following = [
            _following(number, frames) if words[number] else [] for number in range(len(lines))
        ]
        near = {
            pair
            for one, row in enumerate(following)
            for other in row
            if frames[one].touches(frames[other])
            for pair in ((one, other), (other, one))
        }
        return cls(lines, words, following, near)

    def after(self, word: ReadWord) -> list[ReadWord]:
        """The next word of the line; after the last, the first word of each following line."""
        row = self.words[word.line]
        if word.position + 1 < len(row):
            return [row[word.position + 1]]
        return [self.words[n][0] for n in self.following[word.line] if self.words[n]]


def best_matches(wanted: Sequence[str], page: Page) -> list[TextMatch | None]:
    """The place of each wanted text or of a part of it; None if nothing is similar enough.

    No word belongs to two texts; the nearest match is taken first, of equal ones the longest text.
    """
    found = [matches(text, page) for text in wanted]
    chosen: list[TextMatch | None] = [None] * len(wanted)
    taken: set[ReadWord] = set()
    open_texts = set(range(len(wanted)))
    while open_texts:
        free = [
            (match.cost / _length(wanted[n]), -_length(wanted[n]), n, rank, match)
            for n in sorted(open_texts)
            for rank, match in enumerate(found[n])
            if not taken.intersection(match.words)
        ]
        if not free:
            break
        *_, number, _, match = min(free, key=lambda one: one[:4])
        chosen[number] = match
        taken.update(match.words)
        open_texts.remove(number)
    for number in sorted(open_texts):
        chosen[number] = part = _part(wanted[number], page, taken)
        taken.update(part.words if part else ())
    return chosen


def _part(text: str, page: Page, taken: Collection[ReadWord]) -> TextMatch | None:
    """The line with most of a text, if the text has all its words, and matching lines after it."""
    wanted = {glyphs(word).casefold() for word in words_of(text)}
    whole = {
        number: row
        for number, row in enumerate(page.words)
        if row and all(w.glyphs.casefold() in wanted and w not in taken for w in row)
    }
    if not whole:
        return None
    number = max(whole, key=lambda n: _letters(whole[n]))
    words = [*whole.pop(number)]
    while following := [n for n in page.following[number] if n in whole]:
        number = following[0]
        words += whole.pop(number)
    found = _letters(words)
    return TextMatch(max(1, _length(text) - found), tuple(words)) if found >= FRAGMENT else None


def _letters(words: Sequence[ReadWord]) -> int:
    return sum(len(word.glyphs) for word in words)


def matches(text: str, page: Page) -> list[TextMatch]:
    """The places with this text or nearly this text, nearest first.

    Of equally near ones, lines with less other text come first.
    """
    found = [*_walk(text, page)]
    found.sort(key=lambda match: (match.cost, _beside(match, page)))
    return found[:CANDIDATES]


def _walk(text: str, page: Page) -> Iterator[TextMatch]:
    words = [glyphs(word) for word in words_of(text)]
    forms = {upper: expected(words, upper) for upper in (True, False, None)}
    limit = int(TOO_FAR * _length(text))
    start = list(range(_length(text) + 1))
    visits = 0
    for first in (word for row in page.words for word in row):
        paths = [(start, (first,))]
        while paths and visits < MAX_VISITS:
            visits += 1
            row, path = paths.pop()
            for letter in path[-1].glyphs:
                row = next_row(row, forms[path[-1].upper], letter, path[-1].doubtful)
            if min(row) > limit:
                continue
            if row[-1] <= limit:
                yield TextMatch(row[-1], path)
            paths += [(row, (*path, word)) for word in page.after(path[-1]) if word not in path]


def _length(text: str) -> int:
    return len(letters_of(text))


def _beside(match: TextMatch, page: Page) -> int:
    """Letters on the lines of a match that do not belong to it."""
    rows = (word for line in match.lines for word in page.words[line])
    return sum(len(word.glyphs) for word in rows if word not in match.words)


def _words(line: ReadLine, number: int) -> list[ReadWord]:
    whole, doubtful = is_upper(line.text), line.sureness < ACCENTED
    return [
        ReadWord(
            text,
            glyphs(text),
            whole if (own := is_upper(text)) is None else own,
            number,
            position,
            doubtful,
        )
        for position, text in enumerate(words_of(line.text))
    ]


@dataclass(frozen=True, slots=True)
class _Frame:
    """A line's centre, its directions along and across, and half its length and height."""

    centre: tuple[float, float]
    along: tuple[float, float]
    length: float
    height: float
    upright: bool

    @classmethod
    def of(cls, line: ReadLine, words: Sequence[ReadWord]) -> _Frame:
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = line.corners
        centre = (x0 + x1 + x2 + x3) / 4, (y0 + y1 + y2 + y3) / 4
        length, height = math.hypot(x1 - x0, y1 - y0), math.hypot(x3 - x0, y3 - y0)
        letters = sum(len(word.glyphs) for word in words)
        if letters <= 1 or not length:  # a single letter has no direction
            left, top, right, bottom = line.box
            return cls(centre, (1.0, 0.0), (right - left) / 2, (bottom - top) / 2, True)
        if height > 1.5 * length:  # vertical text
            return cls(centre, (0.0, 1.0), height / 2, length / 2, False)
        along = (x1 - x0) / length, (y1 - y0) / length
        return cls(centre, along, length / 2, height / 2, True)

    def offset(self, other: _Frame) -> tuple[float, float]:
        """The offset of another line's centre, along this line and below it."""
        x, y = other.centre[0] - self.centre[0], other.centre[1] - self.centre[1]
        return x * self.along[0] + y * self.along[1], y * self.along[0] - x * self.along[1]

    def touches(self, other: _Frame) -> bool:
        """Whether another line is right next to this one in the same row."""
        along, down = self.offset(other)
        tall = max(self.height, other.height)
        gap = along - self.length - other.length
        return abs(down) < SAME_ROW * tall and gap < 2 * tall

    def below(self, down: float) -> float:
        """How far below an offset is; for vertical text, on either side."""
        return down if self.upright else abs(down)


def _following(number: int, frames: Sequence[_Frame]) -> list[int]:
    """The lines that may follow a line: the next on its right, and the next ones below.

    For vertical text, the next ones on both sides, because their order is unknown.
    """
    here = frames[number]
    right: list[tuple[float, int]] = []
    below: list[tuple[float, int]] = []
    for other, frame in enumerate(frames):
        if other == number or not _same_direction(here, frame):
            continue
        along, down = here.offset(frame)
        tall = max(here.height, frame.height)
        if abs(down) < SAME_ROW * tall:
            gap = along - here.length - frame.length
            if -1.5 * tall < gap < 8 * tall and along > 0:
                right.append((gap, other))
        elif abs(along) < here.length + frame.length and 0 < here.below(down) < 6 * tall:
            below.append((abs(down), other))
    nearest = min(below, default=(0.0, -1))[0] + here.height
    return [n for _, n in sorted(right)[:1]] + [n for far, n in sorted(below) if far <= nearest]


def _same_direction(one: _Frame, other: _Frame) -> bool:
    cosine = one.along[0] * other.along[0] + one.along[1] * other.along[1]
    return cosine > TILT
