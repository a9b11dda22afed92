"""Faults of the text in a picture, in words that a corrector can follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...evidence import Evidence, place_in_words
from .letters import glyphs, letters_of, words_of
from .matching import Page, ReadWord, TextMatch, best_matches, matches
from .reading import LONGEST, ReadLine
from .wanted import TextWishes, WantedText

READABLE = 0.6  # lowest confidence of a line that counts as text, and of a correct text that passes
NEAR = 0.34  # share of letters that may differ in a repetition of a text
SWAPPED = 4  # shortest text for which a reordering of its letters counts as a mistake
FEW = 5  # extra texts that are named one by one
SHOWN = 80  # longest text quoted in a fault, in characters
UNREADABLE, MIRRORED = 0.1, 0.5  # similarity of unreadable text, and of mirrored text
POOR = 0.67  # up to this similarity a text may be mirrored

PixelBox = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, slots=True)
class TextFault:
    """A fault in words, its box in pixels (None: missing text), and a confidence from 0 to 1.

    `wanted` is the text that should be there, "" for extra text.
    """

    unmet: str
    box: PixelBox | None = None
    sureness: float | None = None
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class TextFinding:
    """What is correct and wrong about the text in a picture.

    * `likeness`: similarity (0 to 1) by wanted text.
    * `right`: correct texts with box and confidence.
    * `lost`: texts without any similar text in the picture.
    * `others`: text that does not count, in blocks.
    * `extra`: number of extra texts.
    """

    faults: tuple[TextFault, ...] = ()
    likeness: Mapping[str, float] = field(default_factory=dict)
    right: tuple[tuple[str, PixelBox, float], ...] = ()
    lost: tuple[WantedText, ...] = ()
    others: tuple[ReadLine, ...] = ()
    extra: int = 0
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """The mean similarity, lowered by extra texts; 1 only without a fault."""
        wanted = len(self.likeness)
        return (sum(self.likeness.values()) if wanted else 1.0) / (max(wanted, 1) + self.extra)

    @property
    def poor(self) -> bool:
        """Whether a wanted text is missing or mostly missing."""
        return any(likeness <= POOR for likeness in self.likeness.values())

    @property
    def passed(self) -> bool | None:
        if self.faults or self.lost:
            return False
        return None if any(sure < READABLE for *_, sure in self.right) else True

    @property
    def explanation(self) -> str:
        hard = [
            f'"{text}" is hardly legible ({100 * sure:.0f} % sure).'
            for text, _, sure in self.right
            if sure < READABLE
        ]
        return " ".join([*self.notes, *hard])


def judged(wishes: TextWishes, page: Page, size: tuple[int, int]) -> TextFinding:
    """The finding for the lines of a page; the picture is `size` pixels."""
    asked = [wanted for wanted in wishes.texts if not wanted.banned]
    found = best_matches([wanted.text for wanted in asked], page)
    used = {word for match in found if match for word in match.words}
    shares = [line for match in found if match for line in match.lines]
    finding = TextFinding(notes=(_in_words(page.lines, size),))
    for wanted, match in zip(asked, found, strict=True):
        if match is None or _guessed(match, wanted, page):
            finding = replace(finding, lost=(*finding.lost, wanted))
            finding = _with_likeness(finding, wanted, 0.0)
            continue
        beside = [word for word in _beside(match, page, used) if shares.count(word.line) == 1]
        finding = _with_match(finding, wanted, match, beside, page, size)
        used.update(beside)
    shared = {line for line in shares if shares.count(line) > 1}
    return _with_extras(finding, wishes, page, used, shared, size)


def _guessed(match: TextMatch, wanted: WantedText, page: Page) -> bool:
    """Whether barely legible letters differ so much that they are probably a pattern, not text."""
    sure = min(page.lines[number].sureness for number in match.lines)
    return sure < READABLE and match.cost > NEAR * len(letters_of(wanted.text))


def looked_closer(
    finding: TextFinding,
    wishes: TextWishes,
    places: Sequence[ReadLine],
    mirrored: Sequence[ReadLine],
    size: tuple[int, int],
) -> TextFinding:
    """The finding after a second look for texts that were missing or mostly missing.

    `places` look like text; `mirrored` was read in the mirrored picture. Such texts become
    mirrored, missing, or replacements for other text. Unreadable text counts as extra if none was
    asked for.
    """
    page = Page.of([line for line in mirrored if line.sureness >= READABLE])
    for wanted in wishes.texts:
        if wanted.banned or finding.likeness[wanted.text] > POOR:
            continue
        exact = [match for match in matches(wanted.text, page) if not match.cost]
        if exact:
            finding = _with_mirrored(finding, wanted, exact[0], page, size)
        elif wanted in finding.lost:
            finding = _with_lost(finding, wanted, places, size)
    if wishes.nothing_else and not finding.faults:
        finding = _with_extra_faults(
            finding,
            [
                TextFault(f"remove the unreadable writing{_where(p.box, size)}", p.box, p.sureness)
                for p in places
            ],
        )
    return replace(finding, lost=())


def _with_likeness(finding: TextFinding, wanted: WantedText, likeness: float) -> TextFinding:
    """The finding with this similarity; two equal wanted texts share the lower one."""
    least = min(likeness, finding.likeness.get(wanted.text, 1.0))
    return replace(finding, likeness={**finding.likeness, wanted.text: least})


def _with_match(
    finding: TextFinding,
    wanted: WantedText,
    match: TextMatch,
    beside: Sequence[ReadWord],
    page: Page,
    size: tuple[int, int],
) -> TextFinding:
    """The finding with a text that is there, correct or not; `beside` it are unrelated words."""
    lines = [page.lines[line] for line in match.lines]
    box, sure = _hull([line.box for line in lines]), min(line.sureness for line in lines)
    letters, extra = len(letters_of(wanted.text)), sum(len(w.glyphs) for w in beside)
    wrong = match.cost + extra
    if not wrong:
        right = (*finding.right, (wanted.text, box, sure))
        likeness = 1.0 if sure >= READABLE else max(sure, MIRRORED)
        return replace(_with_likeness(finding, wanted, likeness), right=right)
    row = {*match.words, *beside}
    read = " ".join(w.text for n in match.lines for w in page.words[n] if w in row)
    where = _where(box, size, wanted.surface)
    unmet = f'replace the text "{_short(read)}" by "{wanted.text}"{where}'
    fault = TextFault(unmet, box, sure, wanted.text)
    finding = _with_likeness(finding, wanted, max(0.0, 1 - wrong / (letters + extra)))
    return replace(finding, faults=(*finding.faults, fault))


def _with_mirrored(
    finding: TextFinding,
    wanted: WantedText,
    match: TextMatch,
    page: Page,
    size: tuple[int, int],
) -> TextFinding:
    """The finding with a text that was read mirrored, replacing its other faults."""
    left, top, right, bottom = _hull([page.lines[n].box for n in match.lines])
    box = size[0] - right, top, size[0] - left, bottom
    sure = min(page.lines[n].sureness for n in match.lines)
    where = _where(box, size, wanted.surface)
    unmet = f'mirror the writing{where}, so that it reads "{wanted.text}"'
    others = [fault for fault in finding.faults if fault.wanted != wanted.text]
    faults = (*others, TextFault(unmet, box, sure, wanted.text))
    return replace(finding, faults=faults, likeness={**finding.likeness, wanted.text: MIRRORED})


def _with_lost(
    finding: TextFinding,
    wanted: WantedText,
    places: Sequence[ReadLine],
    size: tuple[int, int],
) -> TextFinding:
    surface = f" on the {wanted.surface}" if wanted.surface else ""
    held = [fault.box for fault in finding.faults]
    free = [place for place in (*places, *finding.others) if place.box not in held]
    place = max(free, key=lambda one: area(one.box), default=None)
    where = _where(place.box, size, wanted.surface) if place else ""
    if place and place.text:
        unmet = f'replace the text "{_short(place.text)}" by "{wanted.text}"{where}'
        fault, likeness = TextFault(unmet, place.box, place.sureness, wanted.text), 0.0
    elif place:
        unmet = f'replace the unreadable writing{where} by "{wanted.text}"'
        fault, likeness = TextFault(unmet, place.box, place.sureness, wanted.text), UNREADABLE
        note = "There is writing that could not be read."
        finding = replace(finding, notes=tuple(dict.fromkeys((*finding.notes, note))))
    else:
        fault, likeness = TextFault(f'add the text "{wanted.text}"{surface}'), 0.0
        if max(size) > LONGEST:
            note = f"The picture was shrunk to {LONGEST} pixels; smaller writing is not seen."
            finding = replace(finding, notes=tuple(dict.fromkeys((*finding.notes, note))))
    likenesses = {**finding.likeness, wanted.text: likeness}
    return replace(finding, likeness=likenesses, faults=(*finding.faults, fault))


def _with_extras(
    finding: TextFinding,
    wishes: TextWishes,
    page: Page,
    used: set[ReadWord],
    shared: Collection[int],
    size: tuple[int, int],
) -> TextFinding:
    """The finding with all extra texts, and wrong copies of texts that may be repeated.

    `shared` lines have several wanted texts; nothing else may be on them, nor next to a text.
    """
    held = {word.line for word in used}
    shared = {*shared, *(b for a, b in page.touching if a in held)}
    faults = [*_banned(wishes, page, used, size)]
    others = []
    for wanted in wishes.texts:
        if wanted.copies and not wanted.banned:
            copies = [*_copies(wanted, page, used)]
            wrong = [_wrong_copy(match, wanted, page, size) for match in copies if match.cost]
            if wanted not in finding.lost:
                wrong += [_missing_copy(wanted)] * (wanted.least - 1 - len(copies))
            finding = replace(finding, faults=(*finding.faults, *dict.fromkeys(wrong)))
            finding = _with_likeness(finding, wanted, 1 / (1 + len(wrong)))
    for number, line in enumerate(page.lines):
        rest = [word for word in page.words[number] if word not in used]
        letters = "".join(word.glyphs for word in rest)
        text = " ".join(word.text for word in rest)
        if line.sureness < READABLE or sum(map(str.isalnum, letters)) < 2:
            continue
        if wishes.nothing_else or number in shared or _repeats(text, wishes):
            unmet = f'remove the text "{_short(text)}"{_where(line.box, size)}'
            faults.append(TextFault(unmet, line.box, line.sureness))
        elif not used.intersection(page.words[number]):
            others.append(number)
    return _with_extra_faults(replace(finding, others=_blocks(page, others)), faults)


def _blocks(page: Page, numbers: Collection[int]) -> tuple[ReadLine, ...]:
    """Lines of a page, adjacent ones joined; the boxes are upright."""
    free, blocks = sorted(numbers), []
    while free:
        block = [free.pop(0)]
        for here in block:
            near = [n for n in free if n in page.following[here] or here in page.following[n]]
            block += near
            free = [n for n in free if n not in near]
        lines = [page.lines[number] for number in sorted(block)]
        left, top, right, bottom = _hull([line.box for line in lines])
        corners = (left, top), (right, top), (right, bottom), (left, bottom)
        text, sure = " ".join(line.text for line in lines), min(line.sureness for line in lines)
        blocks.append(ReadLine(text, sure, corners))
    return tuple(blocks)


def _banned(
    wishes: TextWishes, page: Page, used: set[ReadWord], size: tuple[int, int]
) -> Iterator[TextFault]:
    for wanted in wishes.texts:
        for match in matches(wanted.text, page) if wanted.banned else ():
            lines = [page.lines[n] for n in match.lines]
            if match.cost or used.intersection(match.words):
                continue
            used.update(match.words)
            box = _hull([line.box for line in lines])
            unmet = f'remove the text "{wanted.text}"{_where(box, size)}'
            yield TextFault(unmet, box, min(line.sureness for line in lines))


def _copies(wanted: WantedText, page: Page, used: set[ReadWord]) -> Iterator[TextMatch]:
    """Further places with this text or nearly this text."""
    for match in matches(wanted.text, page):
        if not used.intersection(match.words) and _is_near(match, wanted):
            used.update(match.words)
            yield match


def _is_near(match: TextMatch, wanted: WantedText) -> bool:
    """Whether a place is meant to be the text: few letters differ, or only their order (SPOT)."""
    letters = letters_of(wanted.text).casefold()
    said = "".join(word.glyphs for word in match.words).casefold()
    swapped = len(letters) >= SWAPPED and sorted(letters) == sorted(said)
    return swapped or match.cost <= NEAR * len(letters)


def _wrong_copy(
    match: TextMatch, wanted: WantedText, page: Page, size: tuple[int, int]
) -> TextFault:
    box = _hull([page.lines[n].box for n in match.lines])
    read = _short(" ".join(word.text for word in match.words))
    where = _where(box, size, wanted.surface)
    sure = min(page.lines[n].sureness for n in match.lines)
    return TextFault(f'replace the text "{read}" by "{wanted.text}"{where}', box, sure)


def _missing_copy(wanted: WantedText) -> TextFault:
    surface = f" on another {wanted.surface}" if wanted.surface else " once more"
    return TextFault(f'add the text "{wanted.text}"{surface}')


def _repeats(text: str, wishes: TextWishes) -> bool:
    """Whether a text repeats a wanted text or words of one."""
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    page = Page.of([ReadLine(text, 1.0, corners)])
    row = page.words[0]
    for wanted in wishes.texts:
        if wanted.banned or wanted.copies:
            continue
        near = [match for match in matches(wanted.text, page) if _is_near(match, wanted)]
        if any(len(match.words) == len(row) for match in near):
            return True
        words = {glyphs(word).casefold() for word in words_of(wanted.text)}
        said = [word.glyphs.casefold() for word in row]
        if sum(map(len, said)) >= 3 and words.issuperset(said):
            return True
    return False


def _with_extra_faults(finding: TextFinding, faults: Sequence[TextFault]) -> TextFinding:
    """The finding with extra texts; if there are many, the rest is only counted."""
    named = list(faults[:FEW])
    if rest := faults[FEW:]:
        named.append(TextFault(f"remove the text in {len(rest)} other places"))
        named += [TextFault(named[-1].unmet, fault.box, fault.sureness) for fault in rest]
    return replace(finding, faults=(*finding.faults, *named), extra=finding.extra + len(faults))


def _beside(match: TextMatch, page: Page, used: Collection[ReadWord]) -> list[ReadWord]:
    """Words on the lines of a match that belong to no text, without ornaments."""
    return [
        word
        for line in match.lines
        for word in page.words[line]
        if word not in used and any(map(str.isalnum, word.glyphs))
    ]


def _in_words(lines: Sequence[ReadLine], size: tuple[int, int]) -> str:
    read = [
        f'"{_short(line.text)}" ({_place(line.box, size) or "all over"}, '
        f"{100 * line.sureness:.0f} % sure)"
        for line in lines
        if line.sureness >= READABLE
    ]
    if not read:
        return "No text was found."
    more = f", and {len(read) - 2 * FEW} more" if len(read) > 2 * FEW else ""
    return f"Read: {', '.join(read[: 2 * FEW])}{more}."


def _where(box: PixelBox, size: tuple[int, int], surface: str = "") -> str:
    on = f" on the {surface}" if surface else ""
    place = _place(box, size)
    return f"{on} {place}" if place else on


def _place(box: PixelBox, size: tuple[int, int]) -> str:
    share = Evidence.in_pixels("", box, size).box
    return place_in_words(share) if share else ""


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"


def _hull(boxes: Sequence[PixelBox]) -> PixelBox:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def area(box: PixelBox) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(one: PixelBox, other: PixelBox) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
