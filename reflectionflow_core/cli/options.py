"""The options of a search on the command line, and the records that they make.

Options that are not given are absent, not defaults: a resumed run takes them from its run.json.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

from ..choice import LATER, RECORDED
from ..flux.settings import PROMPT_STYLES
from ..planners.text import from_text
from ..record import InputError, Stage
from ..registry import (
    EVOLVERS,
    INSPECTORS,
    MODELS,
    PLANNERS,
    THINKERS,
    VERIFIERS,
    WRITERS,
    choices_of,
)
from ..search.strategies import strategy_named
from ..settings import RANDOM_SEED, RECOMMENDED, Budget, SearchSettings, chosen_seed
from ..texts import read_text
from ..vlm.check_modes import MODES
from .effects import with_needs
from .naming import flag_of, in_words, name_of
from .parsing import Parser

MOST_GUIDANCE, MOST_BUDGET = 100, 10_000
NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+|nan|inf(inity)?)(e[+-]?[0-9]+)?", re.IGNORECASE
)
Reader = Callable[[str], Any]


def settings_of(given: Mapping[str, Any]) -> SearchSettings:
    """The defaults; each strategy has its own depth."""
    strategy = strategy_named(given.get("strategy", RECOMMENDED.strategy))
    return replace(RECOMMENDED, depth=strategy.depth)


def make_settings(given: Mapping[str, Any], base: SearchSettings = RECOMMENDED) -> SearchSettings:
    """`base` with the options that were given."""
    limits = {f.name: given[name_of(f)] for f in fields(Budget) if name_of(f) in given}
    changes = {f.name: given[f.name] for f in fields(base) if f.name in given}
    return replace(base, **changes, budget=replace(base.budget, **limits))


def with_drawn_seed(given: Mapping[str, Any], recorded: int | None) -> Mapping[str, Any]:
    """The options with a seed for RANDOM_SEED: the recorded one of what is continued, or a new one.

    Says which on stderr.
    """
    if given.get("seed") != RANDOM_SEED:
        return given
    if recorded is not None:  # it may have been given, not drawn
        sys.stderr.write(f"The run's own seed {recorded} is used.\n")
        return {**given, "seed": recorded}
    seed = chosen_seed(RANDOM_SEED)
    unkept = " A dry run keeps nothing, so the run itself draws another."
    said = unkept if given.get("dry_run") else ""
    sys.stderr.write(f"The seed is {seed}, drawn at random.{said}\n")
    return {**given, "seed": seed}


def make_record(given: Mapping[str, Any], base: Mapping[str, Any] = RECORDED) -> dict[str, Any]:
    """Who acts, as run.json keeps it: `base` with the options that were given."""
    record = {**base, **{name: given[name] for name in (*RECORDED, *LATER) if name in given}}
    return {
        name: value
        for name, value in record.items()
        if name in RECORDED or value != LATER.get(name)
    }


def add_search_options(parser: Parser, without: Collection[str] = ()) -> None:
    """All options of a search, for every command that searches, but for flags that it has."""
    search = parser.add_argument_group("search")
    for f in fields(SearchSettings):
        if f.name != "budget":
            _add_setting(search, f)
    thinks = "let the thinker write a draft prompt for each prompt: content, layout, style"
    search.add_argument(
        "--think-first", action="store_true", help=with_needs("think_first", thinks)
    )
    budget = parser.add_argument_group("budget ('none' removes a limit)")
    for f in fields(Budget):
        _add_setting(budget, f, limit)
    _add_models(parser.add_argument_group("who paints and judges"), without)


def add_verifier_options(parser: Parser) -> None:
    """The options of who judges, for a command that paints nothing."""
    group = parser.add_argument_group("who judges")
    add = _adder(group, ())
    _add_plugin(group)
    add("--device", "NAME", "cuda, mps or cpu (default: cuda if there is one, else cpu)")
    _add_verifiers(group, add)
    asking = [name for name, row in VERIFIERS.items() if row.asks_vlm]
    add("--vlm", "WHERE", f"model of {in_words(asking)}: endpoint:PROFILE, a folder or a hub id")
    add("--vlm-dtype", "TYPE", "number format of --vlm: bf16, fp32 or nf4 (default: bf16)")
    _add_judge_check(group, add)


def _add_setting(
    group: argparse._ArgumentGroup,
    setting: Field[Any],
    wrap: Callable[[Reader], Reader] = lambda reader: reader,
) -> None:
    """The option of a setting, made from what its field says."""
    name = name_of(setting)
    flag, text = flag_of(name), setting.metadata["text"]
    if setting.type == "bool":
        group.add_argument(flag, action="store_true", help=with_needs(name, text))
        return
    names = choices_of(setting)
    metavar = setting.metadata.get("metavar") or "|".join(names)
    if names and "metavar" in setting.metadata:
        text = f"{text}: {in_words(names)}"
    reader = wrap(READERS[setting.metadata.get("reads", str(setting.type))])
    default = getattr(RECOMMENDED, setting.name, setting.default)  # those of a Budget are its own
    group.add_argument(
        flag,
        metavar=metavar,
        type=reader,
        help=with_needs(name, _with_default(text, default)),
    )


def _adder(group: argparse._ArgumentGroup, without: Collection[str]) -> Callable[..., None]:
    """Adds an option with its default, but for flags that the command has."""

    def add(flag: str, metavar: str, text: str, kind: Reader = str) -> None:
        if flag in without:
            return
        name = flag.removeprefix("--").replace("-", "_")
        text = with_needs(name, _with_default(text, {**RECORDED, **LATER}.get(name)))
        group.add_argument(flag, metavar=metavar, type=kind, help=text)

    return add


def _add_plugin(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--plugin",
        dest="plugins",
        metavar="FILE",
        action="append",
        help="Python file that adds your own models, verifiers or other actors; may be repeated",
    )


def _add_models(group: argparse._ArgumentGroup, without: Collection[str]) -> None:
    add = _adder(group, without)
    everyone = (VERIFIERS, WRITERS, EVOLVERS, PLANNERS, INSPECTORS, THINKERS)
    asking = dict.fromkeys(name for rows in everyone for name, row in rows.items() if row.asks_vlm)
    _add_plugin(group)
    add("--model", "NAME", f"{in_words(MODELS)}, or a diffusers text-to-image folder or hub id")
    add("--transformer", "FILE", "fine-tuned .safetensors that replaces the FLUX folder's weights")
    add("--lora", "FILE", "the corrector's LoRA, for FLUX.1")
    add("--edit-model", "FOLDER", "an editing pipeline of diffusers that corrects the pictures")
    add("--edit-steps", "N", "diffusion steps of --edit-model (default: the model's)", positive)
    add("--edit-guidance", "G", "guidance scale of --edit-model (default: the model's)", guidance)
    add("--steps", "N", "diffusion steps per picture (default: the model's)", positive)
    add("--guidance", "G", "guidance scale (default: the model's)", guidance)
    add("--size", "WxH", "picture size in pixels, such as 1024x768 (default: the model's)", size)
    add("--dtype", "TYPE", "number format of the weights: bf16 or fp32 (default: bf16)")
    add("--device", "NAME", "cuda, mps or cpu (default: cuda if there is one, else cpu)")
    offload = with_needs(
        "plan", "how weights use the GPU: resident, phased or streamed (default: auto)"
    )
    group.add_argument("--offload", dest="plan", metavar="NAME", help=offload)
    group.add_argument("--plan", help=argparse.SUPPRESS)  # its former name
    add(
        "--condition-size", "PX", "side of the corrector's condition image (default: 512)", positive
    )
    add("--condition-fit", "HOW", "squash it to a square, or fit it by aspect (default: squash)")
    add(
        "--prompt-style",
        "|".join(PROMPT_STYLES),
        "format of the corrector's prompt: as in its training, or as in the paper's script",
    )
    _add_verifiers(group, add)
    add("--writer", "NAME", f"writer of reflections: {in_words(WRITERS)}")
    add("--max-words", "N", "longest reflection in words (default: the writer's)", positive)
    add("--evolver", "NAME", f"rewriter of prompts: {in_words(EVOLVERS)}")
    add("--planner", "NAME", f"planner of the stages: {in_words(PLANNERS)} (default: rules)")
    add("--inspector", "NAME", f"judge of the stages: {in_words(INSPECTORS)} (default: exact)")
    add(
        "--thinker",
        "NAME",
        f"writer of draft prompts: {in_words(THINKERS)} (default: vlm if --vlm is given)",
    )
    add(
        "--vlm",
        "WHERE",
        f"model of {in_words(asking)}: endpoint:PROFILE, a folder or a hub id",
    )
    add("--vlm-dtype", "TYPE", "number format of --vlm: bf16, fp32 or nf4 (default: bf16)")
    _add_judge_check(group, add)


def _add_verifiers(group: argparse._ArgumentGroup, add: Callable[..., None]) -> None:
    sources = [name for name, row in VERIFIERS.items() if row.source]
    add(
        "--verifier",
        "NAME",
        f"{in_words(VERIFIERS)}; {in_words(sources)} as NAME:FOLDER; A+B: both "
        "(objects, text and checklist share the requirements)",
    )
    add("--detector", "WHERE", "detector of the verifier objects: a folder, a hub id or onnx:FILE")
    add("--colour-judge", "WHERE", "a CLIP that names their colours (default: a vote of pixels)")
    ground = with_needs("ground", "let the checklist ask for bounding boxes")
    group.add_argument("--ground", action="store_true", help=ground)
    add("--gate", "NAME", "a verifier that decides what passes, while --verifier ranks")
    add("--screen", "NAME", "a cheap verifier that ranks a batch; --verifier looks at the best")
    add("--shortlist", "N", "pictures per batch for --verifier to look at (default: 2)", positive)
    add("--reward-base", "FOLDER", "the Qwen2.5-VL that the reward model was trained from")
    add("--reward-template", "FILE", "prompt template of the reward model")
    add("--verifier-error", "RATE", "error rate of noisy, from 0 to 1 (default: 0.1)", share)


def _add_judge_check(group: argparse._ArgumentGroup, add: Callable[..., None]) -> None:
    add(
        "--judge-check",
        "|".join(MODES),
        "check that the vlm sees before a search: strict ends the search if it does not, warn only "
        "warns, off skips the check (default: strict)",
    )
    add(
        "--judge-errors",
        "FILE",
        "known error rates of the verifier as JSON, such as judge.errors of a run.json (default: "
        "those that reflectionflow judge has stored)",
    )
    add_consent_option(group)


def add_consent_option(group: argparse._ActionsContainer) -> None:
    text = "agree to send pictures to the host of the vlm's profile; the answer is remembered"
    group.add_argument(
        "--send-pictures", action="store_true", help=with_needs("send_pictures", text)
    )


def _with_default(text: str, default: Any) -> str:
    shown = ",".join(default) if isinstance(default, tuple) else default
    return text if shown in (None, "") else f"{text} (default: {shown})"


def whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,100}", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a whole number")
    return int(text)


def number(text: str) -> float:
    # float() would also read 1_0 and the digits of other scripts.
    if not NUMBER.fullmatch(text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a number")
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a finite number")
    return value


def guidance(text: str) -> float:
    value = number(text)
    if not 0 <= value <= MOST_GUIDANCE:
        raise argparse.ArgumentTypeError(f"{value:g} is not between 0 and {MOST_GUIDANCE}")
    return value


def positive(text: str) -> int:
    value = whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def port(text: str) -> int:
    value = whole(text)
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"{value} is not a port (0 to 65535)")
    return value


def share(text: str) -> float:
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def hours(text: str) -> float:
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a time; give hours above 0")
    return value


def limit(kind: Callable[[str], float]) -> Callable[[str], float | None]:
    return lambda text: None if text == "none" else kind(text)


def stop_rule(text: str) -> str | float:
    return text if text[:1].isalpha() and text not in ("nan", "inf", "infinity") else number(text)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(re.fullmatch(r"[0-9]{1,9}", side) for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a size such as 1024x768")
    return int(sides[0]), int(sides[1])


def plan(text: str) -> tuple[Stage, ...]:
    """The stages in a file, a line each."""
    try:
        stages = from_text(read_text(Path(text)))
    except InputError as error:  # a ValueError, whose text argparse would drop
        raise argparse.ArgumentTypeError(str(error)) from None
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be read as a file ({error.strerror}); give the name of a file "
            "with one stage per line"
        ) from None
    if not stages:
        raise argparse.ArgumentTypeError(f"{text!r} has no stages")
    return stages


def numbers(text: str) -> tuple[int, ...]:
    values = tuple(map(positive, listed(text)))
    if too_many := [value for value in values if value > MOST_BUDGET]:
        raise argparse.ArgumentTypeError(f"{too_many[0]} is more than {MOST_BUDGET:,}")
    return values


def cells(text: str) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(map(size, listed(text)))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is not a list of WIDTHxDEPTH such as 16x1,4x4,1x16"
        ) from None


def mask(text: str) -> str:
    """The mask in a picture file, as settings hold it."""
    from ..pictures import PictureError, read_mask
    from ..regions.masks import mask_text

    try:
        return mask_text(read_mask(Path(text).read_bytes()))
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be read as a file ({error.strerror}); give a picture that is "
            "white where corrections may change anything"
        ) from None
    except PictureError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be used: {error.reason}. Give a picture that is white where "
            "corrections may change anything, and black elsewhere"
        ) from None


# How an option's text becomes a setting, by the setting's type or by what it `reads`.
READERS: dict[str, Reader] = {
    "int": whole,
    "int | None": whole,
    "float": number,
    "float | None": number,
    "str": str,
    "str | None": str,
    "str | float": stop_rule,
    "tuple[Axis, ...]": listed,
    "tuple[Stage, ...]": plan,
    "mask": mask,
}
