"""Loads the embedded miniature: a real FLUX pipeline of a few million parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..flux.condition import ConditionSettings
from ..flux.load import load_flux
from ..flux.lora import load_corrector_lora
from ..flux.painter import FluxCorrector, FluxGenerator
from ..flux.sampling import SamplingSettings
from .world import SIZE

FOLDER = Path(__file__).parent / "weights"
LORA = FOLDER / "corrector"
SAMPLING = SamplingSettings(SIZE, SIZE, steps=12, guidance=3.5, max_sequence_length=24)
CONDITION = ConditionSettings(size=SIZE)


def load_miniature(
    lora: str | Path | None = None,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "cpu",
    folder: Path = FOLDER,
) -> tuple[FluxGenerator, FluxCorrector]:
    """Generator and corrector over one FLUX; `lora` replaces the miniature's own."""
    flux = load_flux(folder, dtype="fp32", device=device)
    sampling = replace(
        SAMPLING,
        steps=SAMPLING.steps if steps is None else steps,
        guidance=SAMPLING.guidance if guidance is None else guidance,
    )
    own = load_corrector_lora(lora or folder / "corrector", flux.transformer)
    return FluxGenerator(flux, sampling), FluxCorrector(flux, own, sampling, CONDITION)
