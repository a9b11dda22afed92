"""Choices that bring inputs of their own (io.DynamicCombo), and their values.

A graph of the API writes them flat: `judge` holds the choice, `judge.detector` an input of it. To
the node they come as one dict, `{"judge": choice, "detector": value}`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from inspect import signature
from typing import Any

from comfy_api.latest import io

from ...reflectionflow_core.record import InputError


def choice_input(name: str, options: Mapping[str, list[io.Input]], tooltip: str) -> io.Input:
    """A combo of the options' names, the first being its default, with the chosen one's inputs."""
    rows = [io.DynamicCombo.Option(option, inputs) for option, inputs in options.items()]
    return io.DynamicCombo.Input(name, options=rows, tooltip=tooltip)


def inputs_of(node: type[io.ComfyNode], *names: str) -> list[io.Input]:
    """Inputs of another node, in the order of `names`."""
    known = {given.id: given for given in node.define_schema().inputs}
    return [known[name] for name in names]


def chosen(name: str, value: Any, options: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The choice and its inputs; an input that is wired is None before the graph runs.

    Raises InputError for a choice that does not exist.
    """
    given = dict(value) if isinstance(value, Mapping) else {name: value}
    choice = given.pop(name, None)
    if choice not in options:  # ComfyUI leaves out a choice that it does not know
        raise InputError(
            f"No known {name} is chosen. Set {name} to one of: {', '.join(options)}; it cannot "
            "come by a wire."
        )
    return choice, given


def asked(function: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a function takes of the given values."""
    return {name: value for name, value in given.items() if name in signature(function).parameters}
