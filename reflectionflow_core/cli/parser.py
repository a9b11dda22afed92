"""The commands, and the options of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from .. import __version__
from .me import add_rows
from .parsing import DRY_RUN, JSON, OPEN, QUIET, Parser

RESUMING = """\
To continue a run that was stopped or killed, or is finished: reflectionflow run --out DIR --resume
Its options are read from DIR/run.json, or DIR/batch.json for many prompts. You may raise --depth
and change --stop, --offload, --max-images, --max-steps, --max-calls and --max-seconds; all other
options must stay as they were."""
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
        help="file of prompts, one per line; each gets a folder in DIR, and all share one budget",
    )
    run.add_argument("--out", metavar="DIR", required=True, help="output folder")
    run.add_argument("--resume", action="store_true", help="continue the run in DIR, if any")
    _add_dry_run(run)
    run.add_argument(
        "--ask",
        action=argparse.BooleanOptionalAction,
        help="ask in the terminal after every round: pick the winner, veto, say what to change and "
        "where, or continue as planned",
    )
    run.add_argument(
        "--review",
        action="store_true",
        help="like --ask, but in a browser on this machine",
    )
    _add_output(run, page=True)
    add_search_options(run)


def _add_rank(rank: Parser) -> None:
    from .options import add_verifier_options

    rank.add_argument(
        "folder", metavar="FOLDER", help="folder of PNG, JPEG, WebP or other pictures"
    )
    rank.add_argument("prompt", metavar="PROMPT", help="what the pictures should show, in words")
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
    compare.add_argument("b", metavar="B.json", help="another evaluation of the same prompts")
    budget = "compare after N pictures (default: the largest budget that both have)"
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

    review.add_argument("folder", metavar="DIR", help="the folder of a run")
    review.add_argument("--port", type=port, metavar="N", help="port of the page (default: any)")
    _add_dry_run(review)
    _add_output(review, page=True)


def _add_doctor(doctor: Parser) -> None:
    from .options import add_consent_option

    add = doctor.add_argument
    add(
        "--vlm",
        metavar="NAME",
        help="test this vision-language model instead, with a few questions: does it see, does it "
        "think ...; a profile, endpoint:PROFILE, a folder or a hub id",
    )
    add(
        "--model",
        metavar="FOLDER",
        help="show instead what this diffusers folder can do in a search; loads no weights",
    )
    add("--edit-model", metavar="FOLDER", help="the same for an editing model")
    add("--device", metavar="NAME", help="device of a local --vlm: cuda, mps or cpu")
    add("--vlm-dtype", metavar="TYPE", help="number format of a local --vlm: bf16, fp32 or nf4")
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
        "Differences are paired by prompt. p-values are adjusted by Holm's method over all rows.",
    ),
    "judge": Command(
        "measure how often a judge is wrong",
        _add_judge,
        ("--vlm mine", "--verifier objects --detector onnx:FastestDet.onnx --images labelled"),
        "The result is stored; later searches with that judge use it and show it.",
    ),
    "report": Command(
        "rebuild a run's sheet.png and report.html",
        _add_report,
        ("picture --open", "picture --json"),
    ),
    "review": Command(
        "continue a run and ask in a browser on this machine after every round",
        _add_review,
        ("picture", "picture --port 8300"),
    ),
    "doctor": Command(
        "show what is installed and what can run here, or what a judge can do",
        _add_doctor,
        ("", "--model /models/Z-Image-Turbo", "--vlm mine"),
    ),
    "completion": Command(
        "print a shell completion script",
        _add_completion,
        (
            "bash > ~/.local/share/bash-completion/completions/reflectionflow",
            "zsh > ~/.zfunc/_reflectionflow",
            "fish > ~/.config/fish/completions/reflectionflow.fish",
            "powershell >> $PROFILE",
        ),
    ),
}
