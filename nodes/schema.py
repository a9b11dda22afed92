"""What several nodes' schemas and checks have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from ..reflectionflow_core.record import MAX_SEED
from .profiles import looks_like_a_key

ROOT = "ReflectionFlow"
PREFIX = "ReflectionFlow_"
KNOWN = {field.name for field in fields(io.Schema)}


def schema(name: str, **given: Any) -> io.Schema:
    """A schema of what the ComfyUI at hand knows; newer ones know `search_aliases` and more."""
    known = {key: value for key, value in given.items() if key in KNOWN}
    return io.Schema(node_id=PREFIX + name, **known)


def prompt_input(tooltip: str) -> io.Input:
    return io.String.Input("prompt", multiline=True, default="", tooltip=tooltip)


def seed_input() -> io.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="Where the noise of every picture comes from. The same seed, settings and models "
        "give the same pictures.",
    )


def batch_size_input() -> io.Input:
    return io.Int.Input(
        "batch_size",
        default=1,
        min=1,
        max=64,
        tooltip="How many pictures go through the model at once. More is faster on a large GPU "
        "and takes about 1 GB more for each at 1024 x 1024.",
        extra_dict={"advanced": True},
    )


def check_texts(texts: Iterable[str | None], empty: str = "") -> bool | str:
    """True, or what is wrong with texts typed into a node; None is one that a wire will bring.

    `empty` is what to say of an empty text, where that is wrong.
    """
    for text in texts:
        if text is None:
            continue
        if looks_like_a_key(text):
            return (
                "The text looks like it holds an API key, which every saved picture would carry. "
                "Take it out; keys belong into a profile (see the README)."
            )
        if empty and not text.strip():
            return empty
    return True


NO_PROMPT = "The prompt is empty. Say in words what to paint."
