"""A user's actors, policies and strategies: Python files, and installed packages.

A plugin is a module that adds its rows to the tables of `registry`, `search.policies` and
`search.strategies` when it is imported. A package names its module in an entry point of GROUP.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

from .record import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "reflectionflow.plugins"


def load_plugins(files: Iterable[str] = ()) -> None:
    """Imports installed plugins and the files, each once; raises InputError if one fails."""
    for plugin in _plugins():
        _run(f"installed plugin {plugin.name}", "Update or uninstall its package.", plugin.load)
    for file in files:
        _load_file(Path(file))


def installed() -> dict[str, str]:
    """The versions of the packages with plugins."""
    packages = [plugin.dist for plugin in _plugins()]
    return {f"plugin {package.name}": package.version for package in packages if package}


def _plugins() -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _load_file(file: Path) -> None:
    try:
        source = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"The plugin {file} cannot be read ({error.strerror}). Check the path after --plugin."
        ) from error
    name = f"reflectionflow_plugin_{sha256(source).hexdigest()}"
    if name in sys.modules:
        return
    loader = _Uncached(name, str(file))
    module = module_from_spec(ModuleSpec(name, loader, origin=str(file)))
    module.__file__ = str(file)
    sys.modules[name] = module  # where dataclasses and pickle look it up
    try:
        advice = "Correct it, or leave out --plugin."
        _run(f"plugin {file}", advice, lambda: loader.exec_module(module))
    except InputError:
        del sys.modules[name]
        raise


class _Uncached(SourceFileLoader):
    """Writes no bytecode cache beside the user's file, and reads none."""

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def _run(what: str, advice: str, load: Callable[[], object]) -> None:
    try:
        load()
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"The {what} cannot be loaded ({reason}). {advice}") from error
