"""The commands, and the options of each."""

from __future__ import annotations

import argparse

from .. import __version__
from . import me
from .evaluate_options import add_compare, add_evaluate
from .judge_options import add_judge
from .judging import add_consent_option
from .options import Parser, add_search_options, add_verifier_options, port

RESUMING = """\
Continue a run that was stopped, killed or has finished with: reflectionflow run --out DIR --resume
Its options are read from DIR/run.json, or DIR/batch.json for many prompts. A longer search
begins with the shorter one, so --depth may be raised, and --stop, --offload, --max-images,
--max-steps, --max-calls and --max-seconds may change; everything else must stay as it was."""


def make_parser() -> Parser:
    me.add_rows()
    parser = Parser(
        prog="reflectionflow",
        description="Paint a picture, judge it, say what is wrong and paint a better one.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"reflectionflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_rank(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_judge(commands)
    report = commands.add_parser("report", help="rebuild sheet.png and report.html of a run")
    report.add_argument("folder", metavar="DIR", help="the folder of a run, or of many prompts")
    _add_review(commands)
    _add_doctor(commands)
    return parser


def _add_review(commands: argparse._SubParsersAction[Parser]) -> None:
    review = commands.add_parser(
        "review",
        help="continue a run, and after every round ask in a browser on this machine",
        allow_abbrev=False,
    )
    review.add_argument("folder", metavar="DIR", help="the folder of a run, such as one of --ask")
    review.add_argument(
        "--port", type=port, default=0, metavar="N", help="of the page (default: a free one)"
    )


def _add_doctor(commands: argparse._SubParsersAction[Parser]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say what is installed and what would run here, or what a judge can do",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    doctor.add_argument(
        "--vlm",
        metavar="NAME",
        help="ask this vision-language model a few questions instead: does it see, does it think "
        "...; a profile, endpoint:PROFILE, a folder or a hub id",
    )
    doctor.add_argument(
        "--model",
        metavar="FOLDER",
        help="say what this diffusers folder would do in a search instead; loads no weights",
    )
    doctor.add_argument("--edit-model", metavar="FOLDER", help="the same for an editing folder")
    doctor.add_argument("--device", metavar="NAME", help="of a model on this machine")
    doctor.add_argument("--vlm-dtype", metavar="TYPE", help="of a model on this machine")
    add_consent_option(doctor)


def _add_rank(commands: argparse._SubParsersAction[Parser]) -> None:
    rank = commands.add_parser(
        "rank",
        help="judge the pictures of a folder and rank them; nothing is painted",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    rank.add_argument("folder", metavar="FOLDER", help="of PNG, JPEG, WebP and other pictures")
    rank.add_argument("prompt", metavar="PROMPT", help="what the pictures were to show, in words")
    rank.add_argument("--out", metavar="DIR", help="folder for sheet.png, ranking.html and data")
    add_verifier_options(rank)


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="search for the best picture of a prompt",
        epilog=RESUMING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    run.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to paint, in words")
    run.add_argument(
        "--prompts",
        metavar="FILE",
        help="many prompts, one a line; each gets a folder in DIR, and all share one budget",
    )
    run.add_argument("--out", metavar="DIR", required=True, help="output folder")
    run.add_argument("--resume", action="store_true", help="continue the run in DIR, if any")
    run.add_argument(
        "--ask",
        action=argparse.BooleanOptionalAction,
        help="after every round ask in the terminal: pick the winner, veto, say what to change and "
        "where, or go on as planned",
    )
    add_search_options(run)
