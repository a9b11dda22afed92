"""Bradley-Terry with ties in Davidson's form: how likely each outcome of a comparison is.

R. R. Davidson, On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments, JASA 65 (1970). With strengths exp(r) the outcomes first : second : tie stand to each
other as exp(r1) : exp(r2) : v * sqrt(exp(r1) * exp(r2)). Of two equal pictures a share v / (2 + v)
ties. Whatever v is, sigmoid(r1 - r2) is the chance of the first among pairs that do not tie, and
with v = 0 the loss is the paper's, -log sigmoid(r_good - r_bad) (paper §3.2). Rao and Kupper's
form, which VideoAlign uses, has neither property.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def outcomes(gap: Tensor, ties: float) -> Tensor:
    """Logits (n, 3) of first, second and tie for gaps r1 - r2 (n,); `ties` is Davidson's v."""
    tie = torch.full_like(gap, math.log(ties) if ties else -math.inf)
    return torch.stack([gap / 2, -gap / 2, tie], 1)


def loss(gap: Tensor, labels: Tensor, ties: float) -> Tensor:
    """Mean negative log-likelihood of the labels (n,)."""
    return cross_entropy(outcomes(gap, ties), labels)
