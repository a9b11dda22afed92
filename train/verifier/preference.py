"""The Bradley-Terry model with ties in Davidson's form: the probability of each outcome.

R. R. Davidson, On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments, JASA 65 (1970). With strengths exp(r), the odds of first : second : tie are exp(r1) :
exp(r2) : v * sqrt(exp(r1) * exp(r2)). Equally good pictures tie with probability v / (2 + v). For
every v, sigmoid(r1 - r2) is the probability of the first without a tie, and for v = 0 the loss is
the paper's, -log sigmoid(r_good - r_bad) (paper §3.2). Rao and Kupper's form, used by VideoAlign,
has neither property.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def outcomes(gap: Tensor, ties: float) -> Tensor:
    """Logits (n, 3) of first, second and tie for `gap` = r1 - r2 (n,); `ties` is Davidson's v."""
    tie = torch.full_like(gap, math.log(ties) if ties else -math.inf)
    return torch.stack([gap / 2, -gap / 2, tie], 1)


def loss(gap: Tensor, labels: Tensor, ties: float) -> Tensor:
    """The mean negative log-likelihood of the labels (n,)."""
    return cross_entropy(outcomes(gap, ties), labels)
