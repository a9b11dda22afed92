"""The options of `reflectionflow judge`."""

from __future__ import annotations

import argparse

from ..judge_exam.settings import LABELS, LEAST, PAINTED, QUESTIONS
from ..vlm.kept_errors import OWN
from .options import add_consent_option, listed, positive, size, whole
from .parsing import Parser

ASKS = """\
Measures how often a judge is wrong, on statements whose truth is known: about drawn scenes, about
labelled pictures, and about faults planted into pictures with known objects."""


def add_judge_options(judge: Parser) -> None:
    judge.description = ASKS
    add = judge.add_argument
    add("--vlm", metavar="NAME", help="a profile, endpoint:PROFILE, a folder or a hub id")
    add(
        "--verifier",
        metavar="NAME",
        help=f"a verifier that decides what passes (default: {OWN}, with --vlm)",
    )
    add("--images", metavar="DIR", help=f"your pictures; {LABELS} beside them says what is true")
    add("--model", metavar="NAME", help="paint pictures with this model and detect what they show")
    add("--pictures", metavar="N", type=positive, help=f"pictures to paint (default: {PAINTED})")
    add("--detector", metavar="WHERE", help="finds what is in the pictures: a folder or onnx:FILE")
    add("--things", metavar="A,B", type=listed, help="what --detector looks for (default: all)")
    add("--colour-judge", metavar="WHERE", help="a CLIP that names colours for verifier objects")
    add(
        "--questions",
        metavar="N",
        type=_enough,
        help=f"number of questions, at least {LEAST} (default: {QUESTIONS})",
    )
    add("--seed", metavar="N", type=whole, help="seed of the questions (0); -1 draws one")
    add("--out", metavar="DIR", help="a new folder for the pictures and the answers")
    add(
        "--plugin",
        dest="plugins",
        metavar="FILE",
        action="append",
        help="Python file with verifiers of your own",
    )
    add("--steps", metavar="N", type=positive, help="diffusion steps of --model")
    add("--size", metavar="WxH", type=size, help="size of the pictures that --model paints")
    add("--dtype", metavar="TYPE", help="number format of --model: bf16 or fp32")
    add("--offload", dest="plan", metavar="NAME", help="how --model uses the GPU, as with run")
    add("--device", metavar="NAME", help="device of local models: cuda, mps or cpu")
    add("--vlm-dtype", metavar="TYPE", help="number format of a local --vlm: bf16, fp32 or nf4")
    add_consent_option(judge)


def _enough(text: str) -> int:
    value = positive(text)
    if value < LEAST:
        raise argparse.ArgumentTypeError(f"{value} is less than {LEAST}")
    return value
