"""The model card of the miniature, written by the program that trained it."""

from __future__ import annotations

import platform
from typing import Any

import torch

from train.miniature.settings import Settings

_CARD = """# The miniature

A FLUX pipeline in the diffusers layout (transformer, VAE, CLIP, T5, scheduler) of a few million
parameters, and in `corrector/` the LoRA of its corrector in the published format. It paints 64x64
pictures of coloured shapes and shows how the search works; it says nothing about FLUX.1-dev.

Made from nothing by `python -m train.miniature {changed}`; license Apache-2.0. The data are
rendered scenes of the shapes world for prompts of its grammar's training side; no held-out prompt
(one in five, by a hash of its text) was ever trained on.

| what | how |
|---|---|
| seed | {settings.seed} |
| scenes | {settings.pictures} |
| VAE | {settings.vae_steps} steps of {settings.vae_batch} pictures |
| text encoders | {settings.text_steps} steps of {settings.text_batch} texts, then frozen |
| base | {settings.base_steps} steps of {settings.base_batch} |
| guidance distillation | {settings.distil_steps} steps |
| corrector | rank {settings.rank}, {settings.corrector_steps} steps of {settings.corrector_batch} |
| its pairs | twice {settings.pairs} |
| machine | {machine} |
| torch | {torch} |

Measured by the same program on {settings.measured} held-out prompts, one picture each; ± is one
standard error of the paired difference:

| figure | value |
|---|---|
{figures}
"""


def card(settings: Settings, figures: dict[str, Any]) -> str:
    """The card's text; `figures` as `report` measures them."""
    defaults = Settings()
    changed = " ".join(
        f"{name}={value}"
        for name, value in settings
        if name not in ("out", "device") and value != getattr(defaults, name)
    )
    base, fixed = figures["base"], figures["one_correction"]
    rows = {
        "right after the VAE (the detector's reading)": figures["vae"],
        "right, all families": base["overall"],
        **{f"right, {name}": share for name, share in base.items() if name != "overall"},
        f"one correction mends ({fixed['flawed']} flawed), true reflection": fixed["reflection"],
        "the same without a reflection": fixed["none"],
        "the same with another picture's reflection": fixed["shuffled"],
        "a new picture from fresh noise is right": fixed["anew"],
    }
    told = {name: f"{value:.3f}" for name, value in rows.items()}
    for kind, name in (("none", "none"), ("shuffled", "another picture's"), ("anew", "anew")):
        lead = fixed["leads"][kind]
        told[f"true reflection minus {name}"] = (
            f"{lead['mean']:+.3f} ± {lead['standard_error']:.3f}"
        )
    return _CARD.format(
        settings=settings,
        changed=changed,
        machine=f"{platform.system()} {platform.machine()}, {settings.device}",
        torch=torch.__version__,
        figures="\n".join(f"| {name} | {value} |" for name, value in told.items()),
    ).replace(" `;", "`;")
