"""A verifier of what is written in a picture, by OCR and rules, without a language model."""

from __future__ import annotations

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

LARGEST = 0.5  # share of a picture that a place may cover; a larger one is a texture, no writing


class TextVerifier:
    """Passes pictures in which exactly the wanted texts can be read.

    Wanted is what the prompt has in quotation marks (see `text_wishes`), and no writing at all
    where it asks for none. The score is 0 to 1, and 1 only without a fault: the mean likeness of
    the wanted texts, lowered by each text too many. `aspects` are the likenesses by text. `passed`
    is None where a text seems right but was hardly legible. `unmet` has faults in words that the
    writer "template" turns into commands; `evidence` has their boxes and those of right texts.

    Case, line breaks and spaces do not count; 0 O and 1 I l are not told apart; punctuation at the
    edges of words does not count, but ! and ? do.

    Raises InputError for a prompt without words in quotes, and for letters that the reader does
    not know, also if there are no images.
    """

    calls = 0

    def __init__(self, reader: TextReader | None = None) -> None:
        self.reader = reader or load_reader()

    def applies_to(self, prompt: str) -> bool:
        """Whether the prompt says anything about writing."""
        return bool(text_wishes(prompt))

    def verify(
        self, prompt: str, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        return self.judge(self._wishes(prompt), images, progress)

    def judge(
        self, wishes: TextWishes, images: Sequence[Image], progress: Progress = SILENT
    ) -> list[Verdict]:
        """As `verify`, of wishes that are known already; their letters are not checked."""
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
                "The prompt has no words in quotation marks, so the verifier text has nothing to "
                'read for. Write them as in: a sign that says "OPEN"; or choose another verifier.'
            )
        for wanted in wishes.texts:
            self.check_letters(wanted)
        return wishes

    def check_letters(self, wanted: WantedText) -> None:
        """Raises InputError for a text that the reader cannot know."""
        letters = letters_of(wanted.text)
        if not letters:
            raise InputError(
                f'The text "{wanted.text:.80}" has no letters or digits that could be read. Leave '
                "its quotation marks out, or choose another verifier."
            )
        unknown = [c for c in dict.fromkeys(letters) if c.isalpha() and not self._knows(c)]
        if unknown:
            raise InputError(
                f'The text "{wanted.text:.80}" has letters that the verifier text cannot read: '
                f"{' '.join(unknown[:10])}. It knows Latin letters, Chinese, Japanese and some "
                "Greek; leave it out, or choose a verifier that asks a vision-language model."
            )

    def _knows(self, letter: str) -> bool:
        return bool(self.reader.alphabet & {letter, letter.upper(), letter.lower()})

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
        """The places that look like writing and were not read as any text."""
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
