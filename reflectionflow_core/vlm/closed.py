"""Finds a choice in a text: at its beginning, in markup, or as a separate last word.

A choice within a sentence does not count, nor do two choices at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .thoughts import without_thoughts

# Signs that tokenizers and models put before a word.
BEFORE_WORDS = " \t\r\n\u2581\u0120\u010a\"'`*([{<“”‘’「『（【"
BEFORE_ANSWERS = BEFORE_WORDS + "_#>~-|:.,!¡¿：，。、\u2026\ufeff\u200b\u2060"
# Synonyms. In scripts without spaces, words are given with their common endings.
_YES = (
    "yes yeah yep yup true correct ja jawohl oui sí si sim sì да так ναι نعم بله כן हाँ हां evet "
    "tak ano igen kyllä có ya はい ええ 是 是的 对 對 对的 對的 有 正确 正確 符合 "
    "예 네 맞습니다 ✓ ✔ ✅ y"
)
_NO = (
    "no nope false incorrect nein nej nei non não nao нет не ні όχι لا خیر לא नहीं hayır hayir "
    "nie nee ne nem ei không tidak いいえ 違います 否 不 不是 不是的 不对 不對 没有 沒有 错误 錯誤 "
    "不符合 아니요 아니오 아니 아닙니다 ✗ ✘ ❌ n"
)
YES, NO = _YES.split(), _NO.split()
# "Si hay" and "Y hay" are "if" and "and there is", "не уверен" is "not sure".
NOT_BEFORE_WORDS = ("si", "y", "n", "ya", "так", "ne", "nei", "не", "nem", "ei", "không", "tidak")
OTHER_WORDS: Mapping[frozenset[str], Mapping[str, Sequence[str]]] = {
    frozenset({"yes", "no"}): {"yes": YES, "no": NO},
    frozenset({"first", "second"}): {
        "first": ("the first", "1st", "image 1", "picture 1"),
        "second": ("the second", "2nd", "image 2", "picture 2"),
    },
}
_DECORATION = r"(?:[\s*_`'\"“”‘’「【\[({$<:：]|\\text\{|\\mathbf\{|\\mathrm\{)*"
_NAME = "(?:final[ _]?)?(?:answer|verdict|result|conclusion|response|decision|judge?ment|output)"
_MARKS = re.compile(
    rf"(?:<{_NAME}>|\[{_NAME}\]|\\boxed\s*\{{|[\"']?{_NAME}[\"']?\s*(?:is\s*)?[:：]"
    r"|answer(?: to \w+ question)?\s+(?:is|(?:w|sh)ould be|must be)\b"
    r"|(?:antwort|réponse|respuesta|resposta|risposta|ответ|cevap|odpowiedź)\s*[:：]"
    r"|(?:答案|回答|答え|정답|답)\s*(?:是|は)?\s*[:：]?)" + _DECORATION,
    re.IGNORECASE,
)
# Words before such a mark at the start of an answer: "The final answer is".
_LEAD = re.compile(r"(?:\W|\b(?:the|my|final|correct|short)\b)*", re.IGNORECASE)
_LETTERS = re.compile(r"\w{1,40}")
_LAST_SIGNS = re.compile(r"[\s.,!。！*_`'\"”’」】\])}>$]+$|</answer>\s*$")
_AGAIN = re.compile(r"^[\s*'\"]*(?:/|\||\b(?:or|and|und|oder|ou|et|y|o|или|и)\b|或|和)[\s*'\"]*")
# Behind a word that is no answer but the name of a number: {"yes": 0.1}, Yes: 10%.
_VALUE = re.compile(r"[\"'”]\s*[:：]|\s*[:=]\s*(?:[01]?\.\d|\d+\s?%|(?:true|false)\b)")
_NONE_WRONG = re.compile(r"\s+(?:issue|problem|doubt|fault|flaw|error|mistake)s?\b")  # means yes
# Begins with "no" and answers nothing.
_NOT_SHOWN = re.compile(
    r"\bno (?:\w+ )?(?:image|picture|photo)s? (?:(?:is|are|was|were|has|have|been) ){0,2}"
    r"(?:provided|attached|uploaded|shared|given|included|supplied|received|sent)\b"
    r"|(?:can(?:not|['’]t)|unable to|not able to) (?:actually |directly )?(?:see|view|access|open)"
    r" (?:any |the |this |your |an )?(?:image|picture|photo)s?\b(?!['’ ]\w)"
    r"|\b(?:do not|don['’]t) (?:see|have) (?:an|any) (?:image|picture|photo)s?\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"[\W_]*(?:but\b)?[\W_]*")
_CONCLUDING = re.compile(
    r"(?:(?:so|therefore|thus|hence|overall|actually|wait|sorry)\b[\W_]*)+", re.IGNORECASE
)
_SENTENCE = re.compile(r"[.!?;…]\s+|[。！？；\n]")


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
    if _NOT_SHOWN.search(text):
        return None
    words = _words(choices)

    def found(starts: Iterable[int]) -> list[FoundChoice]:
        said = ((start, _at(text, start, words)) for start in starts)
        return [FoundChoice(index, start) for start, index in said if index is not None]

    if cut:
        return next(iter(found(_beginnings(text))), None)
    if marked := found([mark.end() for mark in list(_MARKS.finditer(text))[-1:]]):
        return marked[0]
    first = _first(text, 0)
    begun = found([first])
    if not begun and _longest(text[first:].casefold(), words) is not None:
        return None  # "yes or no"
    said = [*begun, *found(_last(text, words))]
    return said[0] if len({choice.index for choice in said}) == 1 else None


def choice_index(text: str, choices: Sequence[str]) -> int | None:
    """The choice that a text or token begins with, or is a beginning of; None unless unique."""
    said = folded(text)
    words = _words(choices)
    index = _longest(said, words)
    if index is not None:
        return index
    starts = [i for i, c in enumerate(map(folded, choices)) if said and c.startswith(said)]
    return starts[0] if len(starts) == 1 else None


def begins_otherwise(text: str, choices: Sequence[str], cut: bool = False) -> bool:
    """Whether a text begins with a choice and states none ("yes or no"), or with a word that merely
    looks like one ("nothing"), so that its first token is meaningless."""
    words, said = _words(choices), text.casefold()
    if _longest(said, words) is not None:
        return find_choice(text, choices, cut) is None
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


def _beginnings(text: str) -> Iterator[int]:
    """Possible places of a choice at the beginning: after a first mark, and at the start."""
    mark = _MARKS.search(text)
    if mark and _LEAD.fullmatch(text, 0, mark.start()):
        yield mark.end()
    yield _first(text, 0)


def _first(text: str, start: int) -> int:
    """Where words begin, behind signs and "so"."""
    bare = text[start:].lstrip(BEFORE_ANSWERS)
    concluding = _CONCLUDING.match(bare)
    return len(text) - len(bare) + (concluding.end() if concluding else 0)


def _last(text: str, words: Sequence[tuple[str, int]]) -> Iterator[int]:
    """Where a choice may end a text: as the last sentence, alone or, on a line of its own, before
    a sign ("No, it is blue"). "No cups" is no answer there."""
    end = len(_LAST_SIGNS.sub("", text))
    breaks = list(_SENTENCE.finditer(text, 0, end))
    start = _first(text, breaks[-1].end() if breaks else 0)
    if breaks and any(text[start:end].casefold() == word for word, _ in words):
        yield start
    line = _first(text, text.rfind("\n", 0, end) + 1)
    said = text[line:end].casefold()
    if line > _first(text, 0) and any(
        _begins_with(said, word) and not re.match(r"\s", said[len(word) :]) for word, _ in words
    ):
        yield line


def _at(text: str, start: int, words: Sequence[tuple[str, int]]) -> int | None:
    said = text[start:].casefold()
    index = _longest(said, words)
    if index is None:
        return None
    longest = max((w for w, i in words if i == index and _begins_with(said, w)), key=len)
    rest = said[len(longest) :]
    contrary = _BUT.sub("", _LAST_SIGNS.sub("", rest), count=1)
    if _VALUE.match(rest) or any(contrary == word for word, other in words if other != index):
        return None  # "yes, no"
    joined = _AGAIN.match(rest)
    if joined is None:
        return index
    behind = rest[joined.end() :]
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
    if word in NOT_BEFORE_WORDS and re.match(r"[ \t]+\w|[/&'’.-]\w", after):
        return False
    if word == "no" and _NONE_WRONG.match(after):
        return False
    return not (after[:1].isalnum() or after[:1] == "_")
