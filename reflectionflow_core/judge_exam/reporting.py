"""An exam in words, and its pictures and answers in a folder."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..judge_errors import JudgeErrors, KindErrors, errors_line, wilson
from .asking import Asked, shown
from .measuring import GivenAnswer, JudgeExam

ANSWERS = "answers.jsonl"
HEAD = ("kind", "misses", "false alarms")
WIDTHS = (10, 27, 0)


def errors_table(errors: JudgeErrors) -> str:
    """The errors by kind with 95 % intervals, and their correlation; several lines of text."""
    return "\n".join([*_lines(errors), errors_line(errors)]) + "\n"


def _lines(errors: JudgeErrors) -> Iterator[str]:
    yield f"Judge {errors.judge}: {errors.questions} answers about {errors.pictures}"
    yield _row(*HEAD)
    for each in errors.kinds:
        yield _row(each.kind, *_shares(each))
    yield _row("all", *_shares(errors.total))
    yield _again(errors)
    if errors.unanswered:
        yield f"Not answered: {errors.unanswered} questions."


def _row(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _shares(each: KindErrors) -> tuple[str, str]:
    misses = _share(each.missed, each.wrong_shown)
    return misses, _share(each.false_alarms, each.right_shown)


def _share(found: int, shown: int) -> str:
    if not shown:
        return "not asked"
    low, high = wilson(found, shown)
    return f"{found} of {shown}: {found / shown:.0%} [{low:.0%}, {high:.0%}]"


def _again(errors: JudgeErrors) -> str:
    asked = f"Asked again in other words and in a frame: {errors.asked_again} statements"
    if not errors.wrong_before:
        return f"{asked}, of which none had been answered wrongly."
    came_back = f"{errors.wrong_again} of {errors.wrong_before} wrong answers came back"
    if errors.correlation is None:
        return f"{asked}; {came_back}."
    return f"{asked}; {came_back} (correlation of errors {errors.correlation:.2f})."


def save_exam(exam: JudgeExam, folder: Path) -> None:
    """Writes every picture as shown (unchanged files as copies), and answers.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [_saved(answer, index, folder) for index, answer in enumerate(exam.answers)]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    (folder / ANSWERS).write_text(text, encoding="utf-8")


def _saved(answer: GivenAnswer, index: int, folder: Path) -> dict[str, object]:
    item = answer.item
    if item.file is not None and not answer.again:
        name = f"{index:04}{item.file.suffix.lower()}"
        shutil.copyfile(item.file, folder / name)
    else:
        name, png = f"{index:04}.png", io.BytesIO()
        shown(Asked(item.picture(), item.statement, answer.again)).save(png, "PNG")
        (folder / name).write_bytes(png.getvalue())
    return {
        "file": name,
        "statement": item.statement,
        "true": item.holds,
        "said": answer.said,
        "wrong": answer.wrong,
        "kind": item.kind,
        "source": item.source,
        "change": item.note,
        "again": answer.again,
        "reason": answer.reason,
    }
