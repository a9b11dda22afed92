"""Texts that identify Python values, the same in every run of ComfyUI.

Nodes of other packs change a model with their own functions and objects. What these contain decides
what is painted: the strength in a closure, the tensors of an adapter.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from logging import Logger
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.nn import Module

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, PurePath)
# What these hold has no effect on a picture, or is another in every run.
NAMED = (type, BuiltinFunctionType, ModuleType, CodeType, Enum, UUID, Logger, torch.device)
OF_ANY_MODULE = vars(Module()).keys()
DEEPEST = 16
MOST_NUMBERS = 2**20  # of a tensor that a patch holds; masks differ in few places

# As they were when they were first seen: some patches keep numbers of the picture under way.
_FIRST_TEXTS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class Describer:
    """Describes values attached to `model`, whose own modules are only named, except `apart`.

    `weights_of` is the digest of another model.
    """

    def __init__(
        self, model: Module, weights_of: Callable[[ModelPatcher], str], apart: str = ""
    ) -> None:
        known = model.named_modules()
        self.own = {id(each) for name, each in known if name.partition(".")[0] != apart or not name}
        self.weights_of = weights_of
        self._seen: dict[int, tuple[int, Any]] = {}  # with the value, so that no id is used twice

    def first_text(self, value: Any) -> str:
        """`text` of a value as it was at the first call."""
        if isinstance(value, (Tensor, *PLAIN)):
            return self.text(value)
        with suppress(TypeError, KeyError):  # it cannot be a key, or is none yet
            return _FIRST_TEXTS[value]
        self._seen = {}
        found = hashlib.sha256(self.text(value).encode("utf-8", "replace")).hexdigest()
        with suppress(TypeError):
            _FIRST_TEXTS[value] = found
        return found

    def text(self, value: Any, depth: int = 0) -> str:
        """The value without addresses and ids. An object that occurs again is only named."""
        if isinstance(value, Tensor | np.generic | np.ndarray):
            return _array(value)
        if isinstance(value, NAMED) or depth > DEEPEST:
            return _name(value)
        if isinstance(value, PLAIN):
            return repr(value)
        if isinstance(value, ModelPatcher):
            return "the model" if id(value.model) in self.own else self.weights_of(value)
        if id(value) in self.own:
            return "of the model"
        inside = self._inside(value, depth + 1)
        return self._object(value, depth + 1) if inside is None else inside

    def _inside(self, value: Any, depth: int) -> str | None:
        """What a container holds; None for any other object."""
        if isinstance(value, Mapping):
            pairs = (f"{self.text(k, depth)}: {self.text(v, depth)}" for k, v in value.items())
            return f"{{{', '.join(sorted(pairs))}}}"
        if isinstance(value, set | frozenset):
            return f"{{{', '.join(sorted(self.text(each, depth) for each in value))}}}"
        if isinstance(value, list | tuple | deque):
            return f"[{', '.join(self.text(each, depth) for each in value)}]"
        return None

    def _object(self, value: Any, depth: int) -> str:
        if id(value) in self._seen:
            return f"{_name(value)} {self._seen[id(value)][0]}"
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, Module):
            return self._module(value, depth)
        if isinstance(value, FunctionType):
            code = value.__code__
            held = [_content(cell) for cell in value.__closure__ or ()]
            parts = [code.co_code, code.co_consts, held, value.__defaults__, value.__kwdefaults__]
        elif isinstance(value, partial):
            parts = [value.func, value.args, value.keywords]
        elif isinstance(value, MethodType):
            parts = [value.__func__, value.__self__]
        else:
            parts = [_attributes(value)]
        return f"{_name(value)} {self.text(parts, depth)}"

    def _module(self, value: Module, depth: int) -> str:
        kinds = [_name(kind) for kind in type(value).__mro__]
        if any(id(each) in self.own for each in value.modules()):  # it is around the model's own
            return str(kinds)
        held = {k: v for k, v in value.state_dict().items() if isinstance(v, Tensor)}
        weights = [f"{k} {tuple(v.shape)} {_numbers(v, 16)}" for k, v in sorted(held.items())]
        plain = {k: v for k, v in vars(value).items() if k not in OF_ANY_MODULE}
        return f"{kinds} {weights} {self.text(plain, depth)}"


def _array(value: Tensor | np.generic | np.ndarray) -> str:
    if isinstance(value, Tensor):
        held = _numbers(value, MOST_NUMBERS)
    else:  # of Python's objects numpy would give the addresses
        held = "" if value.dtype.hasobject else hashlib.sha256(value.tobytes()).hexdigest()
    return f"{tuple(value.shape)} {value.dtype} {held}"


def few_numbers(tensor: Tensor, count: int = 16) -> bytes:
    """About `count` of its numbers, evenly spread."""
    plain = getattr(tensor, "_qdata", tensor).detach()  # newer ComfyUI wraps what is quantised
    flat = plain.as_subclass(Tensor).reshape(-1)
    few = flat[:: max(1, len(flat) // count)].cpu().contiguous()
    return few.view(torch.uint8).numpy().tobytes()


def _numbers(tensor: Tensor, count: int) -> str:
    if tensor.device.type == "meta":
        return "none"
    return hashlib.sha256(few_numbers(tensor, count)).hexdigest()


def _attributes(value: Any) -> dict[str, Any]:
    """The `__slots__` and `__dict__` of an object; empty for one written in C."""
    slots = {name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())}
    known = {name: getattr(value, name) for name in sorted(slots) if hasattr(value, name)}
    return known | getattr(value, "__dict__", {})


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _name(value: Any) -> str:
    """What a class, a function, a module, a choice or else the kind of an object is called."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return value.__qualname__
    return value.__name__ if isinstance(value, ModuleType) else type(value).__qualname__
