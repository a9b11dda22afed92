"""FLUX from a diffusers folder behind the FLUX socket; the built-in miniature is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...reflectionflow_core.identity import identity
from ...reflectionflow_core.protocols import Painter
from ...reflectionflow_core.record import InputError
from ...reflectionflow_core.registry import MINIATURE_WEIGHTS, choice_of, painting_settings

if TYPE_CHECKING:
    from ...reflectionflow_core.flux.lora import CorrectorLora
    from ...reflectionflow_core.flux.model import Flux
    from ...reflectionflow_core.flux.settings import ConditionSettings, SamplingSettings

MINIATURE = "miniature"


@dataclass(frozen=True, eq=False)
class DiffusersFlux:
    """A loaded FLUX and its settings; changed copies share the weights."""

    chosen: Mapping[str, Any]  # what differs from a choice that leaves all to the model
    identity: Mapping[str, str]  # digests of the weight files
    flux: Flux = field(repr=False)  # ComfyUI sends the repr of failed inputs to the browser
    sampling: SamplingSettings
    condition: ConditionSettings
    lora: CorrectorLora | None = field(default=None, repr=False)

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
        """Bytes of the weights, for the cache of ComfyUI 0.8; later ones never ask."""
        from ...reflectionflow_core.flux.placement import total_bytes

        return sum(total_bytes(module.parameters()) for module in self.flux.modules.values())

    def with_corrector(self, path: str) -> DiffusersFlux:
        from ...reflectionflow_core.flux.lora import load_corrector_lora

        lora = load_corrector_lora(path, self.flux.transformer)
        chosen = {**self.chosen, "lora": path}
        return replace(self, lora=lora, chosen=chosen, identity=identity(choice_of(chosen)))

    def with_sampling(self, **changes: Any) -> DiffusersFlux:
        if changes.get("condition_fit") == self.condition.fit:
            changes.pop("condition_fit")
        chosen = {**self.chosen, **changes}
        if changes.keys() & {"width", "height"}:
            sides = (chosen.pop(side, getattr(self.sampling, side)) for side in ("width", "height"))
            chosen["size"] = tuple(sides)
        sampling, condition = painting_settings(chosen)
        changed = replace(self, chosen=chosen, sampling=sampling, condition=condition)
        if self.chosen["model"] == MINIATURE:
            self._check_miniature(changed)
        return changed

    def _check_miniature(self, changed: DiffusersFlux) -> None:
        before, now = self.sampling, changed.sampling
        same_size = (before.width, before.height) == (now.width, now.height)
        if not same_size or changed.condition != self.condition:
            raise InputError(
                f"The miniature paints only {before.width} x {before.height} pixels. Set width, "
                "height and condition size to 0 and condition fit to squash, or load a FLUX folder."
            )


def load_diffusers_flux(model: str, folder: str, dtype: str) -> DiffusersFlux:
    """The miniature, or the FLUX in `folder`; ComfyUI moves its weights."""
    with explained_imports():
        from ...reflectionflow_core.flux.load import load_flux
        from .memory import ComfyPlacement

        if model == MINIATURE:
            loaded = _miniature()
        else:
            flux = load_flux(folder, dtype=dtype, device="cpu")
            chosen = {"model": folder, "dtype": dtype}
            known = identity(choice_of(chosen))
            loaded = DiffusersFlux(chosen, known, flux, *painting_settings(chosen))
    loaded.flux.placement = ComfyPlacement()
    return loaded


def _miniature() -> DiffusersFlux:
    from ...reflectionflow_core.miniature.model import load_miniature

    generator, corrector = load_miniature(folder=MINIATURE_WEIGHTS)
    chosen = {"model": MINIATURE}
    return DiffusersFlux(
        chosen,
        identity(choice_of(chosen)),
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
