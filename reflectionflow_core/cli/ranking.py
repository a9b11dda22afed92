"""`reflectionflow rank`: judges the pictures of a folder by a prompt; paints nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL.Image import Image, Resampling

from ..archive import RUN
from ..archive.files import make_folder, replace_file
from ..choice import RECORDED, ActorChoice
from ..pictures import ENDINGS, UNREAD, PictureError, read_picture
from ..plugins import load_plugins
from ..protocols import Progress, Verifier
from ..record import InputError, Verdict
from ..registry import build_verifier, choice_of
from ..report import counted, score_text
from ..report.ranking import EDGE, Ranking, ranking_page, ranking_sheet, ranking_text
from ..settings import SearchSettings
from ..texts import no_folder
from ..verdict import best_first
from ..verifiers.screened import SHORTLIST
from ..vlm.judge_check import judge_text
from .dry_run import dry_ranking
from .effects import Situation, check_effects
from .judging import judge_of
from .me import check_heard
from .options import make_record
from .outcome import CommandOutcome
from .run import UNJUDGED, folder_of
from .screen import Screen

FILES = {"sheet": "sheet.png", "page": "ranking.html", "data": "ranking.json"}
BATCH = 16  # most pictures that are judged together
BATCH_PIXELS = 2**26  # of them together, where they are large


def rank(given: Mapping[str, Any]) -> CommandOutcome:
    """Judges and ranks; exit code UNJUDGED if no picture could be judged."""
    prompt = given["prompt"]
    if not prompt.strip():
        raise InputError("The prompt is empty. Say in words what the pictures should show.")
    if not given["folder"].strip():
        raise InputError("The name of the folder is empty. Give the folder of your pictures.")
    record = make_record(given, RECORDED)
    load_plugins(record.get("plugins", ()))
    choice = choice_of(record)
    check_effects(Situation(SearchSettings(), choice, given, paints=False, command="rank"))
    check_heard(choice, given.get("quiet", False))
    files = picture_files(Path(given["folder"]))
    _check_shortlist(choice, len(files))
    _check_out(given)
    if given.get("dry_run"):
        return dry_ranking(prompt, Path(given["folder"]), len(files), choice, given.get("out"))
    found = judge_of(choice, SearchSettings(depth=0), given)
    verifier = build_verifier(choice)
    verifier.verify(prompt, [])  # whether it can judge this prompt, before files are read
    if out := given.get("out"):
        make_folder(Path(out))
    ranking = _ranked(verifier, prompt, files)
    text, page = f"{ranking_text(ranking)}\n", None
    if out:
        text += _write(Path(out), ranking, about_judge(choice.verifier, found))
        page = Path(out) / FILES["page"]
    data = {"prompt": prompt, "pictures": _data(ranking)}
    return CommandOutcome(0 if ranking.best is not None else UNJUDGED, text, data, page)


def _check_shortlist(choice: ActorChoice, pictures: int) -> None:
    """Raises InputError for a screen that would leave no picture out."""
    shortlist = SHORTLIST if choice.shortlist is None else choice.shortlist
    together = min(pictures, BATCH)
    if choice.screen is not None and shortlist >= together:
        raise InputError(
            f"A shortlist of {shortlist} leaves out none of the "
            f"{counted(together, 'picture')} that are judged together. Give a smaller "
            "--shortlist, or remove --screen."
        )


def _check_out(given: Mapping[str, Any]) -> None:
    """Raises InputError if the sheet would replace another file."""
    if "out" not in given:
        return
    out = folder_of(given)
    if (out / RUN).exists():
        raise InputError(f"{out} holds a run with a sheet of its own. Choose another folder.")
    kept = [name for name in FILES.values() if (out / name).exists()]
    if kept and FILES["data"] not in kept:
        raise InputError(f"{out} holds a {kept[0]} of something else. Choose another folder.")
    if out.resolve() == Path(given["folder"]).resolve():
        raise InputError(f"{out} holds the pictures to rank. Choose another folder for the sheet.")


def about_judge(verifier: str, found: Mapping[str, Any]) -> str:
    """The verifier, and the known errors of its judge."""
    return " · ".join(filter(None, [f"verifier {verifier}", judge_text(found)]))


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder by name, without subfolders."""
    if not folder.is_dir():
        raise no_folder(folder, "Give the folder of your pictures.")
    named = (*ENDINGS, *UNREAD)
    found = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in named and not file.name.startswith(".")  # ._a.png of macOS
    )
    # A link that leads nowhere is named, too.
    files = sorted(f for f in found if f.is_file() or (f.is_symlink() and not f.exists()))
    if not files:
        raise InputError(f"{folder} has no pictures ({', '.join(ENDINGS)}). Give another folder.")
    return files


def _ranked(verifier: Verifier, prompt: str, files: Sequence[Path]) -> Ranking:
    """Judges a batch at a time and keeps only small copies, so that any number of files fits."""
    names: list[str] = []
    copies: list[Image] = []
    sizes: list[tuple[int, int]] = []
    verdicts: list[Verdict] = []
    with Screen(len(files)) as screen:
        for batch in _batches(_read(files, screen)):
            verdicts += verifier.verify(prompt, [image for _, image in batch], screen)
            for name, image in batch:
                names.append(name)
                sizes.append(image.size)
                small = image.copy()  # a tournament still compares the picture itself
                small.thumbnail((EDGE, EDGE), Resampling.LANCZOS)
                copies.append(small)
            if len(files) > BATCH:
                best = f"best {score_text(verdicts[best_first(verdicts)[0]].score)}"
                screen.advance(len(names), best, best)
    if not names:
        raise InputError("None of the pictures can be read. Save them again, as PNG or JPEG.")
    order = best_first(verdicts)
    return Ranking.of(
        prompt,
        [names[i] for i in order],
        [copies[i] for i in order],
        [verdicts[i] for i in order],
        sizes=[sizes[i] for i in order],
    )


def _read(files: Sequence[Path], progress: Progress) -> Iterator[tuple[str, Image]]:
    """The pictures that can be read, with their names; reports the others."""
    for file in files:
        try:
            yield file.name, read_picture(file.read_bytes())
        except (PictureError, OSError) as error:
            unread = f"it cannot be read ({getattr(error, 'strerror', None) or error})"
            reason = getattr(error, "reason", None) or unread
            progress.say(f"{file.name} is left out: {reason}.")


def _batches(named: Iterable[tuple[str, Image]]) -> Iterator[list[tuple[str, Image]]]:
    batch: list[tuple[str, Image]] = []
    pixels = 0
    for name, image in named:
        batch.append((name, image))
        pixels += image.width * image.height
        if len(batch) == BATCH or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _write(folder: Path, ranking: Ranking, note: str) -> str:
    """Writes the sheet, the page and the data, and says where they are."""
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
