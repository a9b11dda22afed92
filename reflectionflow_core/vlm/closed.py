"""Finds a choice in a text: at its beginning, in markup, or as a separate last word.

A choice within a sentence does not count, nor do two choices at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .thoughts import without_thoughts

# Signs that tokenizers and models put before a word.
BEFORE_WORDS = " \t\r\n\u2581\u0120\u010a\"'`*([{<“”‘’「『（【"
BEFORE_ANSWERS = BEFORE_WORDS + "_#>~-|:.,!¡¿：，。、\u2026\ufeff"
# Synonyms. In scripts without spaces, words are given with their common endings.
_YES = (
    "yes yeah yep yup true correct ja jawohl oui sí si sim sì да نعم हाँ हां evet tak "
    "はい ええ 是 是的 对 對 对的 對的 有 正确 正確 예 네 ✓ ✔ ✅ y"
)
_NO = (
    "no nope false incorrect nein non não nao нет لا नहीं hayır hayir nie nee "
    "いいえ 否 不 不是 不是的 不对 不對 没有 沒有 错误 錯誤 아니요 아니오 아니 ✗ ✘ ❌ n"
)
YES, NO = _YES.split(), _NO.split()
NOT_BEFORE_WORDS = {"si", "y", "n"}  # "Si hay" and "Y hay" are "if" and "and there is"
OTHER_WORDS: Mapping[frozenset[str], Mapping[str, Sequence[str]]] = {
    frozenset({"yes", "no"}): {"yes": YES, "no": NO},
    frozenset({"first", "second"}): {
        "first": ("the first", "1st", "image 1", "picture 1"),
        "second": ("the second", "2nd", "image 2", "picture 2"),
    },
}
_DECORATION = r"(?:[\s*_`'\"“”‘’「【\[({$<:：]|\\text\{|\\mathbf\{|\\mathrm\{)*"
_MARKS = re.compile(
    r"(?:<answer>|\\boxed\s*\{|\"answer\"\s*:|answer\s*(?:is)?\s*[:：]|answer\s+is\b"
    r"|(?:antwort|réponse|respuesta|resposta|risposta|ответ|cevap|odpowiedź)\s*[:：]"
    r"|(?:答案|回答|答え|정답|답)\s*(?:是|は)?\s*[:：]?)" + _DECORATION,
    re.IGNORECASE,
)
# Words before such a mark at the start of an answer: "The final answer is".
_LEAD = re.compile(r"(?:\W|\b(?:the|my|final|correct|short)\b)*", re.IGNORECASE)
_LETTERS = re.compile(r"\w{1,40}")
_LAST_SIGNS = re.compile(r"[\s.,!。！*_`'\"”’」】\])}>$]+$|</answer>\s*$")
_AGAIN = re.compile(r"^[\s*'\"]*(?:/|\||\b(?:or|and|und|oder|ou|et|y|o|или|и)\b|或|和)[\s*'\"]*")


@dataclass(frozen=True, slots=True)
class FoundChoice:
    """The index of a choice, and where its word begins in the text."""

    index: int
    start: int


def said_choice(text: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that an answer states; None for none or several.

    Thoughts are ignored. "**Yes**", "<answer>yes</answer>", "\boxed{yes}", "Answer: yes" and, for
    yes and no, words in other languages count.
    """
    found = find_choice(without_thoughts(text), choices)
    return None if found is None else found.index


def certain_text(text: str, choices: Sequence[str], cut: bool) -> str:
    """The text without thoughts, as far as it is an answer.

    A `cut` text may be a thought without opening mark, so only a choice at its beginning is kept
    ("" if there is none). After a closed thought everything is the answer.
    """
    said = without_thoughts(text)
    if not cut or said != text.strip():
        return said
    found = find_choice(said, choices, cut=True)
    return "" if found is None else choices[found.index]


def find_choice(text: str, choices: Sequence[str], cut: bool = False) -> FoundChoice | None:
    """`said_choice` with the word's place, without thoughts; if `cut`, only at the beginning."""
    words = _words(choices)
    for start in _beginnings(text) if cut else _places(text):
        index = _at(text, start, words)
        if index is not None:
            return FoundChoice(index, start)
    return None


def choice_index(text: str, choices: Sequence[str]) -> int | None:
    """The choice that a text or token begins with, or is a beginning of; None unless unique."""
    said = folded(text)
    words = _words(choices)
    index = _longest(said, words)
    if index is not None:
        return index
    starts = [i for i, c in enumerate(map(folded, choices)) if said and c.startswith(said)]
    return starts[0] if len(starts) == 1 else None


def begins_otherwise(text: str, choices: Sequence[str]) -> bool:
    """Whether a text begins with two choices ("yes or no"), or with a word that merely looks like
    one ("nothing"), so that its first token is meaningless."""
    words, said = _words(choices), text.casefold()
    if _longest(said, words) is not None:
        return _at(text, 0, words) is None
    first = _LETTERS.match(said)
    if first and any(word == first[0] for word, _ in words):
        return True  # one of NOT_BEFORE_WORDS
    if first is None or any(word.startswith(first[0]) for word, _ in words):
        return False  # the beginning of a truncated choice
    return any(first[0].startswith(word) for word, _ in words)


def folded(text: str) -> str:
    """A word in the form for comparison: without case and without signs before it."""
    bare = text.lstrip(BEFORE_WORDS)
    return (bare or text.strip()).rstrip().casefold()


def _words(choices: Sequence[str]) -> list[tuple[str, int]]:
    """The words that count, folded, with the index of their choice."""
    own = [folded(choice) for choice in choices]
    known = [(word, index) for index, word in enumerate(own)]
    for index, word in enumerate(own):
        others = OTHER_WORDS.get(frozenset(own), {}).get(word, ())
        known += [(folded(other), index) for other in others]
    return known


def _places(text: str) -> Iterator[int]:
    """Possible places of a choice: after the last answer mark, at the start, and as last line."""
    marks = list(_MARKS.finditer(text))
    if marks:
        yield marks[-1].end()
    yield len(text) - len(text.lstrip(BEFORE_ANSWERS))
    lines = _LAST_SIGNS.sub("", text).splitlines()
    if len(lines) > 1:
        last = lines[-1]
        yield text.rindex(last) + len(last) - len(last.lstrip(BEFORE_ANSWERS))


def _beginnings(text: str) -> Iterator[int]:
    """Possible places of a choice at the beginning: after a first mark, and at the start."""
    mark = _MARKS.search(text)
    if mark and _LEAD.fullmatch(text, 0, mark.start()):
        yield mark.end()
    yield len(text) - len(text.lstrip(BEFORE_ANSWERS))


def _at(text: str, start: int, words: Sequence[tuple[str, int]]) -> int | None:
    said = text[start:].casefold()
    index = _longest(said, words)
    if index is None:
        return None
    longest = max((w for w, i in words if i == index and _begins_with(said, w)), key=len)
    joined = _AGAIN.match(said[len(longest) :])
    if joined is None:
        return index
    behind = said[len(longest) + joined.end() :]
    second = _longest(behind, words)
    is_cut = not behind  # "yes or": the rest is unknown
    return None if is_cut or (second is not None and second != index) else index


def _longest(said: str, words: Sequence[tuple[str, int]]) -> int | None:
    whole = [(len(word), index) for word, index in words if _begins_with(said, word)]
    return max(whole)[1] if whole else None


def _begins_with(said: str, word: str) -> bool:
    """Whether the text begins with the word: "no." with "no", but "not" does not."""
    if not said.startswith(word):
        return False
    after = said[len(word) :]
    if word in NOT_BEFORE_WORDS and re.match(r"[ \t]+\w", after):
        return False
    return not (after[:1].isalnum() or after[:1] == "_")
