"""Validation of a training: the error on held-out samples, and a contact sheet of some corrections.

Noises and times are always the same. A low error does not show that reflections are read, because
prompt and picture mostly determine the correction. So the error is also measured without a
reflection and with the reflection of another sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn

from reflectionflow_core.flux.latents import unpack
from reflectionflow_core.flux.lora import CorrectorLora
from reflectionflow_core.flux.model import Flux
from reflectionflow_core.flux.painter import to_picture
from reflectionflow_core.flux.sampling import denoise
from reflectionflow_core.protocols import Verifier
from train.corrector.loss import Predict, flow_error, mixed
from train.corrector.mending import Mended, is_flawed, is_mended, judged, shares
from train.corrector.samples import WHOLE, BatchSource, Dropped, TrainingBatch
from train.corrector.settings import Validation
from train.corrector.sheet import SheetRow, sheet
from train.triplets import SampleError

WORDS = {  # texts that are compared
    "untold": Dropped(reflection=True),
    "shuffled": Dropped(shuffled=True),
    "alone": Dropped(prompt=True),
    "nothing": Dropped(prompt=True, reflection=True),
}


def held_out(count: int, prompts: np.ndarray, seed: int) -> list[int]:
    """`count` samples, at most half of them all, each of another prompt.

    `prompts` (n,) are equal for samples of one prompt; 0 (unknown) counts as a prompt of its own.
    The choice depends on the prompts' numbers: where data are added, those of before stay or make
    room for new ones, and nothing that was trained on is held out.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(prompts))
    places = order.argsort() / max(1, len(prompts))
    odd = np.random.default_rng([seed, 1]).integers(2**63, dtype=np.uint64) * 2 + 1  # one to one
    order = np.where(prompts == 0, places, prompts * odd / 2.0**64).argsort(kind="stable")
    shown = prompts[order]
    first = shown == 0
    known = np.flatnonzero(~first)
    first[known[np.unique(shown[known], return_index=True)[1]]] = True
    found = order[first]
    return found[: min(count, len(found) // 2)].tolist()


@dataclass(frozen=True)
class HeldOutError:
    """Flow-matching errors of the same held-out samples, (n,) each, by the text that is read.

    * `told`: prompt and true reflection.
    * `untold`: prompt only.
    * `shuffled`: prompt and another sample's reflection.
    * `alone`: true reflection only.
    * `nothing`: no text.

    None if the source has no such text.
    """

    told: np.ndarray
    untold: np.ndarray
    shuffled: np.ndarray | None = None
    alone: np.ndarray | None = None
    nothing: np.ndarray | None = None

    def figures(self) -> dict[str, float]:
        """The means (`validation` is that of `told`), and the increase in error without the
        reflection.

        The increase is given with and without the prompt, with paired standard errors.
        """
        kinds = (self.told, self.untold, self.shuffled, self.alone, self.nothing)
        names = ("validation", "untold", "shuffled", "alone", "nothing")
        found = {
            name: float(errors.mean())
            for name, errors in zip(names, kinds, strict=True)
            if errors is not None
        }
        found |= _gap("untold_minus_told", "standard_error", self.untold - self.told)
        if self.alone is not None and self.nothing is not None:
            gap = self.nothing - self.alone
            found |= _gap("nothing_minus_alone", "standard_error_alone", gap)
        return found

    def sentence(self) -> str:
        """The figures for the terminal."""
        found = self.figures()
        another = f", {found['shuffled']:.4f} with another's" if "shuffled" in found else ""
        alone = ""
        if "nothing_minus_alone" in found:
            gap = _with_error(found, "nothing_minus_alone", "standard_error_alone")
            alone = f", without a prompt {gap}"
        return (
            f"held-out error {found['validation']:.4f} with the true reflection, "
            f"{found['untold']:.4f} with none{another}; none minus true "
            f"{_with_error(found, 'untold_minus_told', 'standard_error')}{alone}"
        )


def _gap(name: str, error: str, gap: np.ndarray) -> dict[str, float]:
    found = {name: float(gap.mean())}
    return found | ({error: float(gap.std(ddof=1) / len(gap) ** 0.5)} if len(gap) > 1 else {})


def _with_error(figures: dict[str, float], name: str, error: str) -> str:
    return f"{figures[name]:+.4f}" + (f" ± {figures[error]:.4f}" if error in figures else "")


class Checks:
    """Held-out samples, encoded once with each of the texts that are compared."""

    def __init__(
        self,
        flux: Flux,
        source: BatchSource,
        indices: Sequence[int],
        settings: Validation,
        lora: CorrectorLora | None = None,
    ) -> None:
        self.flux, self.settings, self.lora = flux, settings, lora
        found = [(index, _batch(source, index, WHOLE)) for index in indices]
        # Unreadable samples are not used for training either.
        read = [index for index, batch in found if batch is not None]
        shown = max(settings.pictures, settings.mended.pictures)
        self.words = [source.words(index) for index in read[:shown]]
        self.batches = [batch for _, batch in found if batch is not None]
        self.others = {
            name: [batch for index in read if (batch := _batch(source, index, words))]
            for name, words in WORDS.items()
        }

    @torch.no_grad()
    def error(self, predict: Predict) -> HeldOutError | None:
        """The errors of the samples at evenly spread times; None without samples."""
        if not self.batches:
            return None
        others = {name: _errors(predict, self.others[name]) for name in WORDS if self.has(name)}
        return HeldOutError(told=_errors(predict, self.batches), **others)

    def has(self, name: str) -> bool:
        """Whether every sample has this text (one of WORDS)."""
        return len(self.others[name]) == len(self.batches)

    @torch.no_grad()
    def sheet(self, title: str) -> bytes | None:
        """A PNG with a row for each of the first samples: flawed, corrected, good."""
        rows = []
        few = zip(self.batches[: self.settings.pictures], self.words, strict=False)
        for index, (batch, words) in enumerate(few):
            corrected = self._corrected(batch, _noise(batch, index))
            pictures = (
                self._picture(batch.condition, batch.condition_grid),
                self._picture(corrected, batch.grid),
                self._picture(batch.target, batch.grid),
            )
            rows.append(SheetRow(pictures, *words))
        self._put_away()
        return sheet(rows, title) if rows else None

    @torch.no_grad()
    def mended(self, judge: Verifier) -> Mended | None:
        """Which of the first flawed pictures a correction fixes, with the same noise for each text.

        None if there are no flawed pictures.
        """
        kinds = [self.batches, self.others["untold"]]
        kinds += [self.others["shuffled"]] if self.has("shuffled") else []
        asked = zip(*kinds, self.words[: self.settings.mended.pictures], strict=False)
        rows: list[tuple[bool, ...]] = []
        for index, (*batches, (prompt, _)) in enumerate(asked):
            flawed = self._picture(batches[0].condition, batches[0].condition_grid)
            before = judged(judge, prompt, flawed)
            if is_flawed(before):
                together = joined(batches)
                noise = _noise(batches[0], index).expand(len(batches), -1, -1)
                after = self._corrected(together, noise).split(1)
                pictures = [self._picture(tokens, together.grid) for tokens in after]
                verdicts = [judged(judge, prompt, picture) for picture in pictures]
                rows.append(tuple(is_mended(before, verdict) for verdict in verdicts))
        self._put_away()
        return shares(rows)

    def _put_away(self) -> None:
        nn.Module.to(self.flux.vae, "cpu")  # the training may not need the VAE

    def _corrected(self, batch: TrainingBatch, noise: Tensor) -> Tensor:
        inputs, _ = mixed(batch, noise, torch.ones(len(batch.keys)))
        guidance = torch.full_like(inputs.guidance, self.settings.guidance)
        latents = inputs.latents
        asked = replace(inputs, guidance=guidance)
        for step in denoise(self.flux, asked, self.lora, self.settings.steps):
            latents = step.latents
        return latents

    def _picture(self, tokens: Tensor, grid: tuple[int, int]) -> Picture:
        return to_picture(self.flux.decode(unpack(tokens, *grid))[0])


def _batch(source: BatchSource, index: int, words: Dropped) -> TrainingBatch | None:
    """One sample with the same crop for every text; None if it has no such text."""
    try:
        return source.batch([source.read(index, words, np.random.default_rng(index))])
    except SampleError:
        return None


def joined(batches: Sequence[TrainingBatch]) -> TrainingBatch:
    """Several batches of one size as one."""
    names = [each.name for each in fields(TrainingBatch)]
    first = batches[0]
    parts = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in names
        if isinstance(getattr(first, name), Tensor)
    }
    return replace(first, keys=tuple(key for batch in batches for key in batch.keys), **parts)


def _errors(predict: Predict, batches: Sequence[TrainingBatch]) -> np.ndarray:
    errors = []
    for index, batch in enumerate(batches):
        time = torch.tensor([(index + 0.5) / len(batches)])
        inputs, slope = mixed(batch, _noise(batch, index), time)
        even = torch.ones(batch.target.shape[:2], device=slope.device)
        errors.append(float(flow_error(predict(inputs), slope, even)))
    return np.array(errors)


def _noise(batch: TrainingBatch, index: int) -> Tensor:
    return torch.randn(batch.target.shape, generator=torch.Generator().manual_seed(index))
