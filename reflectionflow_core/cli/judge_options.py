"""The options of `reflectionflow judge`."""

from __future__ import annotations

import argparse

from ..judge_exam.settings import LABELS, LEAST, PAINTED, QUESTIONS
from ..vlm.kept_errors import OWN
from .options import add_consent_option, listed, positive, size, whole
from .parsing import Parser

ASKS = """\
Asks a judge about pictures and statements whose truth is known: drawn scenes, labelled pictures,
and changes planted into pictures whose things are known."""


def add_judge_options(judge: Parser) -> None:
    judge.description = ASKS
    add = judge.add_argument
    add("--vlm", metavar="NAME", help="a profile, endpoint:PROFILE, a folder or a hub id")
    add(
        "--verifier",
        metavar="NAME",
        help=f"who is asked, of those that say what passed (default: {OWN}, with --vlm)",
    )
    add("--images", metavar="DIR", help=f"your pictures; {LABELS} beside them says what is true")
    add("--model", metavar="NAME", help="paint pictures with this model and look what is in them")
    add("--pictures", metavar="N", type=positive, help=f"of --model (default: {PAINTED})")
    add("--detector", metavar="WHERE", help="finds what is in the pictures: a folder or onnx:FILE")
    add("--things", metavar="A,B", type=listed, help="names that it looks for (default: all)")
    add("--colour-judge", metavar="WHERE", help="of the verifier objects")
    add(
        "--questions",
        metavar="N",
        type=_enough,
        help=f"in all, at least {LEAST} (default: {QUESTIONS})",
    )
    add("--seed", metavar="N", type=whole, help="of what is asked (default: 0)")
    add("--out", metavar="DIR", help="a new folder for the pictures shown and the answers")
    add(
        "--plugin",
        dest="plugins",
        metavar="FILE",
        action="append",
        help="Python file with verifiers of your own",
    )
    add("--steps", metavar="N", type=positive, help="diffusion steps of --model")
    add("--size", metavar="WxH", type=size, help="of the pictures that --model paints")
    add("--dtype", metavar="TYPE", help="number format of --model")
    add("--offload", dest="plan", metavar="NAME", help="of --model")
    add("--device", metavar="NAME", help="of models on this machine")
    add("--vlm-dtype", metavar="TYPE", help="of a model on this machine")
    add_consent_option(judge)


def _enough(text: str) -> int:
    value = positive(text)
    if value < LEAST:
        raise argparse.ArgumentTypeError(f"{value} is less than {LEAST}")
    return value
