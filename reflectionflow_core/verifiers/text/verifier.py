"""Judges the text in a picture by OCR and rules, without a language model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from types import MappingProxyType

from PIL import ImageOps
from PIL.Image import Image

from ...evidence import Evidence
from ...protocols import SILENT, Progress
from ...record import InputError, Verdict
from .faults import READABLE, TextFault, TextFinding, area, judged, looked_closer, overlap
from .letters import glyphs, letters_of
from .matching import Page
from .reading import ReadLine, TextReader, load_reader
from .wanted import TextWishes, WantedText, text_wishes

READ_SYMBOLS = "©®°"  # that the reader finds; not so hearts, stars and cups
LARGEST = 0.5  # largest share of a picture covered by a text; larger places are textures


class TextVerifier:
    """Passes pictures in which exactly the wanted texts can be read.

    Wanted are the texts in quotation marks (see `text_wishes`), or no text at all if the prompt
    excludes text. Case, line breaks and spaces are ignored, as are differences between 0 and O or
    1, I and l, and punctuation at the edges of words except ! and ?.

    * Score: 0 to 1, the mean similarity of the wanted texts, lowered by each extra text; 1 only
      without a fault.
    * `aspects`: similarity by text.
    * `passed`: None if a text seems correct but is barely legible.
    * `unmet`: faults in words that the writer "template" turns into commands.
    * `evidence`: boxes of faults and of correct texts.

    InputError for a prompt without quoted text and for letters that the reader does not know, even
    without images.
    """

    calls = 0

    def __init__(self, reader: TextReader | None = None) -> None:
        self.reader = reader or load_reader()

    def applies_to(self, prompt: str) -> bool:
        """Whether the prompt asks for or excludes text."""
        return bool(text_wishes(prompt))

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return self.judge(self._wishes(prompt), images, progress)

    def judge(
        self, wishes: TextWishes, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        """`verify` for parsed wishes; their letters are not checked."""
        verdicts: list[Verdict] = []
        for image in images:
            progress.check()
            verdicts.append(_verdict(self._finding(wishes, image), image.size))
            progress.report("verify", len(verdicts), len(images))
        return verdicts

    def _wishes(self, prompt: str) -> TextWishes:
        wishes = text_wishes(prompt)
        if not wishes:
            raise InputError(
                "The prompt has no words in quotation marks, which the verifier text needs. "
                'Write them as in: a sign that says "OPEN"; or choose another verifier.'
            )
        for wanted in wishes.texts:
            self.check_letters(wanted)
        return wishes

    def check_letters(self, wanted: WantedText) -> None:
        """InputError for a text with letters that the reader does not know."""
        letters = letters_of(wanted.text)
        if not letters:
            raise InputError(
                f'The text "{wanted.text:.80}" has no letters or digits. Leave out its '
                "quotation marks, or choose another verifier."
            )
        unknown = [c for c in dict.fromkeys(letters) if not self._reads(c)]
        if unknown:
            raise InputError(
                f'The text "{wanted.text:.80}" has letters or signs that the verifier text cannot '
                f"read: {' '.join(unknown[:10])}. It reads Latin, Chinese, Japanese and some "
                "Greek. Leave out this text, or choose a verifier with a vision-language model."
            )

    def _reads(self, sign: str) -> bool:
        if sign.isalpha():
            return bool(self.reader.alphabet & {sign, sign.upper(), sign.lower()})
        return sign in READ_SYMBOLS or unicodedata.category(sign) != "So"

    def _finding(self, wishes: TextWishes, image: Image) -> TextFinding:
        lines = self.reader.read(image)
        finding = judged(wishes, Page.of(lines), image.size)
        if not finding.poor and (finding.faults or not wishes.nothing_else):
            return finding
        places = self._unread(image, lines)
        mirrored = (
            self.reader.read(ImageOps.mirror(image)) if finding.poor and lines + places else []
        )
        return looked_closer(finding, wishes, places, mirrored, image.size)

    def _unread(self, image: Image, lines: Sequence[ReadLine]) -> list[ReadLine]:
        """Places that look like text but could not be read."""
        read = [line.box for line in lines if line.sureness >= READABLE and glyphs(line.text)]
        most = image.width * image.height * LARGEST
        found = self.reader.find_writing(image)
        places = [place for place in found if area(place.box) < most and place.is_long]
        return [place for place in places if not any(overlap(place.box, box) for box in read)]


def _verdict(finding: TextFinding, size: tuple[int, int]) -> Verdict:
    seen = [_evidence(fault, size) for fault in finding.faults]
    right = [
        Evidence.in_pixels(f'the text "{text}"', box, size, sure)
        for text, box, sure in finding.right
    ]
    return Verdict(
        score=finding.score,
        passed=finding.passed,
        aspects=MappingProxyType(dict(finding.likeness)),
        unmet=tuple(dict.fromkeys(fault.unmet for fault in finding.faults)),
        explanation=finding.explanation,
        evidence=(*seen, *right),
    )


def _evidence(fault: TextFault, size: tuple[int, int]) -> Evidence:
    if fault.box is None:
        return Evidence(fault.unmet, None, fault.sureness)
    return Evidence.in_pixels(fault.unmet, fault.box, size, fault.sureness)
