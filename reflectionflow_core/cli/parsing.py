"""The parser of every command: adds its options lazily, and suggests corrections of typos."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from ..record import InputError
from ..texts import why_no_path

EXIT_CODES = """\
exit codes: 0 done, 1 a judge that cannot judge, 2 invalid input, 3 stopped by --hours,
4 the pictures could not be judged, 130 stopped by Ctrl-C, 141 by a closed output"""
JSON = "print one JSON object instead of text (see docs/cli.md)"
QUIET = "print only the result and errors"
OPEN = "open the report in the browser at the end; with review, open the review page at once"
DRY_RUN = "print what would be done and what it may cost; load and paint nothing"
# Metavars of what is a path, or may be one.
PATHS = ("FILE", "DIR", "FOLDER", "PNG", "WHERE", "NAME", "A.json", "B.json")
# A path of the user's own folder as no shell expands it: --out=~/x, objects:~/x, or on Windows.
HOME = re.compile(r"^((?:--[\w-]+=)?(?:[\w-]+:)?)~(?=[/\\])")
OWN_MESSAGES = ("out", "json", "draft_prompt")  # where an empty text is explained by who reads it


class Parser(argparse.ArgumentParser):
    """An argparse parser with our own errors.

    `fill` adds its arguments once they are needed, so that a command's help does not import what
    other commands need. Its help ends with `examples` and the exit codes.
    """

    def __init__(
        self,
        *args: Any,
        fill: Callable[[Parser], None] | None = None,
        examples: Sequence[str] = (),
        **options: Any,
    ) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("argument_default", argparse.SUPPRESS)
        super().__init__(*args, allow_abbrev=False, **options)
        shown = "".join(f"\n  {example}" for example in examples)
        parts = (self.epilog, f"examples:{shown}" if shown else None, EXIT_CODES)
        self.epilog = "\n\n".join(filter(None, parts))
        self._fill = fill

    def filled(self) -> Parser:
        """The parser with all its arguments."""
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        self.filled()
        args = [HOME.sub(_at_home, word) for word in args]
        if self._subparsers is None:  # else what follows the command is for the command's parser
            self._check_flags(args)
        found, strange = super().parse_known_args(args, namespace)
        if strange:
            self.error_unknown(strange, found)
        for action in self._actions:
            self._check_text(action, getattr(found, action.dest, None))
        return found, strange

    def format_help(self) -> str:
        self.filled()
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse would swallow what goes wrong in writing help."""
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        if unknown := re.match(
            r"argument (\w+): invalid choice: '(.*?)' \(choose from (.*)\)", message
        ):
            what, value, known = unknown.groups()
            names = re.findall(r"[\w-]+", known)
            raise InputError(
                f"There is no {what.lower()} {value!r:.60}.{_near(value, names)} "
                f"Choose one of: {', '.join(names)}."
            )
        message = message.removeprefix("argument ").rstrip(".")
        message = re.sub(r"ignored explicit argument '.*'$", "takes no value", message)
        message = re.sub(r"^the following arguments are required: (.*)", r"missing: \1", message)
        raise InputError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")

    def error_unknown(self, strange: Sequence[str], found: argparse.Namespace) -> NoReturn:
        """Raises InputError for unknown arguments, with a suggestion if there is one."""
        options = [flag for action in self._actions for flag in action.option_strings]
        first = strange[0].partition("=")[0]
        if first.startswith("-"):
            raise InputError(f"There is no option {first:.60}.{_near(first, options)} {self._see}")
        prompt = getattr(found, "prompt", None)
        if prompt is not None:
            words = " ".join([prompt, *(word for word in strange if not word.startswith("-"))])
            raise InputError(f"The prompt is several words. Put it in quotes: {_quoted(words)}.")
        raise InputError(f"{strange[0]!r:.60} is one argument too many. {self._see}")

    @property
    def _see(self) -> str:
        return f"See {self.prog} --help."

    def _check_flags(self, args: Sequence[str]) -> None:
        """Raises InputError for an unknown option, before argparse complains about missing ones."""
        known = {flag for action in self._actions for flag in action.option_strings}
        for word in takewhile(lambda word: word != "--", args):
            is_option = " " not in word and re.match(r"--?[A-Za-z]", word)
            if is_option and word.partition("=")[0] not in known:
                self.error_unknown([word], argparse.Namespace())

    def _check_text(self, action: argparse.Action, value: Any) -> None:
        """Raises InputError for a text that is empty or not usable as a text or path."""
        name = (action.option_strings or [action.metavar])[0]
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            own_message = not action.option_strings or action.dest in OWN_MESSAGES
            if not text.strip() and not own_message:
                raise InputError(f"{name} is empty. Give a value after it, or remove it.")
            if "\0" in text:
                raise InputError(f"{name} holds a NUL character. Write it again.")
            is_path = action.metavar in PATHS and action.type in (None, str)  # others read it
            if is_path and (reason := why_no_path(text)):
                raise InputError(f"{name} is not a usable path: {reason}. Give another.")


def _at_home(found: re.Match[str]) -> str:
    return found[1] + str(Path.home())


def _near(word: str, known: Collection[str]) -> str:
    bare = {name.lstrip("-"): name for name in known}  # dashes would make all options alike
    near = get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.6)
    return f" Did you mean {bare[near[0]]}?" if near else ""


def _quoted(words: str) -> str:
    shown = words if len(words) <= 200 else f"{words[:200]}..."
    return f'"{shown}"' if re.fullmatch(r"[^\"$`\\!]*", shown) else shlex.quote(shown)
