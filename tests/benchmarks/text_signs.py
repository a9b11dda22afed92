"""How often the verifier `text` is right about rendered signs: a table, kind by kind.

    PYTHONPATH=.:tests python tests/benchmarks/text_signs.py [--each 8] [--fonts FOLDER ...]

Every sign is judged twice: with the words that the prompt asks for, and with one fault in them.
Photographs are those of ../shared/real, where that folder is there; otherwise these kinds are left
out and the table says so. Needs rapidocr, and matplotlib for its fonts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter
from signs import PHRASES, TEXTURES, broken, font_files, misspelt, texture, with_writing

from reflectionflow_core.verifiers.text.verifier import TextVerifier

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
ACCENTED = ("Müller Straße", "Café Crème", "Señor Ñandú", "Smörgåsbord", "Kraków Łódź")
GREEK = ("ΑΘΗΝΑ", "ΚΑΦΕΝΕΙΟ", "ΕΛΛΑΣ")
STACKED = ("OPEN", "HOTEL", "EXIT", "PIZZA", "JAZZ", "MUSEUM")
SIZE = (512, 512)
Draw = Callable[[str, random.Random, Path], Image.Image]


@dataclass(frozen=True)
class Kind:
    """A kind of sign, how many times as many of it, and whether it counts as upright Latin."""

    name: str
    draw: Draw
    times: int = 1
    upright: bool = False
    phrases: tuple[str, ...] = PHRASES
    photographs: bool = False


@dataclass(frozen=True)
class Sign:
    wanted: str
    written: str
    fault: str  # "" for the right one
    font: str
    picture: Image.Image


def on(background: str, blur: tuple[float, ...] = (), **options: Any) -> Draw:
    """Signs on one of the textures, on "plain" or on "any" texture; an option of
    `with_writing` has one of several values."""

    def draw(text: str, rng: random.Random, font: Path) -> Image.Image:
        kind = rng.choice(TEXTURES) if background == "any" else background
        picture = written(texture(kind, SIZE, rng.randrange(10**6)), text, rng, font, options)
        return picture.filter(ImageFilter.GaussianBlur(rng.choice(blur))) if blur else picture

    return draw


def written(
    background: Image.Image, text: str, rng: random.Random, font: Path, options: dict[str, Any]
) -> Image.Image:
    chosen = {key: rng.choice(values) for key, values in options.items()}
    chosen.setdefault("height", rng.randrange(24, 73))
    chosen.setdefault("at", (rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.85)))
    seed, on_two_lines = rng.randrange(10**6), rng.random() < 0.3
    return with_writing(
        background, broken(text) if on_two_lines else text, font, seed=seed, **chosen
    )


def stacked(text: str, rng: random.Random, font: Path) -> Image.Image:
    ground = texture("plain", SIZE, rng.randrange(10**6))
    return with_writing(ground, "\n".join(text.replace(" ", "")), font, height=36, seed=1)


def on_photograph(text: str, rng: random.Random, font: Path) -> Image.Image:
    photograph = Image.open(REAL / rng.choice(PHOTOGRAPHS)).convert("RGB")
    return written(photograph, text, rng, font, {})


def on_plate(text: str, rng: random.Random, font: Path) -> Image.Image:
    """A photograph with a plate across it, and the text on the plate."""
    photograph = Image.open(REAL / rng.choice(PHOTOGRAPHS)).convert("RGB")
    width, height = photograph.size
    middle = rng.uniform(0.3, 0.7)
    plate = (0.03 * width, (middle - 0.14) * height, 0.97 * width, (middle + 0.14) * height)
    colour = tuple(rng.randrange(256) for _ in range(3))
    ImageDraw.Draw(photograph).rectangle(plate, fill=colour)
    options = {"at": ((0.5, middle),), "height": range(20, 37)}
    return written(photograph, text, rng, font, options)


KINDS = (
    Kind("upright, on a plain ground", on("plain"), 8, upright=True),
    Kind("upright, on textures", on("any"), 8, upright=True),
    Kind("upright, on a plate in a photograph", on_plate, 4, upright=True, photographs=True),
    Kind("upright, letters of 12 to 16 pixels", on("plain", height=range(12, 17)), 4, upright=True),
    Kind("upright, letters of 90 to 160 pixels", on("plain", height=(90, 160)), 2, upright=True),
    Kind("letters straight on a photograph", on_photograph, 3, photographs=True),
    Kind("turned by up to 15 degrees", on("plain", angle=(-15, -10, -5, 5, 10, 15))),
    Kind("turned by 30 to 60 degrees", on("plain", angle=(-60, -45, -30, 30, 45, 60))),
    Kind("turned by 90 degrees", on("plain", angle=(-90, 90))),
    Kind("upside down", on("plain", angle=(180,))),
    Kind("letters below each other", stacked, phrases=STACKED),
    Kind("blurred by 1.5 to 2.5 pixels", on("plain", blur=(1.5, 2.0, 2.5), height=(36, 48))),
    Kind("accented Latin", on("plain"), phrases=ACCENTED),
    Kind("Greek capitals", on("plain"), phrases=GREEK),
    Kind("letters of 7 to 9 pixels", on("plain", height=(7, 8, 9))),
)


def signs(kind: Kind, count: int, seed: int, fonts: list[Path]) -> Iterator[Sign]:
    """The right and the wrong one of each sign, alike in all but the text."""
    families = sorted({file.parent for file in fonts})
    for number in range(count):
        rng = random.Random(f"{seed} {kind.name} {number}")
        family = rng.choice(families)
        wanted = rng.choice(kind.phrases)
        font = rng.choice([file for file in fonts if file.parent == family])
        wrong, fault = misspelt(wanted, rng)
        state = rng.getstate()
        for text, name in ((wanted, ""), (wrong, fault)):
            rng.setstate(state)
            yield Sign(wanted, text, name, font.name, kind.draw(text, rng, font))


def tried(
    kind: Kind, count: int, seed: int, fonts: list[Path], verifier: TextVerifier
) -> Iterator[dict[str, Any]]:
    for sign in signs(kind, count, seed, fonts):
        began = time.process_time()
        (verdict,) = verifier.verify(f'a sign that says "{sign.wanted}"', [sign.picture])
        yield {
            "kind": kind.name,
            "upright": kind.upright,
            "wanted": sign.wanted,
            "written": sign.written,
            "fault": sign.fault,
            "font": sign.font,
            "passed": verdict.passed,
            "read": verdict.explanation,
            "seconds": time.process_time() - began,
        }


def row(name: str, records: list[dict[str, Any]]) -> str:
    """A row of the table: how many right signs pass, and how many wrong ones."""
    counts = Counter((bool(record["fault"]), record["passed"]) for record in records)
    cells = []
    for wrong in (False, True):
        total = sum(n for (fault, _), n in counts.items() if fault == wrong)
        doubt = counts[wrong, None]
        cells.append(f"{counts[wrong, True]} of {total}" + (f", {doubt} in doubt" if doubt else ""))
    return f"| {name} | {cells[0]} | {cells[1]} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=8, help="signs of a kind, times its weight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], help="folders of more fonts")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--json", type=Path, help="a file for all verdicts")
    chosen = parser.parse_args()
    fonts, verifier = font_files(chosen.fonts), TextVerifier()
    accents = [file for file in fonts if file.name.startswith("DejaVu")]
    records: list[dict[str, Any]] = []
    rows = []
    for kind in (kind for kind in KINDS if chosen.only in kind.name):
        if kind.photographs and not REAL.is_dir():
            rows.append(f"| {kind.name} | left out: no {REAL} | |")
            continue
        known = accents if kind.phrases in (ACCENTED, GREEK) else fonts
        new = [*tried(kind, kind.times * chosen.each, chosen.seed, known, verifier)]
        records += new
        rows.append(row(kind.name, new))
    rows.append(row("all upright Latin", [r for r in records if r["upright"]]))
    seconds = sorted(record["seconds"] for record in records)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write("\n".join(rows) + "\n")
    sys.stdout.write(
        f"{len(records)} signs, {len(fonts)} fonts; median {seconds[len(seconds) // 2]:.2f} s of "
        f"CPU a verdict, {memory:.0f} MB at the peak\n"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(records, indent=1, ensure_ascii=False), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
