"""What a run will take, from counted weights and stated assumptions; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

from torch import nn

from reflectionflow_core.record import InputError
from reflectionflow_core.report.words import duration
from train.gpus import check_fit, exchanging, smaller_batches
from train.qwen.data import split
from train.qwen.settings import MINIATURE, QwenSettings

WORDS = 160  # tokens of text in a sample: template or request, prompt, reflection
ANSWER = 60  # tokens of one; an assumption
SECONDS_WRITING = 1.5  # for an answer that is written out, one by one; an assumption
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


@dataclass(frozen=True, slots=True)
class QwenLoad:
    """What a training keeps in memory: its stacks, and the weights outside them, of which
    `other_trained` are trained.
    """

    stacks: tuple[LayerStack, ...]
    other: int
    other_trained: int

    @property
    def weights(self) -> int:
        return sum(stack.weights for stack in self.stacks) + self.other

    @property
    def trained(self) -> int:
        return sum(stack.trained for stack in self.stacks) + self.other_trained

    def held(self, settings: QwenSettings) -> float:
        """Bytes of weights, gradients and optimiser on one GPU. Where they are sharded, the layer
        that computes and the next are whole, as is what is outside the stacks.
        """
        width = 2 if settings.weights == "bf16" else 4
        optimiser = {"adamw_torch": 8, "adafactor": 0}[settings.optimiser]  # a trained weight
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
        """Seconds in which sharded weights come together once; and those of a batch that is learned
        from: for forward and backward, and its gradients are summed. All are as wide as arithmetic.
        """
        width = 2 if settings.weights == "bf16" else 4
        gathered = settings.gpu.exchange(self.weights * width)
        return gathered, 2 * gathered + settings.gpu.exchange(self.trained * width)

    def operations(self, settings: QwenSettings) -> float:
        """Of one sample that is learned from."""
        return sum(stack.operations(settings.checkpointing) for stack in self.stacks)

    def forward(self) -> float:
        """Operations of one sample that is only looked at."""
        return sum(2 * stack.positions * stack.weights for stack in self.stacks)


def estimate_of(
    settings: QwenSettings, load_of: Callable[[Any], QwenLoad], samples: str, written: int = 0
) -> str:
    """The estimate as text; InputError where it does not fit into the GPU.

    `load_of` gives the load of changed settings, `written` answers are written out at each
    measurement.
    """
    load, gpu = load_of(settings), settings.gpu
    held, alive = load.held(settings), load.alive(settings)
    a_step = settings.batch * settings.accumulate * gpu.count
    computing = settings.batch * load.operations(settings) / gpu.speed
    gathered, exchanged = load.exchanges(settings)
    learning = settings.steps * settings.accumulate * max(computing, exchanged)
    times = 1 + -(-settings.steps // settings.eval_every)
    looking = max(settings.batch * load.forward() / gpu.speed, gathered)
    measuring = times * settings.held_out_most / gpu.count / settings.batch * looking
    # Sharded weights come together for every word, of a batch of answers at once.
    answers = times * written * (SECONDS_WRITING + ANSWER * gathered / settings.batch)
    seconds = (learning, measuring + answers)
    shared = f", sharded over {gpu.count} GPUs" if gpu.shares_weights else ""
    lines = (
        f"base         {settings.base}: {load.weights:,} weights",
        f"trained      {load.trained:,} weights, {load.trained / load.weights:.1%}",
        f"memory       about {(held + alive) / 1e9:.1f} GB a GPU: {held / 1e9:.1f} for weights, "
        f"gradients and optimiser{shared}, {alive / 1e9:.1f} for a batch of {settings.batch}",
        f"samples      {samples}",
        f"steps        {settings.steps:,} of {a_step} samples: {settings.steps * a_step:,} in all",
        f"time         about {duration(sum(seconds))}: learning {duration(seconds[0])}, measuring "
        f"{duration(seconds[1])}, on {gpu.assumed}, with pictures of {settings.max_pixels:,} "
        f"pixels and {WORDS} tokens of text",
        *([f"sharded      {said}"] if (said := exchanging(computing, exchanged, gpu)) else []),
    )
    ways = ((way, load_of(changed).memory(changed)) for way, changed in _ways(settings))
    return check_fit(held + alive, gpu, "\n".join(lines) + "\n", ways)


def _ways(settings: QwenSettings) -> Iterator[tuple[str, Any]]:
    """What saves memory."""
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
