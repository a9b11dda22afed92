"""Fits an object that a model wrote into a pydantic model, where a slip has one meaning."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .interface import Failure

Answer = TypeVar("Answer", bound=BaseModel)
SHOWN_NAME = 60  # characters of the name of a wrong field
_NUMBER = re.compile(
    r"\s*([+-]?\d+(?:[.,]\d+)?)\s*(?:(?:/|out of|of)\s*(\d+(?:\.\d+)?))?\s*(?:points?)?\.?\s*",
    re.IGNORECASE,
)


def fitted(value: Any, kind: type[Answer]) -> Answer | Failure:
    """A valid `kind` of the value, with numbers written as text and names in other letters put
    right, or what is wrong with it.

    "9/10" is 9 where the field's maximum is 10, and no number elsewhere.
    """
    reason, schema = "", _schema(kind)
    value = _named(value, schema, schema)
    for last in (False, True):
        try:
            # By way of JSON: pydantic then refuses lone surrogates, which no file can hold.
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
    """The value with its names as `part` of the schema writes them, whatever their letters."""
    part = _resolved(part, schema)
    if isinstance(value, list):
        return [_named(item, part.get("items", {}), schema) for item in value]
    if isinstance(value, bool) and part.get("type") in ("number", "integer"):
        return str(value)  # pydantic would read 1 or 0
    if not isinstance(value, dict):
        return value
    fields: Mapping[str, Any] = part.get("properties", {})
    absent = {_folded(name): name for name in fields if name not in value}
    names = {key: key if key in fields else absent.pop(_folded(key), key) for key in value}
    return {names[key]: _named(v, fields.get(names[key], {}), schema) for key, v in value.items()}


def _corrected(value: Any, error: ValidationError, schema: Mapping[str, Any]) -> tuple[Any, bool]:
    """The value with numbers for the texts that should be such, and whether there were any."""
    corrected, changed = copy.deepcopy(value), False
    for detail in error.errors(include_url=False):
        place, text = detail["loc"], detail["input"]
        if not place or not detail["type"].startswith(("float_", "int_")):
            continue
        number = _number(text, _maximum(schema, place)) if isinstance(text, str) else None
        if number is not None:
            _at(corrected, place[:-1])[place[-1]], changed = number, True
    return corrected, changed


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


def _maximum(schema: Mapping[str, Any], place: Sequence[int | str]) -> float | None:
    """The largest number that a JSON schema allows at a place."""
    part = schema
    for step in place:
        part = _resolved(part, schema)
        part = part.get("items" if isinstance(step, int) else "properties", {})
        part = part if isinstance(step, int) else part.get(step, {})
    return _resolved(part, schema).get("maximum")


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in part:
        return schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
    return part


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _first(error: ValidationError) -> str:
    details = error.errors(include_input=False, include_url=False)[0]
    # An unknown field has a name that the model made up, of any length.
    field = " ".join(".".join(map(str, details["loc"])).split())[:SHOWN_NAME] or "the object"
    return f"{field}: {details['msg']}"
