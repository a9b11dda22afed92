"""GenEval's tasks in the format of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..detection.rules import RELATIONS, Need, Task
from ..record import InputError
from ..texts import reason_of


def read_task(record: Mapping[str, Any]) -> Task:
    """The task of a line of GenEval's evaluation_metadata.jsonl."""
    try:
        include = tuple(_need(item) for item in record["include"])
        exclude = tuple(_need(item) for item in record.get("exclude", ()))
        task = Task(str(record["tag"]), include, exclude)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"This is not a task of GenEval ({reason_of(error)}). Write it like "
            '{"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}]}.'
        ) from error
    _check(task)
    return task


def task_record(task: Task) -> dict[str, Any]:
    """The task in GenEval's format, the inverse of `read_task`."""
    record: dict[str, Any] = {"tag": task.tag, "include": [_record(n) for n in task.include]}
    if task.exclude:
        record["exclude"] = [_record(need) for need in task.exclude]
    return record


def _need(item: Mapping[str, Any]) -> Need:
    relation, target = item.get("position", (None, None))
    return Need(str(item["class"]), int(item["count"]), item.get("color"), relation, target)


def _record(need: Need) -> dict[str, Any]:
    record: dict[str, Any] = {"class": need.name, "count": need.count}
    if need.colour:
        record["color"] = need.colour
    if need.relation:
        record["position"] = [need.relation, need.target]
    return record


def _check(task: Task) -> None:
    for index, need in enumerate(task.include):
        if need.relation is None:
            continue
        if need.relation not in RELATIONS:
            raise InputError(
                f"GenEval has no position {need.relation!r}. Choose one of: {', '.join(RELATIONS)}."
            )
        if not isinstance(need.target, int) or not 0 <= need.target < index:
            raise InputError(
                f"The position of {need.name} refers to entry {need.target}. "
                "Give the number of an earlier entry, counted from 0."
            )
