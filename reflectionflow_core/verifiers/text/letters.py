"""Comparing letters as people do: what counts as the same text, and how far texts differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Marks that nobody misses at the edge of a word; within a word (DON'T, 5.99) they count.
_SOFT = ".,;:'\"-_·•*~|()[]{}<>¡¿"
_SAME_MARK = str.maketrans(
    {
        **dict.fromkeys("’‘‛`´ʼ′", "'"),
        **dict.fromkeys("“”„‟«»″〝〞〟「」『』《》", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "İ": "I",  # in Turkish the capital of i
        "ı": "i",
        "ß": "ss",
        "ẞ": "SS",
        # Greek capitals, which an OCR often takes for the Latin ones.
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True)),
    }
)
_ALIKE = ("0Oo", "1Il|")  # not to be told apart in many fonts


# Spaces part words, and so does a comma, semicolon or colon before a letter: spaces get lost.
_PARTS = re.compile(r"\s+|(?<=[,;:，；：])(?=[^\W\d])")
# Readers join a dash between words to the number behind it: SALE - 50%, 9 - 5.
_DASH = re.compile(r"(?<=\S)\s+[-‐‑‒–—―−]\s+(?=\d)")


def words_of(text: str) -> list[str]:
    """The words of a text that have something to compare."""
    return [word for word in _PARTS.split(_DASH.sub(" -", text)) if glyphs(word)]


def letters_of(text: str) -> str:
    """All that is compared of a text."""
    return "".join(map(glyphs, words_of(text)))


def glyphs(word: str) -> str:
    """The letters, digits and marks of a word that are compared.

    Forms of one letter (full width, ligatures) and of one mark are unified; spaces are left out,
    and so are soft marks at both ends; but -20% and <3 have a sign, A- and 555- a dash.
    """
    unified = unicodedata.normalize("NFKC", word).translate(_SAME_MARK)
    # Directions, joiners and variation selectors cannot be seen.
    seen = "".join(c for c in unified if unicodedata.category(c) not in ("Cf", "Cc", "Zs"))
    seen = seen.translate({0xFE0E: None, 0xFE0F: None})
    bare = seen.strip(_SOFT)
    before, _, after = seen.partition(bare) if bare else ("", "", "")
    if before[-1:] == after[:1] == "-":
        return bare  # ornaments
    sign = before[-1:] if before.endswith(("-", "<", ">")) and bare[0].isdigit() else ""
    goes_on = after.startswith("-") and (bare[-1].isdigit() or len(bare) == 1)
    return f"{sign}{bare}{'-' if goes_on else ''}"


def is_upper(read: str) -> bool | None:
    """Whether a text is in capitals; None if its letters do not say (OI1)."""
    telling = [c for c in read if c.upper() != c.lower() and not any(c in s for s in _ALIKE)]
    return all(c == c.upper() for c in telling) if telling else None


def expected(wanted: Sequence[str], upper: bool | None) -> str:
    """The wanted words in the case of the picture.

    Case does not count, but which letters look alike depends on it: a capital I and a small l do,
    HAIL and HALL do not.
    """
    if upper:
        return "".join(_one(letter, letter.upper()) for word in wanted for letter in word)
    if upper is False and "".join(wanted).isupper():
        return "".join(w[0] + "".join(_one(c, c.lower()) for c in w[1:]) for w in wanted)
    return "".join(wanted)


def _one(letter: str, cased: str) -> str:
    return cased if len(cased) == 1 else letter


def same(wanted: str, read: str) -> bool:
    """Whether two letters count as one: case is ignored, and so are 0 O and 1 I l."""
    return wanted.casefold() == read.casefold() or any(wanted in s and read in s for s in _ALIKE)


def without_accent(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[:1]


def next_row(row: Sequence[int], wanted: str, read: str, doubtful: bool = False) -> list[int]:
    """The row of the edit distance after one more letter was read.

    `row[i]` is the distance of the first i wanted letters to all that was read so far. An accent of
    a `doubtful` letter may be dirt.
    """
    plain = without_accent(read) if doubtful else read
    new = [row[0] + 1]
    for i, letter in enumerate(wanted):
        right = same(letter, read) or same(letter, plain)
        new.append(min(new[i] + 1, row[i + 1] + 1, row[i] + (not right)))
    return new
