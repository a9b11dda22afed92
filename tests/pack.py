"""The node pack under a name of its own, as ComfyUI loads it, for tests that need no ComfyUI.

from pack import module
profiles = module("shared.profiles")  # nodes/shared/profiles.py; nothing in it may import ComfyUI
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
ALIAS = "reflectionflow_pack"


def module(name: str) -> ModuleType:
    return importlib.import_module(f"{pack().__name__}.nodes.{name}")


def error(name: str = "InputError") -> type[Exception]:
    """An exception of the core as the pack knows it: not the one that `reflectionflow_core` has."""
    return getattr(importlib.import_module(f"{pack().__name__}.reflectionflow_core.record"), name)


def pack() -> ModuleType:
    if ALIAS not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            ALIAS, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec and spec.loader
        sys.modules[ALIAS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[ALIAS])
    return sys.modules[ALIAS]
