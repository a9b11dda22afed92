"""The texts that a prompt asks for: whatever is in quotation marks, in any language's form.

Only the prompt is read, by rules; no picture and no OCR are involved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...record import InputError

# Closing marks by opening mark. In some languages both are the same (”…”, »…»).
_CLOSERS = {
    '"': '"',
    "＂": "＂",
    "“": '”“"',
    "”": "”",
    "„": '“”‟"',
    "‟": "”",
    "«": "»",
    "»": "«»",
    "‹": "›",
    "›": "‹›",
    "‘": "’'",
    "‚": "‘’",
    "’": "’",
    "'": "'",
    "`": "`'",
    "「": "」",
    "『": "』",
    "﹁": "﹂",
    "﹃": "﹄",
    "《": "》",
    "〝": "〞〟",
    "״": "״",
}
_APOSTROPHES = "'’‘`"  # also used within words
# Two single marks used as a double one.
_DOUBLED = re.compile(r"(?:``|(?<!\w)'')(?=\S)(.+?)''", re.DOTALL)
_IDEOGRAPHS = 0x2E80  # scripts from here on have no spaces between words
_SHORTENED = re.compile(r"['’](?:n['’]|\d0s\b|til\b|em\b|cause\b|tis\b|twas\b)", re.IGNORECASE)
_SHORT_AND = re.compile(r"['’]n['’]", re.IGNORECASE)  # rock 'n' roll
# The apostrophe of 'Ladies' Night', where another one closes the text.
_OF_SEVERAL = re.compile(r"(?<=s)['’] \w[^\"“”‘’'«»,.;:]*\w['’](?!\w)", re.IGNORECASE)

_SURFACES = (
    "sign billboard poster banner board chalkboard blackboard whiteboard screen monitor display "
    "shirt t-shirt tshirt hoodie sweater hat cap mug cup bottle can label sticker badge button "
    "card postcard envelope letter note page book cover magazine newspaper menu wall window door "
    "cake cookie box bag package flag plate plaque gravestone tombstone car truck van bus train "
    "neon balloon balloons ticket map logo headline title tattoo marquee awning storefront"
)
_SURFACE = re.compile(rf"\b({'|'.join(_SURFACES.split())})(s|es)?\b", re.IGNORECASE)
_COPIES = re.compile(
    r"\b(?:each|every|both|all|many|several|multiple|pattern|rows?|repeat\w*|twice|times|two|three"
    r"|four|five|six|seven|eight|nine|ten|\d+)\b",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"[^.,;!?]{0,20}\b(?:twice|times|repeated(?:ly)?|again)\b", re.IGNORECASE)
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# "two red signs that each say": all of them must have the text.
_NUMBERED = re.compile(
    rf"\b(?P<number>both|{'|'.join(_NUMBERS)}|[2-9]|10)\s+(?:of\s+the\s+|the\s+)?(?:[\w-]+\s+)?"
    rf"(?:{'|'.join(_SURFACES.split())})(?:s|es)\b(?:[,:\s]*\b(?:that|which|each|both|all|with|the"
    r"|words?|texts?|letters|say(?:s|ing)?|read(?:s|ing)?|spell(?:s|ing)?|show(?:s|ing)?"
    r"|display(?:s|ing)?|bear(?:s|ing)?|labell?ed)\b)*[,:\s]*$",
    re.IGNORECASE,
)
# Each object may have its own text: "STOP" and "GO".
_ANOTHER = re.compile(
    r"\s*(?:,|and\b|or\b|&)[\s,]*(?:and\b|or\b)?\s*$|[^.;!?]*\b(?:one|first|other|another|second)\b",
    re.IGNORECASE,
)
_BANNED = re.compile(
    r"\b(?:without|no|not|never|instead of|rather than|anything (?:but|except)|\w+n['’]t)"
    r"(?:\s+(?:the|any|a|an|to|longer|words?|texts?|letters|sign|saying|says|say|reading|reads|read"
    r"|showing|shows|show|spelling|spell|written|write|with|have|has))*\s*$",
    re.IGNORECASE,
)
_OTHER_LANGUAGES = (  # (without, any or other, writing)
    (r"ohne|kein\w*", r"je[dg]\w+|weiter\w*|ander\w*", r"texte?|\w*schrift\w*|worte?|buchstaben"),
    ("sans", "aucune?|autres?", "textes?|mots|écritures?|lettres"),
    ("sin", r"ning\w+|otr[oa]s?", "textos?|palabras|letras"),
    ("senza", r"nessun\w*|alcun\w*|altr\w+", "test[oi]|scritte|parole|lettere"),
    ("sem", r"nenhum\w*|qualquer|outr[oa]s?", "textos?|palavras|letras"),
    ("geen|zonder", "enige|andere", "tekst(?:en)?|woorden|letters"),
    ("uten|utan|uden", "noen|noget?|någon|annen|annan|anden", "te(?:ks|x)t|ord|bokst[aä]ver"),
    ("без", r"как\w+-либо|друг\w+", "текста|надписей|слов|букв"),
    ("bez", r"żadnego|innego|jakéhokoli", "te(?:ks|x)tu|napisów|nápisů"),
)
_NO_TEXT = re.compile(
    r"\b(?:no|without|free of|never any|not a)\s+(?:any\s+|other\s+|further\s+|additional\s+"
    r"|extra\s+|visible\s+|readable\s+|legible\s+|gibberish\s+|random\s+|(?:a\s+)?single\s+)*"
    r"(?:texts?|words?|writing|letter(?:s|ing)|inscriptions?|captions?"
    r"|typography)\b(?!\s+(?:say|spell|read)\w*)|\btext-?\s?(?:free|less)\b|\bnothing else\b"
    r"|\bonly the (?:texts?|words?)\b|"
    + "|".join(rf"\b(?:{no})\s+(?:(?:{a})\s+)*(?:{what})\b" for no, a, what in _OTHER_LANGUAGES)
    + r"|(?:没有|沒有|無|无|不要|不含)(?:任何|其他|出现|出現|有)*(?:文字|文本|字)"
    r"|(?:文字|テキスト)[のがは]?(?:な|無)[いし]|(?:글자|글씨|텍스트)[가는도]?\s*없",
    re.IGNORECASE,
)

_MARK = "\ue000"  # stands for a quoted text
_SAYS = (
    "that which says? saying reads? reading spells? spelling shows? showing displays? displaying "
    "labell?ed titled named called with without no not never does do bearing and is are written "
    "painted printed in the a any words? texts? letters lettering title name inscription caption "
    "label headline slogan besides except but"
)
_SERIES = re.compile(rf"{_MARK}(?:(?:\s*,)?\s*(?:and\s+|or\s+|,\s*)?{_MARK})+")
_SAYING_ON = re.compile(
    r"[,\s]*\b(?:(?:that|which)\s+)?(?:says?|saying|reads?|reading|spells?|spelling|shows?|showing"
    r"|displays?|displaying|labell?ed|titled|named|called|bearing)\s+(?:the\s+)?"
    rf"(?:(?:words?|texts?|letters)\s+)?{_MARK}(?=\s+(?:on|across|above|over)\s+(?:an?|the)\s)",
    re.IGNORECASE,
)
_ON = re.compile(
    rf"(?:\b(?:the|a)\s+)?(?:\b(?:words?|texts?|letters|title|name)\s+)?{_MARK}\s+(?:(?:is|are)\s+)?"
    r"(?:(?:written|painted|printed)\s+)?(?:on|across|above|over)\s+(?=(?:an?|the)\s)"
)
_INTRODUCED = re.compile(
    rf"(?:[,:\s]*\b(?:{'|'.join(_SAYS.split())})\b)*[,:\s]*{_MARK}"
    r"(?:(?:\s+(?:printed|written|painted))?\s+on\s+it\b)?",
    re.IGNORECASE,
)
_EDGES = re.compile(r"^[\s,;.:]+|(?:[\s,;:]|\s+(?:and|with|but))+$")


@dataclass(frozen=True, slots=True)
class WantedText:
    """A text that must be readable in the picture.

    `surface` is the object it is on ("sign"), or "". With `copies` it may occur several times, and
    must occur `least` times. A `banned` text must not occur.
    """

    text: str
    surface: str = ""
    copies: bool = False
    banned: bool = False
    least: int = 1


@dataclass(frozen=True, slots=True)
class TextWishes:
    """Everything a prompt says about text; with `nothing_else` no other text is allowed."""

    texts: tuple[WantedText, ...] = ()
    nothing_else: bool = False

    def __bool__(self) -> bool:
        return bool(self.texts) or self.nothing_else


def text_wishes(prompt: str) -> TextWishes:
    """The texts in quotation marks, and whether other text is excluded ("without any text").

    A single mark within a word is an apostrophe; after a digit it means inches or feet. InputError
    for a mark that is never closed, if nothing else is quoted.
    """
    prompt = _DOUBLED.sub(r'"\1"', prompt.replace("\\", ""))
    spans, unclosed = _quoted_spans(prompt)
    around = _outside(prompt, spans)
    texts = tuple(
        _wanted(" ".join(prompt[start:end].split()), before, after)
        for (start, end), before, after in zip(spans, around, around[1:], strict=False)
    )
    wishes = TextWishes(texts, bool(_NO_TEXT.search(" ".join(around))))
    if not wishes and unclosed:
        raise InputError(
            f"The quotation mark before {prompt[unclosed : unclosed + 20].strip()!r} in the "
            "prompt is never closed. Close it after the text."
        )
    return wishes


def without_texts(prompt: str) -> str:
    """The prompt without its texts: "a cat and a sign" for one whose sign says something.

    Removes quoted texts with the words that introduce them, and "without any text"; "" if nothing
    is left.
    """
    prompt = _DOUBLED.sub(r'"\1"', prompt.replace("\\", ""))
    text = _MARK.join(_outside(prompt, _quoted_spans(prompt)[0]))
    patterns = (_SAYING_ON, _ON, _NO_TEXT, _INTRODUCED)
    for pattern, instead in ((_SERIES, _MARK), *((pattern, "") for pattern in patterns)):
        text = pattern.sub(instead, text)
    text = re.sub(r"(?:\b(?:with|and)\s*|,\s*)(?=[,;.]|$)", "", text)
    return " ".join(_EDGES.sub("", _EDGES.sub("", text)).split())


def is_surface(name: str) -> bool:
    """Whether an object is there to be written on, such as a sign: its text proves it."""
    return _SURFACE.fullmatch(name) is not None


def _quoted_spans(prompt: str) -> tuple[list[tuple[int, int]], int]:
    """The (start, end) of every quoted text, and the start of a text that is never closed."""
    spans: list[tuple[int, int]] = []
    position, unclosed = 0, 0
    while position < len(prompt):
        if not _opens(prompt, position):
            position += 1
            continue
        end = _closer(prompt, position)
        if end is None:
            if prompt[position] not in _APOSTROPHES:
                unclosed = unclosed or position + 1
            position += 1
            continue
        if prompt[position + 1 : end].strip():
            spans.append((position + 1, end))
        position = end + 1
    return spans, unclosed


def _opens(prompt: str, at: int) -> bool:
    mark = prompt[at]
    if mark not in _CLOSERS:
        return False
    before, after = prompt[at - 1 : at], prompt[at + 1 : at + 2]
    if mark in _APOSTROPHES:
        return not _in_word(before) and bool(after.strip()) and not _SHORTENED.match(prompt, at)
    return not (mark in '"”″' and before.isdigit())


def _closer(prompt: str, opened: int) -> int | None:
    mark = prompt[opened]
    for at in range(opened + 1, len(prompt)):
        if mark == "'" and at > opened + 1 and prompt[at] == mark and _opens(prompt, at):
            return None  # a new text begins: the first mark was an apostrophe
        if prompt[at] in _CLOSERS[mark] and not (
            prompt[at] in _APOSTROPHES
            and (
                _in_word(prompt[at + 1 : at + 2])
                or _SHORT_AND.match(prompt, at - 2)
                or _OF_SEVERAL.match(prompt, at)
            )
        ):
            return at
    return None


def _in_word(letter: str) -> bool:
    return letter.isalnum() and ord(letter) < _IDEOGRAPHS


def _outside(prompt: str, spans: list[tuple[int, int]]) -> list[str]:
    """The words before, between and after the texts."""
    edges = [0, *(edge for start, end in spans for edge in (start - 1, end + 1)), len(prompt)]
    return [prompt[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _wanted(text: str, before: str, after: str) -> WantedText:
    """A text with what the surrounding words say about it."""
    clause = re.split(r"[.;!?]\s", before)[-1][-80:]
    behind = re.match(r"[^.;!?]{0,12}\b(?:on|across|above|over)\b[^.,;!?]{0,40}", after)
    found = [*_SURFACE.finditer(clause)]
    surface = found[-1] if found else behind and _SURFACE.search(behind[0])
    return WantedText(
        text,
        surface=surface[1].lower() if surface else "",
        copies=bool(_COPIES.search(clause) or _AGAIN.match(after) or (surface and surface[2])),
        banned=bool(_BANNED.search(clause)),
        least=_least(clause, after),
    )


def _least(clause: str, after: str) -> int:
    """How many of the counted objects must have the text; 1 if their texts may differ."""
    found = _NUMBERED.search(clause)
    if not found or _ANOTHER.match(after):
        return 1
    number = found["number"].lower()
    if number.isdigit():
        return int(number)
    return 2 if number == "both" else 2 + _NUMBERS.index(number)
