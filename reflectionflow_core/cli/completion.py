"""Completion scripts for shells, generated from the parsers: commands, options and choices."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .parser import make_parser
from .parsing import Parser

PROGRAM = "reflectionflow"


@dataclass(frozen=True, slots=True)
class Option:
    """A word to complete: `values` may follow it; `takes` is True if a value must follow."""

    name: str
    about: str
    values: tuple[str, ...] = ()
    takes: bool = False


def completion(shell: str) -> str:
    """The script for one of SHELLS."""
    table = dict(_commands(make_parser()))
    return SCRIPTS[shell](table)


def _commands(parser: Parser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[Option]]]:
    """What follows each command, by its words such as "evaluate shapes"."""
    words: list[Option] = []
    parser.filled()
    below: dict[str, Parser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices  # type: ignore[assignment]
            texts = {each.dest: each.help or "" for each in action._choices_actions}
            words += [Option(name, _short(texts.get(name, ""))) for name in below]
        elif action.option_strings and action.help != argparse.SUPPRESS:
            takes = action.nargs != 0
            words += [
                Option(flag, _short(action.help or ""), _values(action), takes)
                for flag in action.option_strings
                if flag.startswith("--")
            ]
        elif action.choices:
            words += [Option(str(choice), "") for choice in action.choices]
    yield " ".join(path), words
    for name, each in below.items():
        yield from _commands(each, (*path, name))


def _values(action: argparse.Action) -> tuple[str, ...]:
    """The choices of an option: a metavar such as "a|b", or names in its help, "X: a, b or c"."""
    if isinstance(action.metavar, str) and "|" in action.metavar:
        return tuple(action.metavar.split("|"))
    found = re.search(r"(?:^|: )((?:[\w+-]+, )+[\w+-]+ or [\w+-]+)", action.help or "")
    return tuple(re.split(r", | or ", found[1])) if found else ()


def _short(text: str) -> str:
    """The beginning of a help text, without characters that are special to shells."""
    first = re.split(r"[;:(]", text, maxsplit=1)[0].strip()
    return re.sub(r"[\"'`$\\\[\]]", "", first)[:80]


Table = dict[str, list[Option]]


def _bash(table: Table) -> str:
    commands = "\n".join(
        f'    "{path}") words="{" ".join(word.name for word in words)}" ;;'
        for path, words in table.items()
    )
    values = "\n".join(
        f'    "{path} {word.name}") words="{" ".join(word.values)}" ;;'
        for path, words in table.items()
        for word in words
        if word.values
    )
    files = " | ".join(
        f'"{path} {word.name}"'
        for path, words in table.items()
        for word in words
        if word.takes and not word.values
    )
    return f"""\
# bash completion of {PROGRAM}
_{PROGRAM}() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local path="" words="" word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${{COMP_WORDS[index]}}"
    case "${{path:+$path }}$word" in
      {" | ".join(f'"{path}"' for path in table if path)}) path="${{path:+$path }}$word" ;;
    esac
  done
  case "$path $previous" in
    {files}) COMPREPLY=($(compgen -f -- "$current")); return ;;
{values}
  esac
  [ -n "$words" ] || case "$path" in
{commands}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}}
complete -o filenames -F _{PROGRAM} {PROGRAM}
"""


def _zsh(table: Table) -> str:
    return f"""\
#compdef {PROGRAM}
autoload -U +X bashcompinit && bashcompinit
{_bash(table)}"""


def _fish(table: Table) -> str:
    lines = [f"# fish completion of {PROGRAM}"]
    for path, words in table.items():
        children = [other.split()[-1] for other in table if other and _parent(other) == path]
        here = f"__fish_seen_subcommand_from {path.split()[-1]}" if path else ""
        outside = f"not __fish_seen_subcommand_from {' '.join(children)}" if children else ""
        condition = "; and ".join(filter(None, [here, outside]))
        lines += [
            f"complete -c {PROGRAM} -n '{condition}' {_fish_word(word)} -d '{word.about}'"
            for word in words
        ]
    return "\n".join(lines) + "\n"


def _fish_word(word: Option) -> str:
    if not word.name.startswith("--"):
        return f"-f -a {word.name}"
    if word.values:
        return f"-l {word.name[2:]} -x -a '{' '.join(word.values)}'"
    return f"-l {word.name[2:]}{' -r' if word.takes else ''}"


def _parent(path: str) -> str:
    return path.rpartition(" ")[0]


def _powershell(table: Table) -> str:
    rows = "\n".join(
        f"    '{path}' = @({', '.join(_quoted(word.name) for word in words)})"
        for path, words in table.items()
    )
    values = "\n".join(
        f"    '{path} {word.name}' = @({', '.join(map(_quoted, word.values))})"
        for path, words in table.items()
        for word in words
        if word.values
    )
    return f"""\
# PowerShell completion of {PROGRAM}
Register-ArgumentCompleter -Native -CommandName {PROGRAM} -ScriptBlock {{
  param($wordToComplete, $commandAst, $cursorPosition)
  $words = @{{
{rows}
  }}
  $values = @{{
{values}
  }}
  $given = @($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object {{ "$_" }})
  if ($wordToComplete -ne '' -and $given.Count -gt 0) {{
    $given = @($given | Select-Object -SkipLast 1)
  }}
  $path = ''
  foreach ($word in $given) {{
    $longer = "$path $word".Trim()
    if ($words.ContainsKey($longer)) {{ $path = $longer }}
  }}
  $previous = if ($given.Count -gt 0) {{ "$path $($given[-1])".Trim() }} else {{ '' }}
  $known = if ($values.ContainsKey($previous)) {{ $values[$previous] }} else {{ $words[$path] }}
  $known | Where-Object {{ $_ -like "$wordToComplete*" }} | ForEach-Object {{
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }}
}}
"""


def _quoted(word: str) -> str:
    return f"'{word}'"


SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish, "powershell": _powershell}
