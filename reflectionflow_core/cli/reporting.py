"""`reflectionflow report`, and the files and texts with which a run ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..archive import PAGE, SHEET, Run, read_recording
from ..archive.files import replace_file
from ..record import Cost, History, InputError, Verdict
from ..report import contact_sheet, cost_text, html_page
from ..report.words import passed_text
from ..search import unjudged_text
from ..texts import no_folder
from ..vlm.judge_check import judge_text
from .outcome import CommandOutcome


def report(folder: str) -> CommandOutcome:
    """Rebuilds the sheet and the page of a run, also while it is under way."""
    path = Path(folder)
    if not path.is_dir():
        raise no_folder(folder, "Give the --out folder of a run.")
    recording = read_recording(path)
    if recording.run is None or not len(recording.history):
        raise InputError(f"{folder} holds no finished picture. Give the --out folder of a run.")
    for notice in recording.notices:
        sys.stderr.write(f"{notice}\n")
    write_reports(path, recording.run, recording.history)
    return found(path, recording.run, recording.history)


def write_reports(folder: Path, run: Run, history: History) -> None:
    model = str(run.actors.get("model", ""))
    sheet = io.BytesIO()
    contact_sheet(history, run.prompt, run.settings, model).save(sheet, "PNG")
    replace_file(folder / SHEET, sheet.getvalue())
    page = html_page(history, run.prompt, run.settings, model, judge_text(run.judge))
    replace_file(folder / PAGE, page.encode("utf-8", "replace"))


def _result(history: History) -> Iterator[str]:
    verdict, spent, failed = history.best.verdict, cost_text(history.cost), unjudged_text(history)
    if verdict.score is None:
        yield failed
        yield f"So none is known to be the best, after {spent}."
        return
    passed = passed_text(verdict)
    yield f"Best score {verdict.score:.3g}{f', {passed}' if passed else ''}, after {spent}."
    yield f"Still wrong: {_still_wrong(verdict)}"
    if failed:
        yield failed


def _still_wrong(verdict: Verdict) -> str:
    if verdict.passed is None and not verdict.unmet and not verdict.trust:
        return "unknown, since the verifier does not say what passes"
    return "; ".join(verdict.unmet) or "nothing that the verifier sees"


def summary(folder: Path, history: History) -> str:
    """The last lines of a run: the best score, what is still wrong, where the files are."""
    picture = "Best picture: " if history.best.verdict.judged else "First picture:"
    lines = [
        *_result(history),
        f"{picture} {folder / 'best.png'}",
        f"Contact sheet: {folder / SHEET}",
        f"Report:        {folder / PAGE}",
    ]
    return "\n".join(lines) + "\n"


def found(
    folder: Path, run: Run, history: History, status: int = 0, error: str = ""
) -> CommandOutcome:
    """How a search with pictures ends."""
    text, page = summary(folder, history), folder / PAGE
    return CommandOutcome(status, text, as_record(folder, run, history), page, error)


def as_record(folder: Path, run: Run, history: History) -> dict[str, Any]:
    """What a search found, for programs; docs/cli.md describes it. It may have no picture yet."""
    painted = len(history) > 0
    return {
        "folder": str(folder),
        "prompt": run.prompt,
        "seed": run.settings.seed,
        "strategy": run.settings.strategy,
        "pictures": len(history),
        "unjudged": sum(not candidate.verdict.judged for candidate in history),
        "best": _best_of(folder, history) if painted else None,
        "sheet": str(folder / SHEET) if painted else None,
        "report": str(folder / PAGE) if painted else None,
        "spent": spent_of(history.cost),
        "budget": asdict(run.settings.budget),
    }


def _best_of(folder: Path, history: History) -> dict[str, Any]:
    verdict = history.best.verdict
    return {
        "score": verdict.score,
        "passed": verdict.passed,
        "unmet": list(verdict.unmet),
        "picture": str(folder / "best.png"),
    }


def spent_of(cost: Cost) -> dict[str, Any]:
    """A cost for programs, named as the limits of a budget."""
    return {
        "images": cost.images,
        "steps": cost.steps,
        "vlm_calls": cost.vlm_calls,
        "seconds": round(cost.total_seconds, 3),
    }
