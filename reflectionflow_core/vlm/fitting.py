"""Fits a model's object into a pydantic model if its mistakes are unambiguous."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .interface import Failure
from .texts import NONE

Answer = TypeVar("Answer", bound=BaseModel)
SHOWN_NAME = 60  # longest name of a wrong field in a message, in characters
_NUMBER = re.compile(
    r"\s*([+-]?\d+(?:\.\d+|,\d{1,2})?)"  # with three digits a comma may part thousands
    r"\s*(?:(?:/|out of|of)\s*(\d+(?:\.\d+)?))?\s*(?:points?)?\.?\s*",
    re.IGNORECASE,
)


def fitted(value: Any, kind: type[Answer]) -> Answer | Failure:
    """A valid `kind` from the value, with unambiguous mistakes corrected, or the error.

    Corrected are: names in other case; a number as text, with "9/10" as 9 only if the field's
    maximum is 10; a text for a list of texts; an object with one text for a text; null for a
    default; a plain number for an object of one number and texts.
    """
    reason, schema = "", _schema(kind)
    value = _named(value, schema, schema)
    for last in (False, True):
        try:
            # Via JSON, so that pydantic rejects lone surrogates, which cannot be saved.
            return kind.model_validate_json(json.dumps(value))
        except RecursionError:
            return Failure("The model's answer does not fit: it is nested too deeply.")
        except ValidationError as error:
            reason = reason or f"The model's answer does not fit: {_first(error)}."
            value, changed = _corrected(value, error, schema)
            if last or not changed:
                break
    return Failure(reason)


@lru_cache(maxsize=64)
def _schema(kind: type[BaseModel]) -> Mapping[str, Any]:
    return kind.model_json_schema()


def _named(value: Any, part: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """The value with field names written as in this `part` of the schema."""
    part = _resolved(part, schema)
    if isinstance(value, list):
        return [_named(item, part.get("items", {}), schema) for item in value]
    if isinstance(value, bool) and part.get("type") in ("number", "integer"):
        return str(value)  # pydantic would accept 1 or 0
    if not isinstance(value, dict):
        return value
    fields: Mapping[str, Any] = part.get("properties", {})
    absent = {_folded(name): name for name in fields if name not in value}
    names = {key: key if key in fields else absent.pop(_folded(key), key) for key in value}
    return {names[key]: _named(v, fields.get(names[key], {}), schema) for key, v in value.items()}


def _corrected(value: Any, error: ValidationError, schema: Mapping[str, Any]) -> tuple[Any, bool]:
    """The value with its mistake corrected, and whether that was possible."""
    corrected, changed = copy.deepcopy(value), False
    for detail in error.errors(include_url=False):
        place, given = detail["loc"], detail["input"]
        if not place:
            continue
        try:
            around, parent = _at(corrected, place[:-1]), _part(schema, place[:-1])
        except (KeyError, IndexError, TypeError):
            continue  # a field that a validator has renamed, such as box_2d
        optional = parent.get("properties", {}).keys() - parent.get("required", ())
        if given is None and place[-1] in optional:
            del around[place[-1]]
            changed = True
        elif detail["type"] == "missing":
            if _number_field(parent, schema) not in (None, place[-1]):
                around[place[-1]], changed = "", True
        elif (meant := _meant(detail["type"], given, _part(schema, place), schema)) is not None:
            around[place[-1]], changed = meant, True
    return corrected, changed


def _meant(wrong: str, given: Any, part: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """The meaning of a value that does not fit a part of the schema; None if unclear."""
    if wrong.startswith(("float_", "int_")) and isinstance(given, str):
        return _number(given, part.get("maximum"))
    if wrong == "list_type" and (given is None or isinstance(given, str)):
        if given is None or _folded(given) in NONE:
            return []
        return [given] if _resolved(part.get("items", {}), schema).get("type") == "string" else None
    if wrong == "string_type" and isinstance(given, dict) and len(given) == 1:
        (inner,) = given.values()
        return inner if isinstance(inner, str) else None
    if wrong == "model_type" and (name := _number_field(part, schema)):
        number = part["properties"][name]
        mark = _number(given, number.get("maximum")) if isinstance(given, str) else given
        return None if mark is None else {**dict.fromkeys(part["properties"], ""), name: mark}
    return None


def _number_field(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """The only number of an object that otherwise has texts, such as a mark with its reason."""
    fields = part.get("properties", {})
    kinds = {name: _resolved(field, schema).get("type") for name, field in fields.items()}
    numbers = [name for name, kind in kinds.items() if kind in ("number", "integer")]
    others = [kind for kind in kinds.values() if kind not in ("number", "integer")]
    return numbers[0] if len(numbers) == 1 and set(others) == {"string"} else None


def _at(value: Any, place: Sequence[int | str]) -> Any:
    for step in place:
        value = value[step]
    return value


def _number(text: str, maximum: float | None) -> float | int | None:
    found = _NUMBER.fullmatch(text)
    if not found or (found[2] and float(found[2]) != maximum):
        return None
    value = float(found[1].replace(",", "."))
    return int(value) if value.is_integer() else value


def _part(schema: Mapping[str, Any], place: Sequence[int | str]) -> Mapping[str, Any]:
    """The part of a JSON schema for a place."""
    part = schema
    for step in place:
        part = part.get("items" if isinstance(step, int) else "properties", {})
        part = _resolved(part if isinstance(step, int) else part.get(step, {}), schema)
    return part


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in part:
        return schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
    return part


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _first(error: ValidationError) -> str:
    details = error.errors(include_input=False, include_url=False)[0]
    # A model may invent field names of any length.
    field = " ".join(".".join(map(str, details["loc"])).split())[:SHOWN_NAME] or "the object"
    return f"{field}: {details['msg']}"
