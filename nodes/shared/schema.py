"""What several nodes' schemas and checks have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ...reflectionflow_core.search import STRATEGIES
from ...reflectionflow_core.settings import MAX_SEED, RANDOM_SEED, RECOMMENDED
from .profiles import looks_like_a_key
from .sockets import (
    EvolverSocket,
    FluxSocket,
    HistorySocket,
    InspectorSocket,
    OptionsSocket,
    PlanSocket,
    VerifierSocket,
    WriterSocket,
)

ROOT = "ReflectionFlow"
PREFIX = "ReflectionFlow_"
STOP_AT_SCORE = "at a score"
STOPS = ("never", "when passed", STOP_AT_SCORE)
# The menu: what most graphs are made of, and the method's steps, to be wired by hand.
MENU = (
    *("ReflectionLoop", "ReflectionTrail", "PainterFromModel", "FluxFromModel", "LoadCorrector"),
    *("SearchOptions", "Critic", "Judge", "VisionModel", "FixPicture"),
)
STEPS_BY_HAND = (
    *("DraftSampler", "VerifierScore"),
    *("ReflectionWriter", "PromptEvolver", "CorrectorSampler"),
)
KNOWN = {field.name for field in fields(io.Schema)}


def schema(name: str, **given: Any) -> io.Schema:
    """A schema without the fields that this ComfyUI does not know yet, such as search_aliases."""
    known = {key: value for key, value in given.items() if key in KNOWN}
    return io.Schema(node_id=PREFIX + name, category=category_of(name), **known)


def category_of(name: str) -> str:
    """The category of a node in ComfyUI's menu: a few in front, the others under "advanced"."""
    if name in MENU:
        return ROOT
    return f"{ROOT}/steps" if name in STEPS_BY_HAND else f"{ROOT}/advanced"


def output(kind: Any, name: str, tooltip: str) -> io.Output:
    """An output that is shown under its id, which ComfyUI would otherwise replace by the type."""
    return kind.Output(name, display_name=name, tooltip=tooltip)


def list_output(kind: Any, name: str, tooltip: str) -> io.Output:
    return kind.Output(name, display_name=name, is_output_list=True, tooltip=tooltip)


def flux_input(tooltip: str = "From a FLUX loader.", **given: Any) -> io.Input:
    return FluxSocket.Input("flux", display_name="FLUX", tooltip=tooltip, **given)


def flux_output(tooltip: str = "Paints and corrects.") -> io.Output:
    return FluxSocket.Output("flux", display_name="FLUX", tooltip=tooltip)


def prompt_input(tooltip: str) -> io.Input:
    return io.String.Input("prompt", multiline=True, default="", tooltip=tooltip)


def seed_input() -> io.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=RANDOM_SEED,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="Seed of the noise of every picture. The same seed, settings and models give "
        "the same pictures. -1 draws a random seed once; the node and the report show it.",
    )


def batch_size_input() -> io.Input:
    return io.Int.Input(
        "batch_size",
        default=1,
        min=1,
        max=64,
        tooltip="How many pictures are painted at once. More is faster on a large GPU and takes "
        "more memory, an estimated 1 GB for each at 1024 x 1024.",
        extra_dict={"advanced": True},
    )


def request_inputs() -> list[io.Input]:
    """The inputs of a search without its depth."""
    return [
        prompt_input("What to paint."),
        io.Int.Input(
            "width",
            display_name="chains",
            default=2,
            min=1,
            max=64,
            tooltip="Pictures in every round: one for each chain.",
        ),
        io.Int.Input(
            "drafts",
            default=0,
            min=0,
            max=1000,
            tooltip="First pictures; the best of them start the chains. 0 is one for each "
            "chain, or one in total for the strategies adaptive and scouts.",
        ),
        seed_input(),
        io.Combo.Input(
            "strategy",
            options=list(STRATEGIES),
            default=RECOMMENDED.strategy,
            tooltip="reflection corrects pictures as in the paper; noise+prompt rewrites the "
            "prompt and paints from scratch; noise only paints from scratch. adaptive (default) "
            "corrects, backtracks or restarts, depending on the verdicts, and stops at a picture "
            "that passes; potential paints a quick "
            "preview first and drops hopeless pictures; scouts looks at many previews and "
            "finishes those that look right; paths adds noise to good pictures and repaints "
            "them. staged draws step by step from a plan; interleaved thinks first and "
            "repaints; in-context shows writer and evolver the earlier attempts.",
        ),
        io.Combo.Input(
            "stop",
            options=list(STOPS),
            default="never",
            tooltip="When to stop early. Checked after every batch of pictures, drafts included.",
        ),
        io.Float.Input(
            "stop_score",
            default=1.0,
            min=-1000.0,
            max=1000.0,
            step=0.01,
            tooltip="The score that is good enough, for stop 'at a score'.",
        ),
        io.Boolean.Input(
            "save_run",
            default=False,
            tooltip="Write every picture to output/reflectionflow as it is painted. After a crash "
            "the same graph continues from there.",
        ),
        OptionsSocket.Input("options", optional=True, tooltip="From Search Options."),
        PlanSocket.Input(
            "plan", optional=True, tooltip="From Scene Planner. Needed for strategy staged only."
        ),
    ]


def actor_inputs(lazy: bool | None = None) -> list[io.Input]:
    """The actors of a search."""
    return [
        flux_input("Who paints.", lazy=lazy),
        VerifierSocket.Input("verifier", lazy=lazy, tooltip="Who judges."),
        WriterSocket.Input(
            "writer",
            optional=True,
            lazy=lazy,
            tooltip="Who says what is wrong. Needed for every strategy but noise, noise+prompt and "
            "paths, unless Search Options switches that axis off.",
        ),
        EvolverSocket.Input(
            "evolver",
            optional=True,
            lazy=lazy,
            tooltip="Who rewrites the prompt. Needed for every strategy but noise, paths and "
            "interleaved, unless Search Options switches that axis off.",
        ),
    ]


def inspector_input(lazy: bool | None = None) -> io.Input:
    """Separate from the other actors, because it was added later and inputs are only appended."""
    return InspectorSocket.Input(
        "inspector",
        optional=True,
        lazy=lazy,
        tooltip="Who compares unfinished pictures with the plan. Needed for strategy staged only.",
    )


def mask_input() -> io.Input:
    """Where a search may correct; added later."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where corrections may change anything; every pixel outside stays the same. "
        "Without a mask, correct in Search Options decides.",
    )


def pause_seconds_input(name: str = "seconds", optional: bool = False) -> io.Input:
    return io.Int.Input(
        name,
        display_name="seconds to wait",
        optional=optional,
        default=600,
        min=1,
        max=86_400,
        tooltip="Seconds to wait for your answer after a round; then the search continues as "
        "planned. If no browser is open, it continues at once; if none shows the question, after "
        "30 seconds.",
        extra_dict={"advanced": True},
    )


def pause_inputs() -> list[io.Input]:
    """The inputs of a loop that asks a person; last, since inputs are only appended."""
    return [
        io.Boolean.Input(
            "ask_me",
            display_name="ask me",
            default=False,
            optional=True,
            tooltip="After every round, show its pictures and ask how to continue: pick the "
            "winner, veto, edit what will be changed and where, or continue as planned.",
        ),
        pause_seconds_input("ask_seconds", optional=True),
    ]


def result_outputs() -> list[io.Output]:
    return [
        output(io.Image, "best", "The best of all pictures."),
        list_output(io.Image, "images", "All pictures, in the order in which they were painted."),
        output(
            io.String,
            "report",
            "JSON: settings, cost, and for every picture its score, reflection, prompt, "
            "seed and parent.",
        ),
        output(HistorySocket, "history", "For Reflection Trail, or another round."),
    ]


def check_texts(texts: Iterable[str | None], empty: str = "") -> bool | str:
    """True, or what is wrong with texts typed into a node; None is a wired text.

    `empty` is the error for an empty text; without it such a text is accepted.
    """
    for text in texts:
        if text is None:
            continue
        if looks_like_a_key(text):
            return (
                "The text looks like it holds an API key, which every saved picture would "
                "contain. Remove it; put keys into a profile (see docs/judges.md)."
            )
        if empty and not text.strip():
            return empty
    return True


NO_PROMPT = "The prompt is empty. Say in words what to paint."
