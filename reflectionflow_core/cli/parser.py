"""The commands, and the options of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from .. import __version__
from .me import add_rows
from .parsing import DRY_RUN, JSON, OPEN, QUIET, Parser

RESUMING = """\
Continue a run that was stopped, killed or has finished with: reflectionflow run --out DIR --resume
Its options are read from DIR/run.json, or DIR/batch.json for many prompts. A longer search
begins with the shorter one, so --depth may be raised, and --stop, --offload, --max-images,
--max-steps, --max-calls and --max-seconds may change; everything else must stay as it was."""
SHELLS = ("bash", "zsh", "fish", "powershell")


@dataclass(frozen=True, slots=True)
class Command:
    """What a command does in a few words, what adds its options, and examples of them."""

    about: str
    fill: Callable[[Parser], None]
    examples: tuple[str, ...]
    epilog: str | None = None


def make_parser() -> Parser:
    add_rows()
    parser = Parser(
        prog="reflectionflow",
        description="Paint a picture, judge it, say what is wrong and paint a better one.",
        epilog="The options of a command: reflectionflow COMMAND --help",
        examples=(
            'reflectionflow run "a photo of a red circle above a blue square" --out picture',
            "reflectionflow doctor",
        ),
    )
    parser.add_argument("--version", action="version", version=f"reflectionflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(
            name,
            help=command.about,
            description=f"{command.about[:1].upper()}{command.about[1:]}.",
            epilog=command.epilog,
            fill=command.fill,
            examples=[f"reflectionflow {name} {example}" for example in command.examples],
        )
    return parser


def _add_output(
    parser: argparse._ActionsContainer, page: bool = False, to_json: bool = True
) -> None:
    add = parser.add_argument
    add("--quiet", action="store_true", help=QUIET)
    if to_json:
        add("--json", dest="to_json", action="store_true", help=JSON)
    if page:
        add("--open", action="store_true", help=OPEN)


def _add_dry_run(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--dry-run", action="store_true", help=DRY_RUN)


def _add_run(run: Parser) -> None:
    from .options import add_search_options

    run.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to paint, in words")
    run.add_argument(
        "--prompts",
        metavar="FILE",
        help="many prompts, one a line; each gets a folder in DIR, and all share one budget",
    )
    run.add_argument("--out", metavar="DIR", required=True, help="output folder")
    run.add_argument("--resume", action="store_true", help="continue the run in DIR, if any")
    _add_dry_run(run)
    run.add_argument(
        "--ask",
        action=argparse.BooleanOptionalAction,
        help="after every round ask in the terminal: pick the winner, veto, say what to change and "
        "where, or go on as planned",
    )
    run.add_argument(
        "--review",
        action="store_true",
        help="ask so in a browser on this machine, in place of the terminal",
    )
    _add_output(run, page=True)
    add_search_options(run)


def _add_rank(rank: Parser) -> None:
    from .options import add_verifier_options

    rank.add_argument("folder", metavar="FOLDER", help="of PNG, JPEG, WebP and other pictures")
    rank.add_argument("prompt", metavar="PROMPT", help="what the pictures were to show, in words")
    rank.add_argument("--out", metavar="DIR", help="folder for sheet.png, ranking.html and data")
    _add_dry_run(rank)
    _add_output(rank, page=True)
    add_verifier_options(rank)


def _add_evaluate(evaluate: Parser) -> None:
    from .evaluate_options import add_benchmarks

    add_benchmarks(evaluate)


def _add_compare(compare: Parser) -> None:
    from .options import positive

    compare.add_argument("a", metavar="A.json", help="a finished evaluation")
    compare.add_argument("b", metavar="B.json", help="another one of the same prompts")
    budget = "pictures (the most that both painted)"
    compare.add_argument("--budget", metavar="N", type=positive, help=budget)
    _add_output(compare)


def _add_judge(judge: Parser) -> None:
    from .judge_options import add_judge_options

    add_judge_options(judge)
    _add_dry_run(judge)
    _add_output(judge)


def _add_report(report: Parser) -> None:
    report.add_argument("folder", metavar="DIR", help="the folder of a run, or of many prompts")
    _add_output(report, page=True)


def _add_review(review: Parser) -> None:
    from .options import port

    review.add_argument("folder", metavar="DIR", help="the folder of a run, such as one of --ask")
    review.add_argument("--port", type=port, metavar="N", help="of the page (default: a free one)")
    _add_dry_run(review)
    _add_output(review, page=True)


def _add_doctor(doctor: Parser) -> None:
    from .options import add_consent_option

    add = doctor.add_argument
    add(
        "--vlm",
        metavar="NAME",
        help="ask this vision-language model a few questions instead: does it see, does it think "
        "...; a profile, endpoint:PROFILE, a folder or a hub id",
    )
    add(
        "--model",
        metavar="FOLDER",
        help="say what this diffusers folder would do in a search instead; loads no weights",
    )
    add("--edit-model", metavar="FOLDER", help="the same for an editing folder")
    add("--device", metavar="NAME", help="of a model on this machine")
    add("--vlm-dtype", metavar="TYPE", help="of a model on this machine")
    add_consent_option(doctor)
    _add_dry_run(doctor)
    _add_output(doctor)


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


COMMANDS = {
    "run": Command(
        "search for the best picture of a prompt",
        _add_run,
        (
            '"a photo of a green triangle above a purple circle" --out picture --stop passed',
            '"two red cups" --out cups --model /models/FLUX.1-dev --lora corrector.safetensors',
            "--prompts prompts.txt --out many --max-images 40 --dry-run",
        ),
        RESUMING,
    ),
    "rank": Command(
        "judge the pictures of a folder and rank them; nothing is painted",
        _add_rank,
        ('pictures "two red cups" --verifier objects --detector onnx:FastestDet.onnx',),
    ),
    "evaluate": Command(
        "measure how well a search works",
        _add_evaluate,
        ("shapes --study table1 --quick --out table1.json",),
    ),
    "compare": Command(
        "say whether one evaluation is better than another",
        _add_compare,
        ("before.json after.json",),
        "Prompts are compared in pairs. p values are Holm's, for all rows at once.",
    ),
    "judge": Command(
        "measure how often a judge is wrong",
        _add_judge,
        ("--vlm mine", "--verifier objects --detector onnx:FastestDet.onnx --images labelled"),
        "Later searches with that judge read what was measured and show it.",
    ),
    "report": Command(
        "rebuild sheet.png and report.html of a run",
        _add_report,
        ("picture --open", "picture --json"),
    ),
    "review": Command(
        "continue a run, and after every round ask in a browser on this machine",
        _add_review,
        ("picture", "picture --port 8300"),
    ),
    "doctor": Command(
        "say what is installed and what would run here, or what a judge can do",
        _add_doctor,
        ("", "--model /models/Z-Image-Turbo", "--vlm mine"),
    ),
    "completion": Command(
        "print a script that completes commands and options in a shell",
        _add_completion,
        (
            "bash > ~/.local/share/bash-completion/completions/reflectionflow",
            "zsh > ~/.zfunc/_reflectionflow",
            "fish > ~/.config/fish/completions/reflectionflow.fish",
            "powershell >> $PROFILE",
        ),
    ),
}
