"""Memory and time of a run, from counted weights and stated assumptions; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.gpus import check_fit, exchanging, smaller_batches, steps_of
from train.qwen.data import split
from train.qwen.settings import MINIATURE, QwenSettings

WORDS = 160  # text tokens per sample (request, prompt, reflection); an assumption
ANSWER = 60  # tokens per generated answer; an assumption
SECONDS_WRITING = 1.5  # per generated answer, one by one; an assumption
MERGED = 28  # pixels per side of a picture token: 2 x 2 patches of 14


@dataclass(frozen=True, slots=True)
class LayerStack:
    """Equal layers: their weights, and the positions of a sample that pass through them."""

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
        """Operations per sample.

        Per weight: two forward, two backward for the input, two more if it is trained, and two
        again if activations are recomputed.
        """
        return self.positions * ((4 + 2 * recomputed) * self.weights + 2 * self.trained)

    def activations(self, recomputed: bool, width: int) -> float:
        """Bytes per sample: the inputs of all layers, and the activations in one layer or all."""
        insides = 10 * self.hidden + 4 * self.inner
        inside = insides * (1 if recomputed else self.layers)
        return self.positions * width * (self.layers * self.hidden + inside)


def stacks_of(
    model: Any, config: Any, settings: QwenSettings, pictures: int
) -> tuple[LayerStack, LayerStack]:
    """Language model and vision encoder, for samples of text with this many pictures."""
    tokens = settings.max_pixels / MERGED**2
    text, vision = config.text_config, config.vision_config
    return (
        LayerStack.of(
            model.language_model, text, text.num_hidden_layers, pictures * (tokens + WORDS)
        ),
        LayerStack.of(model.visual, vision, vision.depth, pictures * tokens * 4),
    )


@dataclass(frozen=True, slots=True)
class QwenLoad:
    """Memory and operations of a training: its stacks, and the weights outside them.

    `other_trained` of the weights outside the stacks are trained; `added` of all weights are not
    the base's: a LoRA, a head.
    """

    stacks: tuple[LayerStack, ...]
    other: int
    other_trained: int
    added: int = 0

    @property
    def weights(self) -> int:
        return sum(stack.weights for stack in self.stacks) + self.other

    @property
    def trained(self) -> int:
        return sum(stack.trained for stack in self.stacks) + self.other_trained

    def held(self, settings: QwenSettings) -> float:
        """Bytes of weights, gradients and optimiser on one GPU.

        With sharding, the current and the next layer and everything outside the stacks are whole.
        """
        width = 2 if settings.weights == "bf16" else 4
        optimiser = {"adamw_torch": 8, "adafactor": 0}[
            settings.optimiser
        ]  # bytes per trained weight
        held = (self.weights - self.trained) * width + self.trained * (8 + optimiser)
        if not settings.gpu.shares_weights:
            return held
        layer = max(stack.weights / stack.layers for stack in self.stacks)
        return held / settings.gpu.count + 4 * (2 * layer + 2 * self.other)

    def alive(self, settings: QwenSettings) -> float:
        """Bytes of a batch's activations."""
        width = 2 if settings.weights == "bf16" else 4
        recomputed = settings.checkpointing
        return settings.batch * sum(stack.activations(recomputed, width) for stack in self.stacks)

    def memory(self, settings: QwenSettings) -> float:
        return self.held(settings) + self.alive(settings)

    def exchanges(self, settings: QwenSettings) -> tuple[float, float]:
        """Seconds to gather the sharded weights once, and those to exchange for a training batch.

        A batch gathers weights forward and backward and sums gradients, all in the computation's
        dtype.
        """
        width = 2 if settings.weights == "bf16" else 4
        gathered = settings.gpu.exchange(self.weights * width)
        return gathered, 2 * gathered + settings.gpu.exchange(self.trained * width)

    def operations(self, settings: QwenSettings) -> float:
        """Operations per training sample."""
        return sum(stack.operations(settings.checkpointing) for stack in self.stacks)

    def forward(self) -> float:
        """Operations per sample without training."""
        return sum(2 * stack.positions * stack.weights for stack in self.stacks)


def estimate_of(
    settings: QwenSettings, load_of: Callable[[Any], QwenLoad], samples: str, written: int = 0
) -> str:
    """The estimate as text; InputError if it does not fit into the GPU.

    `load_of` returns the load for given settings; `written` answers are generated per measurement.
    """
    load, gpu = load_of(settings), settings.gpu
    held, alive = load.held(settings), load.alive(settings)
    computing = settings.batch * load.operations(settings) / gpu.speed
    gathered, exchanged = load.exchanges(settings)
    learning = settings.steps * settings.accumulate * max(computing, exchanged)
    times = 1 + -(-settings.steps // settings.eval_every)
    looking = max(settings.batch * load.forward() / gpu.speed, gathered)
    measuring = times * settings.held_out_most / gpu.count / settings.batch * looking
    # Sharded weights are gathered for every token of a batch of answers.
    answers = times * written * (SECONDS_WRITING + ANSWER * gathered / settings.batch)
    seconds = (learning, measuring + answers)
    shared = f", sharded over {gpu.count} GPUs" if gpu.shares_weights else ""
    lines = (
        f"base         {settings.base}: {load.weights - load.added:,} weights",
        f"trained      {load.trained:,} weights, {load.trained / load.weights:.1%}",
        f"memory       about {(held + alive) / 1e9:.1f} GB a GPU: {held / 1e9:.1f} for weights, "
        f"gradients and optimiser{shared}, {alive / 1e9:.1f} for a batch of {settings.batch}",
        f"samples      {samples}",
        f"steps        {steps_of(settings)}",
        f"time         about {duration(sum(seconds))}: learning {duration(seconds[0])}, measuring "
        f"{duration(seconds[1])}, on {gpu.assumed}, with pictures of {settings.max_pixels:,} "
        f"pixels and {WORDS} tokens of text",
        *([f"sharded      {said}"] if (said := exchanging(computing, exchanged, gpu)) else []),
    )
    ways = ((way, load_of(changed).memory(changed)) for way, changed in _ways(settings))
    return check_fit(held + alive, gpu, "\n".join(lines) + "\n", ways)


def _ways(settings: QwenSettings) -> Iterator[tuple[str, Any]]:
    """Settings that save memory."""
    changes: dict[str, dict[str, Any]] = {
        "checkpointing=true": {"checkpointing": True},
        "optimiser=adafactor": {"optimiser": "adafactor"},
        **dict(smaller_batches(settings.batch, settings.accumulate)),
    }
    if getattr(settings, "tuning", "") == "full":
        shared = max(8, settings.gpu.count)
        sharded, whole = (
            settings.gpu.model_copy(update=change)
            for change in ({"count": shared, "sharded": True}, {"sharded": False})
        )
        also = " gpu.sharded=false" if settings.gpu.shares_weights else ""
        changes = {
            f"gpu.sharded=true gpu.count={shared}": {"gpu": sharded},
            f"tuning=lora{also}": {"tuning": "lora", "gpu": whole},
            **changes,
        }
    for way, change in changes.items():
        yield way, settings.model_copy(update=change)


def samples_of(settings: QwenSettings, read: Callable[[str], Any]) -> str:
    """The number of samples as text, if the data are on this machine."""
    if settings.data == MINIATURE:
        return f"{settings.made:,}, and {settings.held_out_most:,} held out, made by the program"
    try:
        source = read(settings.data)
        held: Sized = read(settings.held_out) if settings.held_out else ()
    except InputError as error:
        return f"not counted: {error}"
    learnt, kept = (source, held) if settings.held_out else split(source, settings.held_out_share)
    return f"{len(learnt):,}, and {min(len(kept), settings.held_out_most):,} held out"
