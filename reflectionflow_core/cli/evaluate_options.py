"""The options of `reflectionflow evaluate` and `compare`."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from ..registry import EVOLVERS, VERIFIERS, WRITERS
from ..search.strategies import STRATEGIES
from .effects import TEXTS_OF_THEIR_OWN
from .me import ME
from .naming import in_words
from .options import (
    add_search_options,
    cells,
    hours,
    listed,
    numbers,
    positive,
    whole,
)
from .parsing import DRY_RUN, JSON, OPEN, QUIET, Parser

# Options that a benchmark refuses, since it paints many prompts and writes no texts for them.
FOR_ONE_PROMPT = ("think_first", "draft_prompt", "stages")
FOR_TEXTS = ("planner", "inspector", "thinker")
STUDY_NAMES = (
    *("table1", "table2", "difficulty", "verifier", "controls"),
    *("strategies", "steps", "scouts", "adaptive", "all"),
)
PROMPTS, PROMPTS_OF_ALL = 600, 240  # by default; the latter for all studies at once
RESUMING = "Give the same command again to continue an evaluation that was stopped or killed."


def add_benchmarks(evaluate: Parser) -> None:
    benchmarks = evaluate.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, text, fill, example in (
        (
            "shapes",
            "the miniature's prompts, judged by exact rules",
            _add_shapes,
            "--study table1 --quick --out table1.json",
        ),
        (
            "geneval",
            "GenEval's protocol, with a detector",
            _add_geneval,
            "--images pictures --detector facebook/mask2former-swin-small-coco-instance --out "
            "geneval.json",
        ),
        (
            "geneval2",
            "GenEval 2's Soft-TIFA, with a vision-language model",
            _add_geneval2,
            "--images pictures --data geneval2_data.jsonl --vlm endpoint:mine --out geneval2.json",
        ),
    ):
        benchmarks.add_parser(
            name,
            help=text,
            description=f"{text[:1].upper()}{text[1:]}.",
            epilog=RESUMING,
            fill=fill,
            examples=[f"reflectionflow evaluate {name} {example}"],
        )


def _add_common(parser: Parser, processes: str) -> None:
    add = parser.add_argument
    add(
        "--out", metavar="FILE", help="JSON file for the results; an HTML page is written beside it"
    )
    add(
        "--json",
        metavar="FILE",
        nargs="?",
        const=True,
        help=f"{JSON}; with a FILE the same as --out",
    )
    add("--quiet", action="store_true", help=QUIET)
    add("--open", action="store_true", help=OPEN)
    add("--dry-run", action="store_true", help=DRY_RUN)
    add("--processes", metavar="N", type=positive, help=f"worker processes ({processes})")
    add(
        "--ray",
        metavar="WHERE",
        help="use the Ray cluster at HOST:PORT, or local to start one here",
    )
    add(
        "--hours",
        metavar="H",
        type=hours,
        help="stop after H hours with exit code 3; the same command continues",
    )


def _add_shapes(parser: Parser) -> None:
    from ..miniature.prompts import FAMILIES

    _add_common(parser, "one for each core")
    add = parser.add_argument
    add("--study", metavar="NAME", default="table1", help=f"{', '.join(STUDY_NAMES)} (table1)")
    add(
        "--prompts",
        metavar="N",
        type=positive,
        help=f"number of prompts ({PROMPTS}; with --study all {PROMPTS_OF_ALL})",
    )
    add("--families", metavar="LIST", type=listed, help=f"any of {', '.join(FAMILIES)} (all)")
    add("--lora", metavar="FILE", help="a corrector instead of the miniature's own")
    add(
        "--judge",
        metavar="NAME",
        help="judge of the search: exact, or noisy:RATE,CORRELATION such as noisy:0.1,0.8, whose "
        "errors are repeated with that correlation when it is asked again about a picture (exact)",
    )
    add("--known-errors", action="store_true", help="tell the search the rates of --judge noisy")
    add("--budgets", metavar="LIST", type=numbers, help="numbers of pictures (1,2,4,8,16,32)")
    add(
        "--strategies",
        metavar="LIST",
        type=listed,
        help="any of baseline,noise,noise+prompt,reflection (all), for table1, difficulty and "
        "verifier",
    )
    add(
        "--grid",
        metavar="LIST",
        type=cells,
        help="width x depth for table2 (16x1,8x2,4x4,2x8,1x16)",
    )
    add("--seed", metavar="S", type=whole, help="seed of prompts and noise (0); -1 draws one")
    add("--quick", action="store_true", help="few prompts and small budgets, for a quick test")


def _add_geneval(parser: Parser) -> None:
    _add_common(parser, "1")
    add = parser.add_argument
    add("--images", metavar="DIR", required=True, help="NNNNN/metadata.jsonl and samples/*.png")
    add(
        "--detector",
        metavar="WHERE",
        required=True,
        help="folder or hub id; facebook/mask2former-swin-small-coco-instance is closest to the "
        "official detector",
    )
    add(
        "--colour-judge",
        metavar="WHERE",
        help="folder or hub id of a CLIP; the official one is openai/clip-vit-large-patch14",
    )
    group = _add_generation(parser, ("--detector", "--colour-judge"))
    group.add_argument(
        "--prompts", metavar="FILE", help="what to paint: GenEval's evaluation_metadata.jsonl"
    )
    group.add_argument("--samples", metavar="K", type=positive, help="pictures per prompt (4)")


def _add_geneval2(parser: Parser) -> None:
    _add_common(parser, "1")
    add = parser.add_argument
    add(
        "--images",
        metavar="WHERE",
        required=True,
        help="DIR with NNNNN/metadata.jsonl and samples/*.png, or a JSON {prompt: picture}",
    )
    add("--data", metavar="FILE", required=True, help="your copy of geneval2_data.jsonl")
    add(
        "--judge",
        metavar="WHERE",
        help="the model that answers the questions (default: --vlm); the official one is "
        "Qwen/Qwen3-VL-8B-Instruct",
    )
    _add_generation(parser)


def _add_generation(parser: Parser, without: Collection[str] = ()) -> argparse._ArgumentGroup:
    group = parser.add_argument_group(
        "painting the pictures first",
        "One search per picture, with the options below. Searches that start from a text for a "
        "single prompt (--draft-prompt, --think-first, --stages, the strategies staged and "
        "interleaved) are refused, and so is the actor me.",
    )
    group.add_argument(
        "--generate", action="store_true", help="paint the pictures that --images lacks"
    )
    add_search_options(parser, without)
    _leave_out_refused(parser)
    return group


def _leave_out_refused(parser: Parser) -> None:
    """Takes what a benchmark refuses from the help. It is still parsed, so errors say why."""
    names = {
        "strategy": (STRATEGIES, TEXTS_OF_THEIR_OWN),
        "verifier": (VERIFIERS, (ME,)),
        "writer": (WRITERS, (ME,)),
        "evolver": (EVOLVERS, (ME,)),
    }
    for action in parser._actions:
        if action.dest in (*FOR_ONE_PROMPT, *FOR_TEXTS):
            action.help = argparse.SUPPRESS
        elif action.dest in names and action.help:
            known, refused = names[action.dest]
            left = [name for name in known if name not in refused]
            action.help = action.help.replace(in_words(known), in_words(left))
