"""What a training program is told: a YAML file, and `key=value` over it; typed and checked."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from reflectionflow_core.record import InputError

Typed = TypeVar("Typed", bound=BaseModel)


class Strict(BaseModel):
    """Settings that cannot be changed and know all their names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Request(Generic[Typed]):
    """What a program shall do: the whole work, its plan only, or one step on a small model."""

    settings: Typed
    plan: bool = False
    dry_run: bool = False


def parse_request(
    kind: type[Typed], arguments: Sequence[str], program: str, about: str
) -> Request[Typed]:
    """`--config FILE --plan --dry-run key=value ...`; wrong ones end the program with exit code 2
    and a sentence for each.
    """
    parser = parser_of(kind, program, about)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in YAML")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--plan", action="store_true", help="say what it will take, and do nothing")
    does.add_argument("--dry-run", action="store_true", help="one step on a small random model")
    given = parser.parse_args(arguments)
    told = read_config(given.config) if given.config else {}
    for setting in given.settings:
        put(told, setting)
    return Request(checked(kind, told), given.plan, given.dry_run)


def perform(
    request: Request[Typed],
    plan: Callable[[Typed], str],
    dry_run: Callable[[Typed], str],
    work: Callable[[Typed], str],
) -> str:
    """What is asked for, done, and what it has to say; an InputError or Ctrl-C ends the program."""
    from train.quiet import quieten  # which loads much, and --help and a mistake need none of it

    quieten()
    does = plan if request.plan else dry_run if request.dry_run else work
    try:
        return does(request.settings)
    except InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        stop()


def parse_settings(kind: type[Typed], arguments: Sequence[str], program: str, about: str) -> Typed:
    """The settings of `key=value` alone; wrong ones end the program as above."""
    told: dict[str, Any] = {}
    for setting in parser_of(kind, program, about).parse_args(arguments).settings:
        put(told, setting)
    return checked(kind, told)


def parser_of(kind: type[BaseModel], program: str, about: str) -> argparse.ArgumentParser:
    """A parser of settings, whose help lists them all."""
    parser = argparse.ArgumentParser(
        f"python -m {program}",
        description=f"{about[:1].upper()}{about[1:]}",
        epilog="settings (key=value; a.b=value inside a group):\n" + "\n".join(described(kind)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value")
    return parser


def checked(kind: type[Typed], told: dict[str, Any]) -> Typed:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        refuse(*(sentence(kind, wrong) for wrong in error.errors()))


def read_config(file: Path) -> dict[str, Any]:
    """The file's settings, in groups as they stand there."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"The configuration {file} cannot be read: {error}. Check the path.")
    except yaml.YAMLError as error:
        refuse(f"{file} is no YAML: {str(error).replace(chr(10), ' ')}. Correct that line.")
    if not isinstance(told or {}, dict):
        refuse(f"{file} holds no settings. Write one `key: value` a line.")
    return told or {}


def put(told: dict[str, Any], setting: str) -> None:
    """One `a.b=value` among the settings; lists as [1, 2], nothing as null."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        refuse(f"{setting!r} is no setting. Give settings as key=value.")
    value = text
    if text[:1] in ("[", "{") or text == "null":
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            refuse(f"The value of {key} is no list or group: {text}. Check its brackets.")
    *groups, name = key.split(".")
    for group in groups:
        told = told.setdefault(group, {})
        if not isinstance(told, dict):
            refuse(f"{group} is no group of settings, so there is no {key}. Leave it away.")
    told[name] = value


def sentence(kind: type[BaseModel], wrong: ErrorDetails) -> str:
    name = ".".join(map(str, wrong["loc"]))
    if wrong["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(names(kind)), n=1, cutoff=0)
        return f"There is no setting {name}. The nearest is {near[0]}; --help lists all."
    if wrong["type"] == "missing":
        return f"The setting {name} is missing. Give it as {name}=..., or in the configuration."
    reason = wrong["msg"].removeprefix("Value error, ").rstrip(".")
    return f"The setting {name}={wrong['input']} does not fit: {reason}."


def names(kind: type[BaseModel]) -> Iterator[str]:
    """Every setting's full name, groups in front."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{inner}" for inner in names(field.annotation))
        else:
            yield name


def described(kind: type[BaseModel], group: str = "") -> Iterator[str]:
    """A line for each setting: its name, its default and what it is."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from described(field.annotation, f"{group}{name}.")
            continue
        default = "(needed)" if field.is_required() else f"= {field.get_default()}"
        about = f"  {field.description}" if field.description else ""
        yield f"  {group}{name} {default}{about}"


def stop() -> NoReturn:
    """Ends the program that Ctrl-C stopped, with the exit code of shells for it."""
    sys.stderr.write("Stopped. Start it again with the same settings to go on.\n")
    sys.exit(130)


def refuse(*sentences: str) -> NoReturn:
    """Ends the program with exit code 2."""
    sys.stderr.write("".join(f"{text}\n" for text in sentences))
    sys.exit(2)
