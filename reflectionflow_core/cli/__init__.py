"""The command line: `reflectionflow COMMAND`, from `run` to `doctor` (parser.py has them all).

A command is a module of this folder and two rows here: its options and the function that runs it.
Heavy libraries are imported by what uses them, so that help comes at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..record import InputError
from ..registry import build_actors
from ..search import UnjudgedError
from ..vlm.named import HUB_ID
from .batch import is_batch, report_batch, run_batch
from .interrupt import PausedError, sigint_raises
from .options import flag_of
from .output import output_explained
from .parser import make_parser
from .run import INTERRUPTED, UNJUDGED, BuildActors, run, run_review

BAD_INPUT = 2  # exit status, as argparse uses it
PAUSED = 3
FROM_HUB = ("model", "edit_model", "detector", "colour_judge", "vlm", "judge")  # may be hub ids


def main(argv: Sequence[str] | None = None, build_actors: BuildActors = build_actors) -> int:
    """Runs one command and returns its exit status; a user's error is two sentences on stderr.

    0 is success, 2 bad input, 3 an evaluation that --hours ended, 4 a search whose pictures could
    not be judged, 130 Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        with sigint_raises(), output_explained():
            return _run_command(vars(make_parser().parse_args(argv)), argv, build_actors)
    except InputError as error:
        sys.stderr.write(f"reflectionflow: {error}\n")
        return BAD_INPUT
    except PausedError as pause:
        sys.stderr.write(f"reflectionflow: {pause}\n")
        return PAUSED
    except UnjudgedError as error:
        sys.stderr.write(f"reflectionflow: {error}\n")
        return UNJUDGED
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"Stopped. {stop}".rstrip() + "\n")
        return INTERRUPTED


def _run_command(given: dict[str, Any], argv: Sequence[str], build_actors: BuildActors) -> int:
    command = given.pop("command")
    if command in ("run", "review"):
        return (_run if command == "run" else _review)(given, build_actors)
    if command == "rank":
        return _rank(given)
    if command == "evaluate":
        return _evaluate(given, argv)
    if command == "compare":
        return _compare(given)
    if command == "judge":
        return _judge(given)
    return _report(given["folder"]) if command == "report" else _doctor(given)


def _run(given: dict[str, Any], build_actors: BuildActors) -> int:
    return (run_batch if is_batch(given) else run)(given, build_actors)


def _review(given: dict[str, Any], build_actors: BuildActors) -> int:
    folder = given["folder"]
    if is_batch({"out": folder}):
        raise InputError(f"{folder} holds many prompts. Give the folder of one of them.")
    return run_review(folder, given["port"], build_actors)


def _rank(given: dict[str, Any]) -> int:
    from .ranking import rank

    return rank(given)


def _report(folder: str) -> int:
    from .reporting import report

    if not folder.strip():
        raise InputError("The name of the folder is empty. Give the --out folder of a run.")
    return report_batch(Path(folder)) if is_batch({"out": folder}) else report(folder)


def _evaluate(given: dict[str, Any], argv: Sequence[str]) -> int:
    """Imports the benchmark that is asked for; `argv` goes into its results."""
    from .screen import quieten_libraries

    benchmark, command = given.pop("benchmark"), shlex.join(["reflectionflow", *argv])
    # Before the libraries are imported, which look only then.
    quieten_libraries(downloads=any(HUB_ID.fullmatch(str(given.get(name))) for name in FROM_HUB))
    if benchmark == "shapes":
        from .evaluate import run_shapes

        return run_shapes(given, command)
    if benchmark == "geneval":
        from .geneval import run_geneval

        return run_geneval(given, command)
    from .geneval2 import run_geneval2

    return run_geneval2(given, command)


def _compare(given: dict[str, Any]) -> int:
    from .comparing import run_comparison

    return run_comparison(given)


def _judge(given: dict[str, Any]) -> int:
    from .screen import quieten_libraries

    quieten_libraries(downloads=any(HUB_ID.fullmatch(str(given.get(name))) for name in FROM_HUB))
    from .judge import measure

    return measure(given)


def _doctor(given: dict[str, Any]) -> int:
    from .screen import quieten_libraries

    quieten_libraries()
    if "vlm" in given:
        if {"model", "edit_model"} & {*given}:
            raise InputError("--vlm and --model are two questions. Ask one at a time.")
        from .judging import examine

        return examine(given)
    models = [given.pop(name) for name in ("model", "edit_model") if name in given]
    if given:
        raise InputError(f"{flag_of(next(iter(given)))} belongs to --vlm. Give --vlm NAME as well.")
    from ..doctor import findings, model_findings

    sys.stdout.write("".join(map(model_findings, models)) or findings())
    return 0
