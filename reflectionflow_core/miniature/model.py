"""Loads the embedded miniature: a real FLUX pipeline of a few million parameters."""

from __future__ import annotations

from pathlib import Path

from ..flux.load import load_flux
from ..flux.lora import load_corrector_lora
from ..flux.painter import FluxCorrector, FluxGenerator
from ..flux.settings import ConditionSettings, SamplingSettings
from .settings import CONDITION, SAMPLING

FOLDER = Path(__file__).parent / "weights"
LORA = FOLDER / "corrector"


def load_miniature(
    lora: str | Path | None = None,
    sampling: SamplingSettings = SAMPLING,
    condition: ConditionSettings = CONDITION,
    *,
    device: str = "cpu",
    folder: Path = FOLDER,
) -> tuple[FluxGenerator, FluxCorrector]:
    """Generator and corrector over one FLUX; `lora` replaces the miniature's own."""
    flux = load_flux(folder, dtype="fp32", device=device)
    own = load_corrector_lora(lora or folder / "corrector", flux.transformer)
    return FluxGenerator(flux, sampling), FluxCorrector(flux, own, sampling, condition)
