"""What a run will take, from counted weights and stated assumptions; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.qwen.data import split
from train.qwen.settings import MINIATURE, QwenSettings

SUSTAINED = 125e12  # operations a second: 40 % of what an A100 can do in bf16
WORDS = 160  # tokens of text in a sample: template or request, prompt, reflection
MERGED = 28  # pixels a side of one picture token: 2 x 2 patches of 14


@dataclass(frozen=True, slots=True)
class LayerStack:
    """Equal layers: their weights, and how many positions of a sample go through them."""

    weights: int
    trained: int
    layers: int
    hidden: int
    inner: int
    positions: float

    @staticmethod
    def of(model: nn.Module, config: Any, layers: int, positions: float) -> LayerStack:
        every = list(model.parameters())
        return LayerStack(
            sum(p.numel() for p in every),
            sum(p.numel() for p in every if p.requires_grad),
            layers,
            config.hidden_size,
            config.intermediate_size,
            positions,
        )

    def operations(self, recomputed: bool) -> float:
        """Of one sample: two a weight forwards, two for what lies below, two more for each weight
        that is trained, and two again where activations are recomputed.
        """
        return self.positions * ((4 + 2 * recomputed) * self.weights + 2 * self.trained)

    def activations(self, recomputed: bool, width: int) -> float:
        """Bytes a sample: every layer's input, and the insides of one layer or of all."""
        insides = 10 * self.hidden + 4 * self.inner
        inside = insides * (1 if recomputed else self.layers)
        return self.positions * width * (self.layers * self.hidden + inside)


def stacks_of(
    model: Any, config: Any, settings: QwenSettings, pictures: int
) -> tuple[LayerStack, LayerStack]:
    """The language model and the vision encoder, for samples of so many pictures with text."""
    tokens = settings.max_pixels / MERGED**2
    text, vision = config.text_config, config.vision_config
    return (
        LayerStack.of(
            model.language_model, text, text.num_hidden_layers, pictures * (tokens + WORDS)
        ),
        LayerStack.of(model.visual, vision, vision.depth, pictures * tokens * 4),
    )


def estimate_of(
    settings: QwenSettings,
    stacks: tuple[LayerStack, ...],
    other: tuple[int, int],
    samples: str,
) -> str:
    """The estimate as text; `other` are the weights outside the stacks, and how many of them are
    trained.
    """
    weights = sum(stack.weights for stack in stacks) + other[0]
    trained = sum(stack.trained for stack in stacks) + other[1]
    width = 2 if settings.weights == "bf16" else 4
    optimiser = {"adamw_torch": 8, "adafactor": 0}[settings.optimiser]  # bytes a trained weight
    held = (weights - trained) * width + trained * (8 + optimiser)
    recomputed = settings.checkpointing
    alive = settings.batch * sum(stack.activations(recomputed, width) for stack in stacks)
    drawn = settings.steps * settings.batch * settings.accumulate
    seconds = drawn * sum(stack.operations(recomputed) for stack in stacks) / SUSTAINED
    lines = (
        f"base         {settings.base}: {weights:,} weights",
        f"trained      {trained:,} weights, {trained / weights:.1%}",
        f"memory       about {(held + alive) / 1e9:.1f} GB: {held / 1e9:.1f} for weights, "
        f"gradients and optimiser, {alive / 1e9:.1f} for a batch of {settings.batch}",
        f"samples      {samples}",
        f"steps        {settings.steps:,} of {settings.batch * settings.accumulate} samples: "
        f"{drawn:,} samples on one device",
        f"time         about {duration(seconds)} on one GPU that sustains "
        f"{SUSTAINED / 1e12:.0f} TFLOP/s (40 % of an A100's peak in bf16), with pictures of "
        f"{settings.max_pixels:,} pixels and {WORDS} tokens of text",
    )
    return "\n".join(lines) + "\n"


def samples_of(settings: QwenSettings, read: Callable[[str], Any]) -> str:
    """How many samples there are, where they are on this machine."""
    if settings.data == MINIATURE:
        return f"{settings.made:,}, and {settings.held_out_most:,} held out, made by the program"
    try:
        source = read(settings.data)
        held: Sized = read(settings.held_out) if settings.held_out else ()
    except InputError as error:
        return f"not counted: {error}"
    if settings.held_out:
        return f"{len(source):,}, and {len(held):,} held out"
    learnt, kept = split(source, settings.held_out_share)
    return f"{len(learnt):,}, and {min(len(kept), settings.held_out_most):,} held out"
