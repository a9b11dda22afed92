"""Settings of a training program: a YAML file and `key=value` arguments, typed and checked."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from reflectionflow_core.record import InputError
from reflectionflow_core.settings import MAX_SEED
from reflectionflow_core.texts import TextError, read_text, reason_of, why_no_path
from reflectionflow_core.verifiers.spec import parse_verifiers

# Valid for NumPy, torch and Python. -1 (random) is not: a run is resumed by its settings.
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


@dataclass(frozen=True, slots=True)
class SettingNeeds:
    """A condition without which a setting has no effect.

    `what` describes it for messages; `holds(settings)` tests it. None means that only --estimate
    reads the setting.
    """

    what: str
    holds: Callable[[Any], bool] | None = None


PROGRAMS = {  # and their settings
    "train.data": "train.data.settings:DataSettings",
    "train.latents": "train.latents.settings:LatentsSettings",
    "train.corrector": "train.corrector.settings:CorrectorSettings",
    "train.editor": "train.editor.settings:EditorSettings",
    "train.verifier": "train.verifier.settings:VerifierSettings",
    "train.writer": "train.writer.settings:WriterSettings",
}
ESTIMATED = SettingNeeds("--estimate")


class Strict(BaseModel):
    """Immutable settings that refuse unknown names.

    `effects` maps settings or groups to what they need; help texts and error messages use it.
    `elsewhere` maps names that another group has to a sentence about them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    effects: ClassVar[Mapping[str, SettingNeeds]] = {}
    elsewhere: ClassVar[Mapping[str, str]] = {}

    @field_validator("*")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        """A path without "~", which configurations have and not every shell replaces."""
        try:
            return value.expanduser() if isinstance(value, Path) else value
        except RuntimeError as error:
            raise ValueError(f"there is no home folder {value.parts[0]}") from error


Typed = TypeVar("Typed", bound=Strict)


def settings_of(
    kind: type[Typed], config: Path | None, given: Sequence[str], estimates: bool = False
) -> Typed:
    """The file's settings, overridden by `key=value` arguments.

    Ends the program with exit code 2 on invalid settings and on arguments without effect.
    """
    values = read_config(config) if config else {}
    if config and (other := program_of(values, kind)):
        refuse(f"{config} is a configuration for {other}. Start that, or give another file.")
    for setting in given:
        put(values, setting)
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        refuse(*(sentence(kind, wrong) for wrong in error.errors()))
    for name, _ in fields_of(kind):
        path = reduce(getattr, name.split("."), settings)
        if isinstance(path, Path) and (reason := why_no_path(str(path))):
            refuse(f"The setting {name} is not a usable path: {reason}. Give another.")
    names = dict.fromkeys(setting.partition("=")[0] for setting in given)
    try:
        unused = [*_without_effect(settings, names, estimates)]
    except InputError as error:  # unknown verifier
        refuse(str(error))
    if unused:
        refuse(*unused)
    return settings


def program_of(values: Mapping[str, Any], kind: type[Strict]) -> str:
    """The program that these settings are for, if `kind` does not know some and another does."""
    if set(values) <= set(kind.model_fields):
        return ""
    others = ((name, _settings_class(place)) for name, place in PROGRAMS.items())
    fitting = (name for name, other in others if set(values) <= set(other.model_fields))
    return next(fitting, "")


def _settings_class(place: str) -> type[Strict]:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _without_effect(settings: Strict, names: Iterable[str], estimates: bool) -> Iterator[str]:
    """A sentence for each setting without effect, with the most general reason."""
    for name in names:
        for needs in needs_of(type(settings), name):
            if not (estimates if needs.holds is None else needs.holds(settings)):
                yield f"{name} has no effect without {needs.what}. Give that too, or leave it out."
                break


def needs_of(kind: type[Strict], name: str) -> list[SettingNeeds]:
    """The conditions for a setting and its groups, except those that name the setting itself."""
    parts = name.split(".")
    known = (kind.effects.get(".".join(parts[: i + 1])) for i in range(len(parts)))
    return [needs for needs in known if needs and name not in needs.what]


def verifiers_in(specs: Iterable[str]) -> set[str]:
    """The registry names in specs such as "reward:FOLDER"; InputError if one is unknown."""
    from reflectionflow_core.registry import VERIFIERS

    return {part.name for spec in specs for part in parse_verifiers(spec, VERIFIERS)}


def ask_vlm(specs: Iterable[str]) -> bool:
    """Whether any of these verifiers may ask a vision-language model."""
    from reflectionflow_core.registry import VERIFIERS

    rows = [VERIFIERS[name] for name in verifiers_in(specs)]
    return any(row.asks_vlm or row.may_ask_vlm for row in rows)


def torch_device(device: str) -> str:
    """The device for "auto"; imports torch only if needed."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def read_config(file: Path) -> dict[str, Any]:
    """The nested settings of a YAML file."""
    if reason := why_no_path(str(file)):
        refuse(f"The configuration file is not a usable path: {reason}. Give another.")
    try:
        values = yaml.load(read_text(file), _NothingTwice) or {}
    except TextError as error:
        refuse(f"The configuration {file} cannot be used: {error.reason}. Save it as UTF-8.")
    except OSError as error:
        refuse(f"The configuration {file} cannot be read: {reason_of(error)}. Check the path.")
    except (yaml.YAMLError, RecursionError) as error:
        refuse(f"{file} is not YAML: {str(error).replace(chr(10), ' ')}. Correct that line.")
    if not isinstance(values, dict):
        refuse(f"{file} contains no settings. Write one `key: value` per line.")
    return values


class _NothingTwice(yaml.SafeLoader):
    """Refuses a setting that is given twice; YAML would ignore the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                refuse(
                    f"The configuration has {key.value} twice, in line {lines[key.value]} and in "
                    f"line {line}. Remove one."
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def put(values: dict[str, Any], setting: str) -> None:
    """Sets one `a.b=value`. Lists are written as [1, 2] and None as null."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        refuse(f"{setting!r} is not a setting. Give settings as key=value.")
    value = text
    if text[:1] in ("[", "{") or text == "null":
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError):
            refuse(f"The value of {key} is not a list or group: {text}. Check its brackets.")
    *groups, name = key.split(".")
    for group in groups:
        if values.get(group) is None:  # also an empty group of a file
            values[group] = {}
        values = values[group]
        if not isinstance(values, dict):
            refuse(f"{group} is a single setting, so there is no {key}. Remove it.")
    values[name] = value


def sentence(kind: type[BaseModel], wrong: ErrorDetails) -> str:
    name = ".".join(map(str, wrong["loc"]))
    if wrong["type"] == "extra_forbidden":
        return _unknown(kind, name)
    if wrong["type"] == "missing" and isinstance(wrong["loc"][-1], int):
        name = ".".join(map(str, wrong["loc"][:-1]))
        return f"The setting {name} has too few values. Write all of them, as {name}=[1, 2]."
    if wrong["type"] == "missing":
        return f"The setting {name} is missing. Give it as {name}=..., or in the configuration."
    reason = wrong["msg"].removeprefix("Value error, ").rstrip(".")
    if wrong["type"] == "value_error" and isinstance(wrong["input"], dict):  # several together
        return f"These settings{f' of {name}' if name else ''} do not fit: {reason}."
    if wrong["type"] in ("model_type", "dict_type"):
        return f"{name} is a group of settings. Give them as {name}.NAME=..., or leave it out."
    hint = {
        "list_type": f" Write it as {name}=[A, B].",
        "tuple_type": f" Write it as {name}=[A, B].",
        "string_type": " Put it in quotes.",  # YAML reads 000123 as a number
    }.get(wrong["type"], "")
    return f"The setting {name}={wrong['input']} does not fit: {reason}.{hint}"


def _unknown(kind: type[BaseModel], name: str) -> str:
    near = difflib.get_close_matches(name, list(dict(fields_of(kind))), n=1)
    nearest = f"The nearest is {near[0]}; " if near else ""
    return _elsewhere(kind, name) or f"There is no setting {name}. {nearest}--help lists all."


def _elsewhere(kind: type[BaseModel], name: str) -> str:
    """Where a setting is that this group does not have; "" if nothing is known of it."""
    *groups, last = name.split(".")
    for group in groups:
        kind = kind.model_fields[group].annotation  # pyright: ignore[reportAssignmentType]
    return kind.elsewhere.get(last, "") if issubclass(kind, Strict) else ""


def fields_of(kind: type[BaseModel], group: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its full name, such as "group.name"."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{group}{name}.")
        else:
            yield f"{group}{name}", field


def described(kind: type[Strict], name: str, field: FieldInfo) -> str:
    """A setting's line in --help."""
    default = "(required)" if field.is_required() else f"= {_as_typed(field.get_default())}"
    needs = [f"only with {each.what}" for each in needs_of(kind, name)]
    about = "; ".join(filter(None, [_choices(field), field.description, *needs]))
    return f"  {name} {default}{f'  {about}' if about else ''}"


def _choices(field: FieldInfo) -> str:
    """The values of a setting that has few; "" for others."""
    if get_origin(field.annotation) is not Literal:
        return ""
    *first, last = map(str, get_args(field.annotation))
    return f"{', '.join(first)} or {last}" if first else last


def _as_typed(value: Any) -> str:
    """A value as it is written in `key=value`."""
    return str(value) if isinstance(value, (str, Path)) else json.dumps(value)


def refuse(*sentences: str) -> NoReturn:
    """Ends the program with exit code 2."""
    sys.stderr.write("".join(f"{text}\n" for text in sentences))
    sys.exit(2)
