"""What travels on the wires between our nodes.

Whoever makes such a thing also says how it was chosen (`chosen`, fields of the core's ActorChoice),
so that a report names it and an archived run knows it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from comfy_api.latest import io

from ...reflectionflow_core.protocols import Actors, Corrector, Generator
from ...reflectionflow_core.record import MAX_STEPS_AWAY, History, SearchSettings, Verdict
from ...reflectionflow_core.vlm.interface import Vlm

FluxSocket = io.Custom("REFLECTIONFLOW_FLUX")  # Flux
VerifierSocket = io.Custom("REFLECTIONFLOW_VERIFIER")  # Seat[Verifier]
PlanSocket = io.Custom("REFLECTIONFLOW_PLAN")  # ScenePlan
InspectorSocket = io.Custom("REFLECTIONFLOW_INSPECTOR")  # Seat[Inspector]
WriterSocket = io.Custom("REFLECTIONFLOW_WRITER")  # Seat[ReflectionWriter]
EvolverSocket = io.Custom("REFLECTIONFLOW_EVOLVER")  # Seat[PromptEvolver]
VlmSocket = io.Custom("REFLECTIONFLOW_VLM")  # Eyes
VerdictsSocket = io.Custom("REFLECTIONFLOW_VERDICTS")  # tuple[Judged, ...]
OptionsSocket = io.Custom("REFLECTIONFLOW_OPTIONS")  # dict of SearchSettings' fields
HistorySocket = io.Custom("REFLECTIONFLOW_HISTORY")  # Trail
PicturesSocket = io.Custom("REFLECTIONFLOW_PICTURES")  # list of IMAGE; only inside ReflectionLoop

Actor = TypeVar("Actor")


class Flux(Protocol):
    """A loaded FLUX of any make. `identity` holds digests of its weights."""

    @property
    def chosen(self) -> Mapping[str, Any]: ...

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def generator(self) -> Generator: ...

    @property
    def corrector(self) -> Corrector | None: ...

    def with_corrector(self, path: str) -> Flux:
        """The same FLUX, corrected by the LoRA in `path`; raises InputError if it does not fit."""
        ...

    def with_sampling(self, **changes: Any) -> Flux:
        """The same FLUX with other `width`, `height`, `steps`, `guidance`, `condition_size` or
        `condition_fit`; raises InputError for values that it cannot paint with."""
        ...


@dataclass(frozen=True, eq=False)
class Eyes:
    """A vision-language model. `name` is what the command line calls it, `identity` tells it from
    any other model that might answer under that name."""

    vlm: Vlm = field(repr=False)  # ComfyUI sends a failed node's inputs to the browser, in words
    name: str
    identity: str

    def get_ram_usage(self) -> int:
        """Bytes of the weights, for ComfyUI's cache; a server's are not here."""
        model = getattr(self.vlm, "model", None)
        return sum(p.numel() * p.element_size() for p in model.parameters()) if model else 0


@dataclass(frozen=True, eq=False)
class Seat(Generic[Actor]):
    """A verifier, a writer, an evolver or an inspector, how it was chosen, and what it sees with.

    `identity` holds digests of weights of its own, by the name of what was chosen.
    """

    actor: Actor
    chosen: Mapping[str, Any] = field(default_factory=dict)
    eyes: tuple[Eyes, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)

    def seen_with(self, what: str) -> str:
        """Name or identity of the vision-language models that it asks; "" if it asks none."""
        return " and ".join(dict.fromkeys(getattr(eyes, what) for eyes in self.eyes))


@dataclass(frozen=True)
class Judged:
    """A verdict, and the digest of the picture that it is about."""

    picture: str
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class Seats:
    """Everyone whom a search may ask."""

    flux: Flux
    verifier: Seat
    writer: Seat | None = None
    evolver: Seat | None = None
    inspector: Seat | None = None

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
        seats = (self.flux, self.verifier, self.writer, self.evolver, self.inspector)
        told = {name: value for seat in seats if seat for name, value in seat.chosen.items()}
        return told | self._eyes("name")

    @property
    def identity(self) -> dict[str, str]:
        """Digests and names by which a saved run knows its models again."""
        return {**self.flux.identity, **self.verifier.identity, **self._eyes("identity")}

    def _eyes(self, what: str) -> dict[str, str]:
        """{"vlm": name or identity of the one that all share}, or of each where they differ."""
        names = ("verifier", "writer", "evolver", "inspector")
        seats = {name: getattr(self, name) for name in names}
        told = {n: seat.seen_with(what) for n, seat in seats.items() if seat and seat.eyes}
        if not told:
            return {}
        if len(set(told.values())) == 1:
            return {"vlm": told.popitem()[1]}
        return {"vlm": "; ".join(f"{name}: {value}" for name, value in told.items())}


@dataclass(frozen=True, eq=False)
class Trail:
    """A search under way: what is asked, and all that was painted.

    Its settings leave the depth open: every ReflectionRound adds a round, until stop rule or budget
    say that it is `done`. Pictures are Pillow images in host memory. With `save` every picture is
    written to `folder` (known from the first round on) before the next is begun.
    """

    prompt: str
    settings: SearchSettings
    history: History = field(default_factory=History, repr=False)
    done: bool = False
    save: bool = False
    folder: str = ""  # below ComfyUI's output directory
    chosen: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)

    @property
    def next_round(self) -> int:
        return len(self.history.rounds)

    def settings_until(self, round_index: int) -> SearchSettings:
        """The settings of a search that ends with this round."""
        zero_order = self.settings.noise_search == "zero_order"
        return replace(
            self.settings, depth=min(round_index, MAX_STEPS_AWAY) if zero_order else round_index
        )

    @property
    def model(self) -> str:
        """FLUX's name without the folders that it lies in, which are nobody else's business."""
        return Path(self.chosen.get("model", "")).name

    def get_ram_usage(self) -> int:
        """Bytes of the pictures that the trail before did not have, for ComfyUI's cache."""
        newest = self.history.rounds[-1] if self.history.rounds else ()
        return sum(c.image.width * c.image.height * 3 for c in newest)
