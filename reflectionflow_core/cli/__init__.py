"""The command line: `reflectionflow COMMAND`; parser.py lists the commands.

A command is a module of this folder, a row in `parser.py` and one here. What a command needs is
imported when it runs, so that help is fast.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..choice import ActorChoice
from ..protocols import Actors
from ..record import InputError
from ..settings import SearchSettings
from ..texts import printable
from ..vlm.redaction import without_keys
from .interrupt import PausedError, memory_told, sigint_raises
from .naming import command_text
from .outcome import CommandOutcome, kept_apart, open_page
from .output import output_explained
from .parser import make_parser

BAD_INPUT = 2  # exit status, as argparse uses it
PAUSED, UNJUDGED, INTERRUPTED, UNHEARD = 3, 4, 130, 141
# What the system says of a path that it does not take.
REFUSED_PATHS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP),
)
FROM_HUB = ("model", "edit_model", "detector", "colour_judge", "vlm", "judge")  # may be hub ids
Given = dict[str, Any]


def main(argv: Sequence[str] | None = None, build_actors: Callable[..., Any] | None = None) -> int:
    """Runs one command and returns its exit code; a user's error is two sentences on stderr.

    0 is success, 1 a judge that cannot judge, 2 invalid input, 3 an evaluation that --hours ended,
    4 a search whose pictures could not be judged, 130 Ctrl-C. `build_actors` replaces that of the
    registry.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        with output_explained():
            return _run(argv, build_actors)
    except InputError as error:
        sys.stderr.write(without_keys(f"reflectionflow: {error}\n"))
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return INTERRUPTED


def _run(argv: Sequence[str], build_actors: Callable[..., Any] | None) -> int:
    try:
        given = vars(make_parser().parse_args(argv))
        _check_page(given)
    except InputError as error:
        outcome = CommandOutcome(BAD_INPUT, error=f"reflectionflow: {error}")
        return _end(outcome, "", as_json=_json_alone(argv))
    command = given.pop("command")
    asks_on_page = command == "review" or given.get(
        "review", False
    )  # which opens before the search
    opens = not asks_on_page and given.pop("open", False)
    as_json, quiet = _wants_json(given), given.get("quiet", False)
    with kept_apart(as_json, quiet):
        outcome = _outcome(command, given, argv, build_actors)
    status = _end(outcome, command, as_json)
    if opens and outcome.page is not None and (problem := open_page(outcome.page)):
        sys.stderr.write(f"{problem}\n")
    return status


def _check_page(given: Given) -> None:
    """Raises InputError if there will be no page to open, or none whose address is shown."""
    if given.get("quiet") and (given["command"] == "review" or given.get("review")):
        raise InputError("--quiet hides the address of the page. Remove --quiet.")
    if given.get("open") and given.get("dry_run"):
        raise InputError("--dry-run makes no page that --open could open. Remove one of them.")
    if given.get("open") and given["command"] == "rank" and "out" not in given:
        raise InputError("--open has no effect without --out. Add --out DIR, or remove --open.")


def _json_alone(argv: Sequence[str]) -> bool:
    """Whether --json occurs without a FILE in a command line that could not be parsed."""
    if "--json" not in argv:
        return False
    after = argv[argv.index("--json") + 1 :][:1]
    return "evaluate" not in argv[:1] or not after or after[0].startswith("-")


def _wants_json(given: Given) -> bool:
    """Whether --json is given without a FILE; with one it is the former name of --out."""
    file = given.pop("json", None)
    if isinstance(file, str):
        if "out" in given:
            raise InputError("--out and --json FILE are the same. Remove one of them.")
        given["out"] = file
    return given.pop("to_json", False) or file is True


def _end(outcome: CommandOutcome, command: str, as_json: bool) -> int:
    shown, encoding = outcome.shown(command, as_json), sys.stdout.encoding or "utf-8"
    # As stderr does it: a pipe on Windows lacks most characters.
    sys.stdout.write(shown.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
    if outcome.error:
        sys.stderr.write(f"{printable(outcome.error)}\n")
    return outcome.status


def _outcome(
    command: str, given: Given, argv: Sequence[str], build_actors: Callable[..., Any] | None
) -> CommandOutcome:
    """The outcome of a command, or the error that ended it."""
    from ..search.unjudged import UnjudgedError

    try:
        with sigint_raises(), memory_told():
            return _command(command, given, argv, build_actors)
    except InputError as error:
        return CommandOutcome(BAD_INPUT, error=f"reflectionflow: {error}")
    except BrokenPipeError:  # nobody reads the messages any more, and it is not done
        raise SystemExit(UNHEARD) from None
    except OSError as error:
        if error.errno not in REFUSED_PATHS or error.filename is None:
            raise
        refused = f"reflectionflow: {str(error.filename)[:200]} cannot be used: {error.strerror}."
        return CommandOutcome(BAD_INPUT, error=f"{refused} Check the path and its permissions.")
    except PausedError as pause:
        return CommandOutcome(PAUSED, error=f"reflectionflow: {pause}")
    except UnjudgedError as error:
        return CommandOutcome(UNJUDGED, error=f"reflectionflow: {error}")
    except KeyboardInterrupt as stop:
        return CommandOutcome(INTERRUPTED, error=f"Stopped. {stop}".rstrip())


def _command(
    command: str, given: Given, argv: Sequence[str], build_actors: Callable[..., Any] | None
) -> CommandOutcome:
    quieten = command not in ("run", "review", "report", "compare", "completion")
    if quieten:  # before the libraries are imported, which look only then
        _quieten(given)
    if command not in ("run", "rank", "review"):  # which may ask a person
        given.pop("quiet", None)
    if command == "run":
        return _search(given, build_actors or _from_registry)
    if command == "review":
        return _review(given, build_actors or _from_registry)
    if command == "evaluate":
        return _evaluate(given, command_text(["reflectionflow", *argv]))
    return SIMPLE[command](given)


def _search(given: Given, build_actors: Callable[..., Any]) -> CommandOutcome:
    from .batch import is_batch, run_batch
    from .run import run, run_with_page

    review, many = given.pop("review", False), is_batch(given)
    if review and ("ask" in given or many):
        other = "--prompts" if many else "--ask"
        raise InputError(f"--review and {other} do not go together. Remove one of them.")
    if given.get("dry_run"):
        return _dry_run(given)
    if review:
        return run_with_page(given, build_actors)
    return (run_batch if many else run)(given, build_actors)


def _review(given: Given, build_actors: Callable[..., Any]) -> CommandOutcome:
    from .batch import is_batch
    from .run import check_run_folder, run_with_page

    folder = _named_folder(given)
    if is_batch({"out": folder}):
        raise InputError(f"{folder} holds many prompts. Give the folder of one of them.")
    check_run_folder(folder)
    if given.get("dry_run"):
        return _dry_run({"out": folder, "resume": True})
    kept = {name: given[name] for name in ("quiet", "open") if name in given}
    resumed = {"out": folder, "resume": True, **kept}
    return run_with_page(resumed, build_actors, given.get("port", 0))


def _dry_run(given: Given) -> CommandOutcome:
    from .dry_run import dry_run

    return dry_run(given)


def _rank(given: Given) -> CommandOutcome:
    from .ranking import rank

    return rank(given)


def _compare(given: Given) -> CommandOutcome:
    from .comparing import run_comparison

    return run_comparison(given)


def _judge(given: Given) -> CommandOutcome:
    from .judge import measure

    return measure(given)


def _completion(given: Given) -> CommandOutcome:
    from .completion import completion

    return CommandOutcome(text=completion(given["shell"]))


def _from_registry(choice: ActorChoice, settings: SearchSettings) -> Actors:
    from ..registry import build_actors
    from ..starting import prepare_for
    from .screen import loading

    with loading(choice.model):
        prepare_for(choice.model)
        return build_actors(choice, settings)


def _quieten(given: Mapping[str, Any]) -> None:
    from ..vlm.named import HUB_ID
    from .screen import quieten_libraries

    quieten_libraries(downloads=any(HUB_ID.fullmatch(str(given.get(name))) for name in FROM_HUB))


def _report(given: Given) -> CommandOutcome:
    from .batch import is_batch, report_batch
    from .reporting import report

    folder = _named_folder(given)
    return report_batch(Path(folder)) if is_batch({"out": folder}) else report(folder)


def _named_folder(given: Given) -> str:
    """The folder of a run; raises InputError for an empty name."""
    if not given["folder"].strip():
        raise InputError("The name of the folder is empty. Give the --out folder of a run.")
    return given["folder"]


def _evaluate(given: Given, command: str) -> CommandOutcome:
    """Imports the benchmark that is asked for; `command` goes into its results."""
    benchmark = given.pop("benchmark")
    if benchmark == "shapes":
        from .evaluate import run_shapes

        return run_shapes(given, command)
    if benchmark == "geneval":
        from .geneval import run_geneval

        return run_geneval(given, command)
    from .geneval2 import run_geneval2

    return run_geneval2(given, command)


def _doctor(given: Given) -> CommandOutcome:
    if "vlm" in given:
        if {"model", "edit_model"} & {*given}:
            raise InputError("--vlm and --model cannot be combined. Ask about one at a time.")
        from .judging import examine

        return examine(given)
    from ..doctor import findings, findings_text, model_findings
    from .naming import flag_of

    models = [given.pop(name) for name in ("model", "edit_model") if name in given]
    if given:
        flag = flag_of(next(iter(given)))
        raise InputError(f"{flag} has no effect without --vlm. Give --vlm NAME, or remove {flag}.")
    found = {model: model_findings(model) for model in models} or findings()
    return CommandOutcome(text=findings_text(found), data=found)


SIMPLE: dict[str, Callable[[Given], CommandOutcome]] = {
    "rank": _rank,
    "compare": _compare,
    "judge": _judge,
    "report": _report,
    "doctor": _doctor,
    "completion": _completion,
}
