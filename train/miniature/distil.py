"""Guidance distillation: the base learns to paint in one pass what classifier-free guidance paints
in two, for every scale of its guidance embedding (Meng et al. 2023; as FLUX.1-dev).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from train.fit import Draw
from train.miniature.base import Bank, Base, drop, mix, sample_guidance, training_text


class DistilLoss:
    """Distance of the student's velocity at guidance g from u + g·(c - u) of the teacher."""

    def __init__(self, student: Base, bank: Bank, batch: int) -> None:
        self.student, self.bank, self.batch = student, bank, batch
        self.teacher = deepcopy(student).requires_grad_(False)

    def __call__(self, draw: Draw) -> Tensor:
        rng, generator = draw.generators()
        rows = rng.integers(len(self.bank.scenes), size=self.batch)
        texts = [training_text(self.bank.specs[i], self.bank.scenes[i], rng) for i in rows]
        device = self.student.transformer.device
        noisy, _, times = mix(self.bank.latents[rows].to(device), generator)
        guidance = sample_guidance(self.batch, generator).to(device)
        with torch.no_grad():
            states = self.teacher.encoders(*drop(texts, rng))
            empty_states = self.teacher.encoders([""] * self.batch, [""] * self.batch)
            with_text = self.teacher(noisy, times, guidance, states)
            without = self.teacher(noisy, times, guidance, empty_states)
        target = without + guidance[:, None, None] * (with_text - without)
        return functional.mse_loss(self.student(noisy, times, guidance, states), target)
