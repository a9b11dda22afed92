"""FLUX from a diffusers folder behind the FLUX socket; the built-in miniature is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from ...reflectionflow_core.identity import identity
from ...reflectionflow_core.protocols import Painter
from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.registry import MINIATURE_WEIGHTS, ActorChoice

if TYPE_CHECKING:
    from ...reflectionflow_core.flux.condition import ConditionSettings
    from ...reflectionflow_core.flux.lora import CorrectorLora
    from ...reflectionflow_core.flux.model import Flux
    from ...reflectionflow_core.flux.sampling import SamplingSettings

MINIATURE = "miniature"
CONDITION = {"condition_size": "size", "condition_fit": "fit"}


@dataclass(frozen=True, eq=False)
class DiffusersFlux:
    """A loaded FLUX and its settings; changed copies share the weights."""

    choice: ActorChoice
    identity: Mapping[str, str]  # digests of the weight files
    flux: Flux = field(repr=False)  # ComfyUI sends the repr of failed inputs to the browser
    sampling: SamplingSettings
    condition: ConditionSettings
    lora: CorrectorLora | None = field(default=None, repr=False)

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The model, and every field that differs from its default."""
        return {
            f.name: getattr(self.choice, f.name)
            for f in fields(ActorChoice)
            if f.name == "model" or getattr(self.choice, f.name) != f.default
        }

    @property
    def generator(self) -> Painter:
        from ...reflectionflow_core.flux.painter import FluxGenerator

        return FluxGenerator(self.flux, self.sampling)

    @property
    def corrector(self) -> Painter | None:
        from ...reflectionflow_core.flux.painter import FluxCorrector

        if self.lora is None:
            return None
        return FluxCorrector(self.flux, self.lora, self.sampling, self.condition)

    def get_ram_usage(self) -> int:
        """Bytes of the weights, for ComfyUI's cache."""
        from ...reflectionflow_core.flux.placement import total_bytes

        return sum(total_bytes(module.parameters()) for module in self.flux.modules.values())

    def with_corrector(self, path: str) -> DiffusersFlux:
        from ...reflectionflow_core.flux.lora import load_corrector_lora

        lora = load_corrector_lora(path, self.flux.transformer)
        choice = replace(self.choice, lora=path)
        return replace(self, lora=lora, choice=choice, identity=identity(choice))

    def with_sampling(self, **changes: Any) -> DiffusersFlux:
        if changes.get("condition_fit") == self.condition.fit:
            changes.pop("condition_fit")
        sampling, condition = changed_sampling(self.sampling, self.condition, changes)
        changed = replace(self, sampling=sampling, condition=condition)
        if self.choice.model == MINIATURE:
            self._check_miniature(changed)
        return replace(changed, choice=self._chosen_again(changed, changes))

    def _check_miniature(self, changed: DiffusersFlux) -> None:
        before, now = self.sampling, changed.sampling
        same_size = (before.width, before.height) == (now.width, now.height)
        if not same_size or changed.condition != self.condition:
            raise InputError(
                f"The miniature paints only {before.width} x {before.height} pixels. Set width, "
                "height and condition size to 0 and condition fit to squash, or load a FLUX folder."
            )

    def _chosen_again(self, changed: DiffusersFlux, changes: Mapping[str, Any]) -> ActorChoice:
        named = {name: value for name, value in changes.items() if name not in ("width", "height")}
        if changes.keys() & {"width", "height"}:
            named["size"] = (changed.sampling.width, changed.sampling.height)
        return replace(self.choice, **named)


def changed_sampling(
    sampling: SamplingSettings, condition: ConditionSettings, changes: Mapping[str, Any]
) -> tuple[SamplingSettings, ConditionSettings]:
    """Both with the changes of the sockets' `with_sampling`."""
    of_sampling = {name: value for name, value in changes.items() if name not in CONDITION}
    of_condition = {CONDITION[name]: value for name, value in changes.items() if name in CONDITION}
    return replace(sampling, **of_sampling), replace(condition, **of_condition)


def load_diffusers_flux(model: str, folder: str, dtype: str) -> DiffusersFlux:
    """The miniature, or the FLUX in `folder`; ComfyUI moves its weights."""
    with explained_imports():
        from ...reflectionflow_core.flux.condition import ConditionSettings
        from ...reflectionflow_core.flux.load import load_flux
        from ...reflectionflow_core.flux.sampling import SamplingSettings
        from .memory import ComfyPlacement

        if model == MINIATURE:
            loaded = _miniature()
        else:
            flux = load_flux(folder, dtype=dtype, device="cpu")
            choice = ActorChoice(model=folder, dtype=dtype)
            loaded = DiffusersFlux(
                choice, identity(choice), flux, SamplingSettings(), ConditionSettings()
            )
    loaded.flux.placement = ComfyPlacement()
    return loaded


def _miniature() -> DiffusersFlux:
    from ...reflectionflow_core.miniature.model import load_miniature

    generator, corrector = load_miniature(folder=MINIATURE_WEIGHTS)
    choice = ActorChoice(model=MINIATURE)
    return DiffusersFlux(
        choice,
        identity(choice),
        generator.flux,
        generator.sampling,
        corrector.condition,
        corrector.lora,
    )


@contextmanager
def explained_imports() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{error.name or 'A library'} cannot be imported ({error}). Install what this pack "
            "needs into ComfyUI's Python: python -m pip install -r requirements.txt, in the pack's "
            "folder."
        ) from error
