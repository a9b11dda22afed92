"""Compares letters as people do: which texts count as equal, and how much texts differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Punctuation that is ignored at the edge of a word, but not within (DON'T, 5.99).
_SOFT = ".,;:'\"-_·•*~|()[]{}<>¡¿"
_SAME_MARK = str.maketrans(
    {
        **dict.fromkeys("’‘‛`´ʼ′", "'"),
        **dict.fromkeys("“”„‟«»″〝〞〟「」『』《》", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "İ": "I",  # the Turkish capital of i
        "ı": "i",
        "ß": "ss",
        "ẞ": "SS",
        # Greek capitals that OCR often reads as Latin ones.
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True)),
    }
)
_ALIKE = ("0Oo", "1Il|")  # identical in many fonts


# Words end at spaces, and at a comma, semicolon or colon before a letter (OCR loses spaces).
_PARTS = re.compile(r"\s+|(?<=[,;:，；：])(?=[^\W\d])")
# OCR attaches a dash between words to the following number: SALE - 50%, 9 - 5.
_DASH = re.compile(r"(?<=\S)\s+[-‐‑‒–—―−]\s+(?=\d)")


def words_of(text: str) -> list[str]:
    """The words of a text that contain something to compare."""
    return [word for word in _PARTS.split(_DASH.sub(" -", text)) if glyphs(word)]


def letters_of(text: str) -> str:
    """Everything that is compared of a text."""
    return "".join(map(glyphs, words_of(text)))


def glyphs(word: str) -> str:
    """The letters, digits and punctuation of a word that are compared.

    Variants of one letter (full width, ligatures) or punctuation mark are unified. Spaces and soft
    marks at both ends are dropped, but the sign in -20% or <3 and the dash in A- or 555- are kept.
    """
    unified = unicodedata.normalize("NFKC", word).translate(_SAME_MARK)
    # Directions, joiners and variation selectors are invisible.
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
    """Whether a text is in capitals; None if its letters do not tell (OI1)."""
    telling = [c for c in read if c.upper() != c.lower() and not any(c in s for s in _ALIKE)]
    return all(c == c.upper() for c in telling) if telling else None


def expected(wanted: Sequence[str], upper: bool | None) -> str:
    """The wanted words in the case of the picture.

    Case is ignored, but it decides which letters look alike: capital I and small l do, yet HAIL and
    HALL do not.
    """
    if upper:
        return "".join(_one(letter, letter.upper()) for word in wanted for letter in word)
    if upper is False and "".join(wanted).isupper():
        return "".join(w[0] + "".join(_one(c, c.lower()) for c in w[1:]) for w in wanted)
    return "".join(wanted)


def _one(letter: str, cased: str) -> str:
    return cased if len(cased) == 1 else letter


def same(wanted: str, read: str) -> bool:
    """Whether two letters count as equal, ignoring case and the differences 0 O and 1 I l."""
    return wanted.casefold() == read.casefold() or any(wanted in s and read in s for s in _ALIKE)


def without_accent(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[:1]


def next_row(row: Sequence[int], wanted: str, read: str, doubtful: bool = False) -> list[int]:
    """The next row of the edit distance, after one more read letter.

    `row[i]` is the distance of the first i wanted letters from everything read so far. An accent on
    a `doubtful` letter may be dirt.
    """
    plain = without_accent(read) if doubtful else read
    new = [row[0] + 1]
    for i, letter in enumerate(wanted):
        right = same(letter, read) or same(letter, plain)
        new.append(min(new[i] + 1, row[i + 1] + 1, row[i] + (not right)))
    return new
