"""Checks wired inputs like typed ones.

ComfyUI checks types, ranges and choices of typed values before it queues a graph, but not what
other nodes output while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial, wraps
from inspect import Parameter, signature
from typing import Any

import numpy as np
from comfy_api.latest import io

from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.texts import usable_text
from .sockets import KINDS

ADVICE = "Check the node that is wired to it."
# ComfyUI's loaders give None for what a file does not have.
FROM_FILES = {
    kind: f"If the file that was loaded has no {kind}, load one with Load {kind}."
    for kind in (io.Clip.io_type, io.Vae.io_type)
}


def checks_its_wires(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, whose `execute` and `check_lazy_status` first check its inputs.

    They raise InputError for what a field refuses. Before `execute`, the node's own
    `validate_inputs` is called again, now with every value; `check_lazy_status` gets a choice's
    inputs in another form.
    """
    for name in ("execute", "check_lazy_status"):
        if name in node.__dict__:
            run = node.__dict__[name].__func__
            setattr(node, name, _with_usable_inputs(node, run, name == "execute"))
    return node


def _with_usable_inputs(node: type[io.ComfyNode], run: Callable[..., Any], asks_node: bool) -> Any:
    @wraps(run)
    def checked(cls: type[io.ComfyNode], **given: Any) -> Any:
        return run(cls, **usable_inputs(node, given, asks_node))

    return classmethod(checked)


def usable_inputs(
    node: type[io.ComfyNode], given: Mapping[str, Any], asks_node: bool = True
) -> dict[str, Any]:
    """The inputs with texts and numbers as from fields; with `asks_node` the node checks them."""
    own = own_checks(node, given)
    try:
        usable = _checked(_schema_of(node), own, given)
    except InputError:  # perhaps a file was added to a list after it was read
        _schema_of.cache_clear()
        usable = _checked(_schema_of(node), own, given)
    if own and asks_node:
        fine = node.validate_inputs(**{name: usable[name] for name in own & usable.keys()})
        if fine is not True:
            raise InputError(str(fine))
    return usable


@cache  # to define one reads lists of files, which takes long on some drives
def _schema_of(node: type[io.ComfyNode]) -> io.Schema:
    return node.define_schema()


def _checked(schema: io.Schema, own: Collection[str], given: Mapping[str, Any]) -> dict[str, Any]:
    usable = dict(given)
    for known in schema.inputs:
        if known.id not in usable:
            continue
        check = partial(usable_value, known, known.id in own)
        value = usable[known.id]
        usable[known.id] = list(map(check, value)) if schema.is_input_list else check(value)
    return usable


def own_checks(node: type[io.ComfyNode], given: Mapping[str, Any]) -> set[str]:
    """The inputs that the node checks itself; if it checks any, those that are given."""
    if "validate_inputs" not in node.__dict__:
        return set()
    parameters = signature(node.validate_inputs).parameters.values()
    any_input = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    return {parameter.name for parameter in parameters} | (given.keys() if any_input else set())


def usable_value(known: Any, checked_by_node: bool, value: Any) -> Any:
    """A value as the input's field would give it; raises InputError.

    A choice that the node checks itself is left to it: the node says where a missing file belongs.
    """
    if isinstance(known, io.String.Input):
        return usable_text(value, known.id)
    if value is None:
        if known.optional or getattr(known, "lazy", False):
            return None
        advice = FROM_FILES.get(known.io_type, ADVICE)
        raise InputError(f"Nothing arrives at {known.id!r}. {advice}")
    if isinstance(known, io.Int.Input | io.Float.Input):
        return usable_number(known, value)
    if isinstance(known, io.Boolean.Input):
        return usable_switch(known, value)
    is_of_its_kind = KINDS.get(known.io_type)
    if is_of_its_kind and not is_of_its_kind(value):
        what = type(value).__name__
        raise InputError(f"What arrives at {known.id!r} is of another kind ({what}). {ADVICE}")
    options = known.options if isinstance(known, io.Combo.Input) else None
    if options and not checked_by_node and value not in options:
        raise InputError(
            f"The {known.id} is {value!r:.40}. Choose one of: {', '.join(map(str, options))}."
        )
    return value


def usable_switch(known: Any, value: Any) -> bool:
    """True or false, also as the numbers 1 and 0; raises InputError, since any text counts as true,
    "false" too."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise InputError(f"The {known.id} is {value!r:.40}, which is neither true nor false. {ADVICE}")


def usable_number(known: Any, value: Any) -> int | float:
    """A number in the range of its field; raises InputError."""
    whole = isinstance(known, io.Int.Input)
    what = f"The {known.id} is {value!r:.40}"
    real = isinstance(value, float | np.floating)
    if isinstance(value, bool) or not (real or isinstance(value, int | np.integer)):
        raise InputError(f"{what}, which is not a number. {ADVICE}")
    if real and not (math.isfinite(value) and (value == int(value) or not whole)):
        raise InputError(f"{what}, and not a {'whole' if whole else 'finite'} number. {ADVICE}")
    low, high = (value if limit is None else limit for limit in (known.min, known.max))
    if not low <= value <= high:
        raise InputError(f"{what}. Give a number from {known.min} to {known.max}.")
    return int(value) if whole else float(value)
