"""What the miniature can do, measured on prompts that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL.Image import Image, fromarray

from reflectionflow_core.evaluation.prompts import held_out as questions_of
from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.painter import FluxCorrector, FluxGenerator
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.judge import faults
from reflectionflow_core.miniature.prompts import FAMILIES, Spec, parse
from reflectionflow_core.miniature.world import Scene, render
from reflectionflow_core.record import Request
from reflectionflow_core.writers.template import TemplateWriter
from train.corrector.loss import change_weights, flow_error, mixed
from train.corrector.samples import WHOLE, SampleRow, encoded_batch, text_of
from train.miniature.edits import ScenePair, pair_of
from train.miniature.scenes import any_prompt, compose
from train.miniature.text import LENGTH
from train.miniature.vae import as_input, decode, encode, to_tensor

_BATCH = 32
CHANGED_WEIGHT = 2.0  # as in all configurations of the miniature's corrector
Asked = list[tuple[str, Spec]]


@torch.no_grad()
def vae_accuracy(vae: AutoencoderKL, count: int = 600, seed: int = 1) -> float:
    """Share of right scenes that the detector still reads right after the VAE."""
    rng = np.random.default_rng(seed)
    scenes = [compose(any_prompt(rng)[1], rng) for _ in range(count)]
    right = 0
    for start in range(0, count, _BATCH):
        batch = scenes[start : start + _BATCH]
        decoded = decode(vae, encode(vae, as_input(to_tensor(batch).to(vae.device))).mode())
        pixels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
        read = [detect(picture.permute(1, 2, 0).numpy()) for picture in pixels]
        right += sum(_names(a) == _names(b) for a, b in zip(batch, read, strict=True))
    return right / count


def held_out(per_family: int, seed: int = 0) -> Asked:
    """As many held-out prompts of each family; small families repeat theirs."""
    questions = questions_of(per_family, seed)
    return [(question.prompt, parse(question.prompt)) for question in questions]


def paint(generator: FluxGenerator, asked: Asked, seed: int = 0) -> list[Image]:
    """One picture a prompt, each from a seed of its own."""
    pictures: list[Image] = []
    for start in range(0, len(asked), _BATCH):
        rows = enumerate(asked[start : start + _BATCH], start=seed + start)
        pictures += generator.paint([Request(number, prompt) for number, (prompt, _) in rows])
    return pictures


def are_right(asked: Asked, pictures: Sequence[Image]) -> np.ndarray:
    """Which pictures show exactly what their prompts ask: (n,) bool."""
    pairs = zip(asked, pictures, strict=True)
    return np.array([not faults(detect(picture), spec) for (_, spec), picture in pairs])


def by_family(asked: Asked, right: np.ndarray) -> dict[str, float]:
    """Share of right pictures, overall and a family."""
    families = np.array([spec.family for _, spec in asked])
    shares = {family: float(right[families == family].mean()) for family in FAMILIES}
    return {"overall": float(np.mean(list(shares.values()))), **shares}


def correction_rates(
    generator: FluxGenerator,
    corrector: FluxCorrector,
    asked: Asked,
    pictures: Sequence[Image],
    seed: int = 10_000,
) -> dict[str, Any]:
    """Share of flawed pictures that ONE more picture makes right: corrected with the true
    reflection, with none, with another picture's, or painted from scratch (the controls); how many
    flawed pictures there were; and by how much the true reflection leads each control, paired.
    """
    wrong = np.flatnonzero(~are_right(asked, pictures)).tolist()
    writer = TemplateWriter()
    reflections = [
        writer.write([f.unmet for f in faults(detect(pictures[i]), asked[i][1])]) for i in wrong
    ]
    kinds = {
        "reflection": reflections,
        "none": [""] * len(reflections),
        "shuffled": reflections[1:] + reflections[:1],
    }
    flawed_ones = [pictures[i] for i in wrong]
    questions = [asked[i] for i in wrong]
    fixed = {
        kind: are_right(questions, _correct(corrector, questions, flawed_ones, texts, seed))
        for kind, texts in kinds.items()
    }
    fixed["anew"] = are_right(questions, paint(generator, questions, seed))
    rates = {kind: float(right.mean()) for kind, right in fixed.items()}
    ours = fixed.pop("reflection")
    leads = {kind: lead(ours, theirs) for kind, theirs in fixed.items()}
    return {"flawed": len(wrong), **rates, "leads": leads}


@torch.no_grad()
def correction_errors(
    corrector: FluxCorrector, asked: Asked, pictures: Sequence[Image], seed: int = 0
) -> dict[str, np.ndarray]:
    """The flow-matching error (paper §3.3) of each flawed picture's correction, (n,), with the true
    reflection and without one. Changed cells weigh as in the training; noises and times, which are
    spread evenly, are the same for every corrector.
    """
    rng = np.random.default_rng(seed)
    made = (pair_of(*one, detect(p), rng) for one, p in zip(asked, pictures, strict=True))
    wrong = [(p, pair) for p, pair in zip(pictures, made, strict=True) if pair is not None]
    times = torch.from_numpy((rng.permutation(len(wrong)) + 0.5) / len(wrong))
    found: dict[str, list[torch.Tensor]] = {"reflection": [], "none": []}
    for start in range(0, len(wrong), _BATCH):
        some = slice(start, start + _BATCH)
        for kind, errors in found.items():
            rows = [_row(picture, pair, kind == "reflection") for picture, pair in wrong[some]]
            batch = encoded_batch(corrector.flux, rows, LENGTH)
            noise = torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(start))
            inputs, slope = mixed(batch, noise, times[some])
            guess = velocity(corrector.flux.transformer, inputs, corrector.lora)
            errors.append(flow_error(guess, slope, change_weights(batch, CHANGED_WEIGHT)))
    return {kind: torch.cat(errors).cpu().numpy() for kind, errors in found.items()}


def _row(picture: Image, pair: ScenePair, with_reflection: bool) -> SampleRow:
    text = text_of(pair.prompt, pair.reflection if with_reflection else "", WHOLE)
    return SampleRow("", fromarray(render(pair.corrected)), picture, text, shown=True)


def lead(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """By how much ours are more than theirs, in pairs, and the standard error of it."""
    gained = ours.astype(float) - theirs
    error = gained.std(ddof=1) / len(gained) ** 0.5
    return {"mean": float(gained.mean()), "standard_error": float(error)}


def _correct(
    corrector: FluxCorrector, asked: Asked, pictures: list[Image], reflections: list[str], seed: int
) -> list[Image]:
    corrected: list[Image] = []
    for start in range(0, len(asked), _BATCH):
        rows = slice(start, start + _BATCH)
        texts = [prompt for prompt, _ in asked[rows]]
        seeds = [seed + start + i for i in range(len(texts))]
        requests = map(Request.correcting, pictures[rows], texts, reflections[rows], seeds)
        corrected += corrector.paint(list(requests))
    return corrected


def _names(scene: Scene) -> list[tuple[str, str]]:
    return sorted((thing.shape, thing.colour) for thing in scene)
