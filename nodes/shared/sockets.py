"""The types that travel on the wires between our nodes.

Actors carry how they were chosen (`chosen`, fields of the core's ActorChoice) and digests of their
weights (`identity`), so that a report can name them and a saved run can recognise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from comfy_api.latest import io
from torch import Tensor

from ...reflectionflow_core.protocols import Actors, Painter
from ...reflectionflow_core.record import Candidate, History, ScenePlan, Verdict
from ...reflectionflow_core.settings import MAX_STEPS_AWAY, SearchSettings
from ...reflectionflow_core.vlm.interface import Vlm

FluxSocket = io.Custom("REFLECTIONFLOW_FLUX")  # FluxHandle
VerifierSocket = io.Custom("REFLECTIONFLOW_VERIFIER")  # ActorHandle[Verifier]
PlanSocket = io.Custom("REFLECTIONFLOW_PLAN")  # ScenePlan
InspectorSocket = io.Custom("REFLECTIONFLOW_INSPECTOR")  # ActorHandle[Inspector]
WriterSocket = io.Custom("REFLECTIONFLOW_WRITER")  # ActorHandle[ReflectionWriter]
EvolverSocket = io.Custom("REFLECTIONFLOW_EVOLVER")  # ActorHandle[PromptEvolver]
VlmSocket = io.Custom("REFLECTIONFLOW_VLM")  # VlmHandle
VerdictsSocket = io.Custom("REFLECTIONFLOW_VERDICTS")  # tuple[ScoredPicture, ...]
OptionsSocket = io.Custom("REFLECTIONFLOW_OPTIONS")  # dict of SearchSettings' fields
HistorySocket = io.Custom("REFLECTIONFLOW_HISTORY")  # SearchState
BoxesSocket = io.Custom("BOUNDING_BOX")  # of ComfyUI's own detectors
PicturesSocket = io.Custom("REFLECTIONFLOW_PICTURES")  # list of IMAGE; only inside ReflectionLoop

ACTORS_WITH_VLM = ("verifier", "writer", "evolver", "inspector")
Actor = TypeVar("Actor")


class FluxHandle(Protocol):
    """A loaded FLUX, on diffusers or on ComfyUI's own models."""

    @property
    def chosen(self) -> Mapping[str, Any]: ...

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def generator(self) -> Painter: ...

    @property
    def corrector(self) -> Painter | None: ...

    def with_corrector(self, path: str) -> FluxHandle:
        """The same FLUX, corrected by the LoRA in `path`; raises InputError if it does not fit."""
        ...

    def with_sampling(self, **changes: Any) -> FluxHandle:
        """The same FLUX with other `width`, `height`, `steps`, `guidance`, `condition_size` or
        `condition_fit`; raises InputError for values that it cannot paint with."""
        ...


@dataclass(frozen=True, eq=False)
class VlmHandle:
    """A vision-language model.

    `name` is its name on the command line; `identity` differs for every other model that might
    answer under that name. With `insists` a search uses it even if it is blind.
    """

    vlm: Vlm = field(repr=False)  # ComfyUI sends the repr of failed inputs to the browser
    name: str
    identity: str
    insists: bool = False

    @property
    def shown_name(self) -> str:
        """The name without the folders of a model on this machine, which are private."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name

    def get_ram_usage(self) -> int:
        """Bytes of the weights, 0 for a server's; ComfyUI 0.8's cache asks, later ones never."""
        model = getattr(self.vlm, "model", None)
        return sum(p.numel() * p.element_size() for p in model.parameters()) if model else 0


@dataclass(frozen=True, eq=False)
class ActorHandle(Generic[Actor]):
    """A verifier, writer, evolver or inspector, and the models that it asks.

    `identity` has digests of its own weights, by the name of what was chosen.
    """

    actor: Actor
    chosen: Mapping[str, Any] = field(default_factory=dict)
    vlms: tuple[VlmHandle, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)

    def vlm_texts(self, attribute: str) -> str:
        """`name` or `identity` of the vision-language models that it asks; "" if it asks none."""
        return " and ".join(dict.fromkeys(getattr(vlm, attribute) for vlm in self.vlms))


@dataclass(frozen=True)
class ScoredPicture:
    """A verdict, and the digest of the picture that it is about."""

    picture: str
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class SearchActors:
    """All actors of one search."""

    flux: FluxHandle
    verifier: ActorHandle
    writer: ActorHandle | None = None
    evolver: ActorHandle | None = None
    inspector: ActorHandle | None = None

    @property
    def actors(self) -> Actors:
        return Actors(
            generator=self.flux.generator,
            verifier=self.verifier.actor,
            corrector=self.flux.corrector,
            writer=self.writer.actor if self.writer else None,
            evolver=self.evolver.actor if self.evolver else None,
            inspector=self.inspector.actor if self.inspector else None,
        )

    @property
    def chosen(self) -> dict[str, Any]:
        handles = (self.flux, self.verifier, self.writer, self.evolver, self.inspector)
        chosen = {name: value for one in handles if one for name, value in one.chosen.items()}
        return chosen | self._vlm("name")

    @property
    def identity(self) -> dict[str, str]:
        """Digests and names by which a saved run recognises its models."""
        return {**self.flux.identity, **self.verifier.identity, **self._vlm("identity")}

    @property
    def vlms(self) -> tuple[VlmHandle, ...]:
        """Each vision-language model that an actor asks, once."""
        asking = filter(None, (getattr(self, name) for name in ACTORS_WITH_VLM))
        return tuple(dict.fromkeys(vlm for handle in asking for vlm in handle.vlms))

    def _vlm(self, attribute: str) -> dict[str, str]:
        """{"vlm": `name` or `identity` of the model that all share}, or of each if they differ."""
        handles = {name: getattr(self, name) for name in ACTORS_WITH_VLM}
        texts = {k: one.vlm_texts(attribute) for k, one in handles.items() if one and one.vlms}
        if not texts:
            return {}
        if len(set(texts.values())) == 1:
            return {"vlm": texts.popitem()[1]}
        return {"vlm": "; ".join(f"{name}: {text}" for name, text in texts.items())}


@dataclass(frozen=True, eq=False)
class SearchState:
    """A search between two rounds: its settings, and everything painted so far.

    `settings.depth` is left open: every ReflectionRound adds a round until the stop rule or the
    budget sets `done`. `depth` is the requested number of rounds, if known. Pictures are Pillow
    images in host memory. With `save` every picture is written to `folder` (set by the first round)
    before the next one starts.
    """

    prompt: str
    settings: SearchSettings
    history: History = field(default_factory=History, repr=False)
    depth: int = 0
    done: bool = False
    stopped: bool = False  # and that by the user, who may go on
    save: bool = False
    folder: str = ""  # below ComfyUI's output directory
    drawn_seed: bool = False  # the seed in `settings` was drawn at random
    chosen: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    # What ComfyUI opens as a workflow: "prompt" and "workflow", as JSON. Saved pictures carry it.
    graph: Mapping[str, str] = field(default_factory=dict, repr=False)
    judge: Mapping[str, Any] = field(default_factory=dict)  # findings, see JudgeFindings.data

    @property
    def next_round(self) -> int:
        return len(self.history.rounds)

    def settings_until(self, round_index: int) -> SearchSettings:
        """The settings of a search that ends with this round."""
        zero_order = self.settings.noise_search == "zero_order"
        depth = min(round_index, MAX_STEPS_AWAY) if zero_order else round_index
        return replace(self.settings, depth=depth)

    @property
    def asked(self) -> SearchSettings:
        """The settings of the whole search, including rounds that an early end has skipped."""
        return self.settings_until(max(self.depth, self.next_round - 1))

    @property
    def model(self) -> str:
        """FLUX's name without its folders, which are private."""
        return Path(self.chosen.get("model", "")).name

    def get_ram_usage(self) -> int:
        """Bytes of the newest round's pictures and latents, for ComfyUI's cache."""
        return bytes_of(self.history.rounds[-1] if self.history.rounds else ())


def bytes_of(candidates: Iterable[Candidate]) -> int:
    """Of their pictures and latents in host memory."""
    return sum(c.image.width * c.image.height * 3 + len(c.latents or b"") for c in candidates)


def _acts(ability: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, ActorHandle) and hasattr(value.actor, ability)


# What may travel on a kind of wire: nodes of other packs connect any kind to any other.
KINDS: Mapping[str, Callable[[Any], bool]] = {
    # By its class: asking the handle itself would compute its identity.
    FluxSocket.io_type: lambda value: hasattr(type(value), "with_corrector"),
    VerifierSocket.io_type: _acts("verify"),
    InspectorSocket.io_type: _acts("inspect"),
    WriterSocket.io_type: _acts("reflect"),
    EvolverSocket.io_type: _acts("evolve"),
    PlanSocket.io_type: lambda value: isinstance(value, ScenePlan),
    VlmSocket.io_type: lambda value: isinstance(value, VlmHandle),
    VerdictsSocket.io_type: lambda value: isinstance(value, tuple),
    OptionsSocket.io_type: lambda value: isinstance(value, dict),
    HistorySocket.io_type: lambda value: isinstance(value, SearchState),
    io.Mask.io_type: lambda value: isinstance(value, Tensor),
    io.Model.io_type: lambda value: hasattr(value, "model_options"),
    io.Clip.io_type: lambda value: hasattr(value, "tokenize"),
    io.Vae.io_type: lambda value: hasattr(value, "decode"),
    io.Conditioning.io_type: lambda value: isinstance(value, list),
    io.Sampler.io_type: lambda value: hasattr(value, "sample"),
    io.Sigmas.io_type: lambda value: isinstance(value, Tensor),
}
