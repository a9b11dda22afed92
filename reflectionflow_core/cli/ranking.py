"""`reflectionflow rank`: the pictures of a folder, judged against a prompt; nothing is painted."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..archive import RUN
from ..archive.files import make_folder, replace_file
from ..choice import RECORDED
from ..pictures import PictureError, read_picture
from ..plugins import load_plugins
from ..record import InputError, Verdict
from ..registry import build_verifier, choice_of
from ..report import counted
from ..report.ranking import Ranking, ranking_page, ranking_sheet, ranking_text
from ..settings import SearchSettings
from ..texts import no_folder
from ..vlm.judge_check import judge_text
from .dry_run import dry_ranking
from .effects import Situation, check_effects
from .judging import judge_of
from .me import check_heard
from .options import make_record
from .outcome import CommandOutcome
from .run import UNJUDGED
from .screen import Lines

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
FILES = {"sheet": "sheet.png", "page": "ranking.html", "data": "ranking.json"}
BATCH = 16  # pictures that are judged together


def rank(given: Mapping[str, Any]) -> CommandOutcome:
    """Judges and ranks; status UNJUDGED if no picture could be judged."""
    prompt = given["prompt"]
    if not prompt.strip():
        raise InputError("The prompt is empty. Say in words what the pictures were to show.")
    record = make_record(given, RECORDED)
    load_plugins(record.get("plugins", ()))
    choice = choice_of(record)
    check_effects(Situation(SearchSettings(), choice, given, paints=False))
    check_heard(choice, given.get("quiet", False))
    files = picture_files(Path(given["folder"]))
    _check_out(given)
    if given.get("dry_run"):
        return dry_ranking(prompt, Path(given["folder"]), len(files), choice, given.get("out"))
    found = judge_of(choice, SearchSettings(depth=0), given)
    verifier = build_verifier(choice)
    verifier.verify(prompt, [])  # whether it can judge this prompt, before files are read
    names, images = _read(files)
    verdicts: list[Verdict] = []
    for start in range(0, len(images), BATCH):
        verdicts += verifier.verify(prompt, images[start : start + BATCH], Lines())
    ranking = Ranking.of(prompt, names, images, verdicts)
    text, page = f"{ranking_text(ranking)}\n", None
    if out := given.get("out"):
        text += _write(Path(out), ranking, about_judge(choice.verifier, found))
        page = Path(out) / FILES["page"]
    data = {"prompt": prompt, "pictures": _data(ranking)}
    return CommandOutcome(0 if ranking.best is not None else UNJUDGED, text, data, page)


def _check_out(given: Mapping[str, Any]) -> None:
    """Raises InputError where the sheet would take the place of another file."""
    if "out" not in given:
        return
    out = Path(given["out"])
    if (out / RUN).exists():
        raise InputError(f"{out} holds a run with a sheet of its own. Choose another folder.")
    if out.resolve() == Path(given["folder"]).resolve():
        raise InputError(f"{out} holds the pictures to rank. Choose another folder for the sheet.")


def about_judge(verifier: str, found: Mapping[str, Any]) -> str:
    """Who judged, and what is known of that judge."""
    return " · ".join(filter(None, [f"verifier {verifier}", judge_text(found)]))


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder by name, not those of its subfolders."""
    if not folder.is_dir():
        raise no_folder(folder, "Give the folder of your pictures.")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and f.is_file())
    if not files:
        raise InputError(f"{folder} has no pictures ({', '.join(ENDINGS)}). Give another folder.")
    return files


def _read(files: Sequence[Path]) -> tuple[list[str], list[Image]]:
    """The pictures that can be read, with their names; says which cannot."""
    names, images = [], []
    for file in files:
        try:
            images.append(read_picture(file.read_bytes()))
            names.append(file.name)
        except (PictureError, OSError) as error:
            unread = f"it cannot be read ({getattr(error, 'strerror', None) or error})"
            reason = getattr(error, "reason", None) or unread
            sys.stderr.write(f"{file.name} is left out: {reason}.\n")
    if not images:
        raise InputError("None of the pictures can be read. Save them again, as PNG or JPEG.")
    return names, images


def _write(folder: Path, ranking: Ranking, note: str) -> str:
    """Writes the sheet, the page and the data, and says where they are."""
    make_folder(folder)
    sheet = io.BytesIO()
    ranking_sheet(ranking, note).save(sheet, "PNG")
    replace_file(folder / FILES["sheet"], sheet.getvalue())
    replace_file(folder / FILES["page"], ranking_page(ranking, note).encode("utf-8", "replace"))
    replace_file(folder / FILES["data"], json.dumps(_data(ranking), indent=2).encode())
    return (
        f"{counted(len(ranking.names), 'picture')} ranked.\n"
        f"Sheet: {folder / FILES['sheet']}\nPage:  {folder / FILES['page']}\n"
    )


def _data(ranking: Ranking) -> list[dict[str, Any]]:
    """A record for each picture, the best first."""
    pairs = zip(ranking.names, (candidate.verdict for candidate in ranking.candidates), strict=True)
    return [
        {
            "file": name,
            "score": verdict.score,
            "passed": verdict.passed,
            "unmet": list(verdict.unmet),
            "aspects": dict(verdict.aspects),
            "explanation": verdict.explanation,
            "evidence": [asdict(seen) for seen in verdict.evidence],
        }
        for name, verdict in pairs
    ]
