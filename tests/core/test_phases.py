"""Every phase that an actor reports has its words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from reflectionflow_core.phases import PHASES, doing

ROOT = Path(__file__).parent.parent.parent
TREES = [
    ast.parse(file.read_text(encoding="utf-8"))
    for folder in ("reflectionflow_core", "nodes")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
NODES = [node for tree in TREES for node in ast.walk(tree)]


def parameters(node: ast.AST) -> list[str]:
    """Of a function, or the fields of a class; of a method without `self`."""
    if isinstance(node, ast.FunctionDef):
        names = [argument.arg for argument in node.args.args]
        return names[1:] if names[:1] in (["self"], ["cls"]) else names
    if isinstance(node, ast.ClassDef):
        fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
        return [field.id for field in fields if isinstance(field, ast.Name)]
    return []


# By the name of whoever takes a phase: where among the arguments.
PLACES = {
    (node.name, parameters(node).index("phase"))
    for node in NODES
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and "phase" in parameters(node)
}


def given_phases(call: ast.Call) -> Iterator[ast.expr]:
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    yield from (call.args[at] for known, at in PLACES if known == name and at < len(call.args))
    yield from (keyword.value for keyword in call.keywords if keyword.arg == "phase")


def default_phases(function: ast.FunctionDef) -> Iterator[ast.expr]:
    arguments = function.args
    with_defaults = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    named = zip(with_defaults, arguments.defaults, strict=True)
    yield from (value for argument, value in named if argument.arg == "phase")


def test_every_phase_that_anybody_reports_has_its_words() -> None:
    calls = (given_phases(node) for node in NODES if isinstance(node, ast.Call))
    defaults = (default_phases(node) for node in NODES if isinstance(node, ast.FunctionDef))
    values = chain.from_iterable([*calls, *defaults])
    constants = {value.value for value in values if isinstance(value, ast.Constant)}
    phases = {constant for constant in constants if isinstance(constant, str)}
    assert {"verify", "inspect", "plan", "detect", "ask"} <= phases  # it finds them
    assert phases <= PHASES.keys()


def test_a_phase_that_nobody_knows_is_shown_by_its_name() -> None:
    assert (doing("verify"), doing("upscale")) == ("judging", "upscale")
