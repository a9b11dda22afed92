"""PEFT's settings of a LoRA: its scale, and whether this package can run it.

PEFT writes them to adapter_config.json, diffusers into a file's header. Independent of models.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..record import InputError

# LoraConfig's default in PEFT, for files whose settings lack it.
DEFAULT_ALPHA = 8.0
LORA = "LORA"  # PEFT's type of a plain LoRA
READ = {"lora_alpha", "r", "alpha_pattern", "rank_pattern", "use_rslora", "init_lora_weights"}
# Settings about the training that do not change how the weights are used.
WITHOUT_EFFECT = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",  # of an initialisation
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",  # such modules would have keys in the file
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
}
# Other values subtract part of the base weights, and the LoRA only fits the rest.
INITIALISATIONS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """PEFT's settings of one LoRA, checked; `where` is the file that contains them.

    Ranks and alphas of single layers are by a regular expression for the end of the layer's path;
    None: not given.
    """

    where: str = ""
    alpha: float | None = None
    rank: int | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    rank_stabilised: bool = False

    def alpha_of(self, path: str, rank: int) -> float:
        """The alpha for which alpha / rank is PEFT's scale; without settings, the rank.

        InputError if the settings give this layer another rank than its weights have.
        """
        said = _for_path(path, self.ranks, self.rank)
        if said not in (None, rank):
            raise InputError(
                f"The settings in {self.where} give {path} the rank {said}, but its weights have "
                f"rank {rank}. Give a LoRA that was saved together with its settings."
            )
        alpha = _for_path(path, self.alphas, self.alpha)
        alpha = float(rank) if alpha is None else alpha
        return alpha * math.sqrt(rank) if self.rank_stabilised else alpha


def parsed(text: str, where: str) -> dict[str, Any]:
    """The settings in a header or file; InputError unless they are a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The LoRA settings in {where} are not JSON. Download the file again."
        ) from error
    if not isinstance(found, dict):
        raise InputError(
            f"The LoRA settings in {where} are not a JSON object. Save the LoRA again, "
            "or give another file."
        )
    return found


def adapter_settings(
    values: Mapping[str, Any], where: str, alpha: float = DEFAULT_ALPHA
) -> AdapterSettings:
    """PEFT's settings from `values`, without prefixes; `alpha` is the default for a missing one.

    InputError for an unknown setting that may change what a LoRA does, unless it is off, and for a
    value of the wrong type.
    """
    for name in sorted(values.keys() - READ - WITHOUT_EFFECT):
        if values[name] not in (None, False, "", "none", [], {}):
            raise _cannot_run(where, name, values[name])
    if str(values.get("peft_type") or LORA).upper() != LORA:
        raise _cannot_run(where, "peft_type", values["peft_type"])
    if values.get("init_lora_weights", True) not in INITIALISATIONS:
        raise _cannot_run(where, "init_lora_weights", values["init_lora_weights"])
    return AdapterSettings(
        where,
        number(values.get("lora_alpha", alpha), "lora_alpha", where),
        _rank(values["r"], "r", where) if "r" in values else None,
        {
            key: number(value, "alpha_pattern", where)
            for key, value in _pattern(values, "alpha_pattern", where).items()
        },
        {
            key: _rank(value, "rank_pattern", where)
            for key, value in _pattern(values, "rank_pattern", where).items()
        },
        _switch(values.get("use_rslora"), "use_rslora", where),
    )


def of_transformer(values: Mapping[str, Any]) -> dict[str, Any]:
    """The transformer's settings among diffusers', with or without the prefix "transformer.".

    Settings of text encoders are ignored, since a file's keys show whether it has any.
    """
    own = {key: value for key, value in values.items() if not key.startswith("text_encoder")}
    return {key.removeprefix("transformer."): value for key, value in own.items()}


def _for_path(path: str, patterns: Mapping[str, float], otherwise: float | None) -> float | None:
    """The value of the first of PEFT's patterns that matches the end of `path`."""
    fitting = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path))
    return next(fitting, otherwise)


def _pattern(values: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    pattern = values.get(name)
    if pattern is None:
        return {}
    if not isinstance(pattern, dict):
        raise _wrong(where, name, pattern, "an object with a number for each pattern")
    for key in pattern:
        try:
            re.compile(key)
        except (re.error, RecursionError, OverflowError) as error:
            raise _wrong(where, name, key, "of regular expressions") from error
    return pattern


def number(value: Any, name: str, where: str) -> float:
    """`value` of the setting `name` as a float; InputError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _fits(value):
        raise _wrong(where, name, value, "a finite number")
    return float(value)


def _fits(value: float) -> bool:
    return abs(value) < 1e30  # must fit into float32; also rejects NaN


def _rank(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(where, name, value, "a whole number of 1 or more")
    return value


def _switch(value: Any, name: str, where: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _wrong(where, name, value, "true or false")
    return value is True


def _wrong(where: str, name: str, value: Any, expected: str) -> InputError:
    return InputError(
        f"The setting {name} in {where} is {_shown(value)}, but must be {expected}. "
        "Correct it there, or give another file."
    )


def _cannot_run(where: str, name: str, value: Any) -> InputError:
    return InputError(
        f"The LoRA in {where} was made with {name} = {_shown(value)}, which this version does not "
        "run. Give one that was trained as a plain LoRA."
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
