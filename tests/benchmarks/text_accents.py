"""How often the verifier `text` errs over accents, on signs in real photographs.

    PYTHONPATH=.:tests python tests/benchmarks/text_accents.py [--photographs ../shared/real]

Ten words of eight languages, two photographs and fonts each, judged as asked and with one thing
wrong: all accents lost, accents that are not asked for, a letter lost.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from pathlib import Path

from PIL import Image
from signs import font_files, with_writing

from reflectionflow_core.verifiers.text.verifier import TextVerifier

WORDS = (
    *("CAFÉ", "MÜLLER", "NIÑO", "FRANÇAIS", "ŁÓDŹ", "SMØRREBRØD", "ÇAY", "PÃO"),
    *("Crème brûlée", "Über uns"),
)
FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans.ttf")
PHOTOGRAPHS = ("coffee", "astronaut", "chelsea")


def bare(text: str) -> str:
    """The text without accents and strokes."""
    plain = unicodedata.normalize("NFD", text.replace("Ł", "L").replace("Ø", "O"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def pairs(word: str) -> dict[str, tuple[str, str]]:
    """What is asked for and what the sign says, by kind."""
    return {
        "as asked": (word, word),
        "accents lost": (word, bare(word)),
        "accents that are not asked for": (bare(word), word),
        "a letter lost": (word, word[:2] + word[3:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photographs", type=Path, default=Path("../shared/real"))
    folder = parser.parse_args().photographs
    photographs = [Image.open(folder / f"{name}.png").convert("RGB") for name in PHOTOGRAPHS]
    fonts = [file for file in font_files() if file.name in FONTS]
    verifier, passed = TextVerifier(), dict.fromkeys(pairs("X"), 0)
    for number, word in enumerate(WORDS):
        for turn in range(2):
            photograph = photographs[(number + turn) % len(photographs)]
            font = fonts[(number + 2 * turn) % len(fonts)]
            for kind, (wanted, shown) in pairs(word).items():
                image = with_writing(photograph, shown, font, height=44, at=(0.5, 0.2), seed=number)
                (verdict,) = verifier.verify(f'a sign that says "{wanted}"', [image])
                passed[kind] += verdict.passed is True
    for kind, count in passed.items():
        sys.stdout.write(f"| {kind} | {count} of {2 * len(WORDS)} pass |\n")


if __name__ == "__main__":
    main()
