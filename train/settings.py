"""Settings of a training program from `key=value` arguments, typed and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Typed = TypeVar("Typed", bound=BaseModel)


def parse_settings(kind: type[Typed], arguments: Sequence[str]) -> Typed:
    """The settings; wrong ones end the program with exit code 2 and a sentence for each."""
    pairs = [argument.partition("=") for argument in arguments]
    try:
        return kind.model_validate({key: value for key, _, value in pairs})
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        for wrong in error.errors():
            name = ".".join(map(str, wrong["loc"]))
            sys.stderr.write(f"The setting {name}={wrong['input']} does not fit: {wrong['msg']}.\n")
        sys.stderr.write(f"Give settings as key=value; there are: {known}.\n")
        sys.exit(2)
