"""The frame of every training program: settings, estimate, dry run and run."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from reflectionflow_core.record import InputError
from train.processes import refuse_sharding
from train.settings import Typed, described, fields_of, refuse, settings_of

STOPPED = 130  # shells' exit code for Ctrl-C
Action = Callable[[Typed], str] | str


def run_program(
    name: str,
    about: str | None,
    kind: type[Typed],
    *,
    estimate: Action[Typed],
    dry_run: Action[Typed],
    run: Action[Typed],
    shards: bool = False,
) -> None:
    """Runs a training program: `--config FILE --estimate --dry-run key=value ...`.

    * `about`: the module docstring, shown in the help.
    * `estimate`, `dry_run`, `run`: functions that return the text to print, or "module:function",
      which is imported only after the settings are checked, so that help does not wait for torch.
    * `shards`: whether the program may be started with FSDP.

    Invalid settings and InputError end the program with exit code 2 and one sentence each.
    """
    parser = _parser(name, about or "", kind)
    actions = parser.add_mutually_exclusive_group()
    for const, text, *options in (
        (
            estimate,
            "print the memory and time the run will need, and do nothing else",
            "--estimate",
            "--plan",
        ),
        (dry_run, "run every part once on a small random model", "--dry-run"),
    ):
        actions.add_argument(*options, dest="action", action="store_const", const=const, help=text)
    given = parser.parse_intermixed_args()
    if len(given.config) > 1:
        refuse("Only one --config is read. Put the settings into one file, or type some of them.")
    config = next(iter(given.config), None)
    settings = settings_of(kind, config, given.settings, given.action is estimate)
    try:
        if not shards:
            refuse_sharding(name)
        action = _function(given.action or run)
        _quieten()
        text = action(settings)
    except InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Start it again with the same settings to resume it.\n")
        sys.exit(STOPPED)
    if os.environ.get("RANK", "0") == "0":  # printed by one process only
        encoding = sys.stdout.encoding or "utf-8"  # a pipe on Windows lacks most characters
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _parser(name: str, about: str, kind: type[Typed]) -> ArgumentParser:
    """A parser whose help lists all settings."""
    description = about.partition(": ")[2]
    lines = (described(kind, *setting) for setting in fields_of(kind))
    parser = ArgumentParser(
        f"python -m {name}",
        description=f"{description[:1].upper()}{description[1:]}",
        epilog="\n".join(("settings (key=value, or group.key=value):", *lines)),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="key=value")
    about_file = "YAML file with settings"
    parser.add_argument(
        "--config", type=Path, action="append", default=[], metavar="FILE", help=about_file
    )
    return parser


def _function(action: Action[Typed]) -> Callable[[Typed], str]:
    if not isinstance(action, str):
        return action
    module, _, name = action.partition(":")
    return getattr(import_module(module), name)


def _quieten() -> None:
    """Leaves the terminal to our own progress bar and errors."""
    for name in ("transformers.utils.logging", "diffusers.utils.logging"):
        if library := sys.modules.get(name):
            library.set_verbosity_error()
            library.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft)\b")
