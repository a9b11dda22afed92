"""What our programs set up before torch is imported: a home, threads, and a deferred import.

Only for our own programs: a library must leave all of this to its host.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def share_cores() -> None:
    """Lets waiting threads sleep: by default they spin and occupy the cores of other programs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same for Intel's and LLVM's OpenMP


def ensure_home() -> None:
    """Gives "/" to a user without a home folder, such as an unknown user ID of a container.

    Docker sets the same; without a home Python refuses every path that begins with "~".
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep


def prepare_for(model: str) -> None:
    """For the miniature: one thread, since it is too small for more, and no scipy.stats, which
    diffusers' schedulers import but do not need here."""
    if model == "miniature" and "torch" not in sys.modules:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        _defer("scipy.stats")


def _defer(name: str) -> None:
    """Puts a module in the place of another, which is loaded once anything of it is used."""
    if name in sys.modules or find_spec(name.partition(".")[0]) is None:
        return
    spec = find_spec(name)
    if spec is not None and spec.loader is not None:
        sys.modules[name] = _DeferredModule(spec)


class _DeferredModule(ModuleType):
    """A package that is loaded at the first use of a name of it, its submodules apart.

    importlib's LazyLoader would load it at its first import, which looks at its `__spec__`.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        self.__package__, self.__path__ = spec.name, spec.submodule_search_locations or []

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)
