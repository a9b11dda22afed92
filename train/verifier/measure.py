"""How well rewards rank held-out pairs, and how well calibrated they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from reflectionflow_core.evaluation.statistics import share
from train.triplets import SUBSETS
from train.verifier.pairs import FIRST, TIE
from train.verifier.preference import loss

BINS = 10


def figures(
    rewards: np.ndarray, labels: np.ndarray, subsets: np.ndarray, ties: float
) -> dict[str, Any]:
    """Accuracy and calibration of rewards (n, 2) against labels (n,); `subsets` (n,) index SUBSETS.

    * Accuracy: share of pairs without ties whose better picture has the higher reward, with its
      interval of 95 %; equal rewards count as wrong.
    * Calibration error: the expected calibration error of sigmoid(r1 - r2) with ten bins (Guo et
      al., On Calibration of Modern Neural Networks, 2017).
    """
    gap = torch.from_numpy(rewards[:, 0] - rewards[:, 1]).double()
    decided = labels != TIE
    chance = gap.sigmoid().numpy()[decided]
    first = (labels == FIRST)[decided]
    right = np.where(first, gap.numpy()[decided] > 0, gap.numpy()[decided] < 0)
    table = reliability(chance, first)
    return {
        "pairs": int(decided.sum()),
        "ties": int((~decided).sum()),
        "loss": float(loss(gap, torch.from_numpy(labels).long(), ties)),
        "accuracy": _share(right),
        "calibration_error": sum(
            row["pairs"] * abs(row["said"] - row["came_true"]) for row in table
        )
        / max(1, len(first)),
        "reliability": table,
        "by_subset": {
            name: _share(right[subsets[decided] == number])
            for number, name in enumerate(SUBSETS)
            if (subsets[decided] == number).any()
        },
    }


def reliability(chance: np.ndarray, first: np.ndarray) -> list[dict[str, float]]:
    """For each non-empty bin of probabilities (n,): its size, mean probability, and share of
    `first` (n,).

    `first` tells whether the first picture is the better one.
    """
    bins = np.minimum((chance * BINS).astype(int), BINS - 1)
    return [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "pairs": int((bins == number).sum()),
            "said": float(chance[bins == number].mean()),
            "came_true": float(first[bins == number].mean()),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]


def _share(right: np.ndarray) -> dict[str, Any]:
    """The mean and its interval; without pairs the interval is 0 to 1."""
    if not len(right):
        return {"mean": 0.5, "low": 0.0, "high": 1.0, "pairs": 0}
    return {**asdict(share(right)), "pairs": len(right)}
