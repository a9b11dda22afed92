"""Which samples are drawn, and what of them is dropped, as the training proceeds (paper §3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from reflectionflow_core.record import InputError
from train.corrector.samples import Dropped, Label
from train.corrector.settings import Drops, Mixture
from train.triplets import SUBSETS


class Sampler:
    """Draws samples by number; those of one batch are of one bucket.

    Over many batches every subset gets its share, and within it every sample the same chance.
    """

    def __init__(
        self, labels: Sequence[Label], mixture: Mixture, without: Collection[int] = ()
    ) -> None:
        cells: dict[Label, list[int]] = {}
        for index in sorted(set(range(len(labels))) - set(without)):
            cells.setdefault(labels[index], []).append(index)
        if not cells:
            raise InputError("There is no sample to train on. Check data and validation.samples.")
        self.mixture = mixture
        self.members = {label: np.array(cells[label]) for label in sorted(cells)}
        self.counts: Counter[str] = Counter()
        for (subset, _), members in self.members.items():
            self.counts[subset] += len(members)

    def shares(self, step: int) -> dict[str, float]:
        """Of each subset that there is, after so many steps; they add up to 1.

        Where the mixture gives nothing to any that there is, all get the same.
        """
        way = min(1.0, step / self.mixture.over)
        ends = {subset: self.mixture.of(subset) for subset in SUBSETS if self.counts[subset]}
        given = {subset: (1 - way) * first + way * last for subset, (first, last) in ends.items()}
        total = sum(given.values())
        return {s: share / total if total else 1 / len(given) for s, share in given.items()}

    def picks(self, step: int, rng: np.random.Generator) -> Iterator[int]:
        """Samples without end for a batch of this step."""
        shares, labels = self.shares(step), list(self.members)
        chances = np.array(
            [
                shares[subset] * len(self.members[subset, bucket]) / self.counts[subset]
                for subset, bucket in labels
            ]
        )
        _, chosen = labels[_choice(chances, rng)]
        chances *= [bucket == chosen for _, bucket in labels]
        while True:
            members = self.members[labels[_choice(chances, rng)]]
            yield int(members[rng.integers(len(members))])


def dropped(drops: Drops, subset: str, rng: np.random.Generator) -> Dropped:
    """What is hidden from a sample."""
    chances = (drops.text, drops.reflection, drops.image, drops.together)
    text, reflection, image, together = (bool(falls) for falls in rng.random(4) < chances)
    if subset == "editing":  # an edit without its picture means nothing
        image = together = False
    return Dropped(text, reflection or together, image or together)


def _choice(chances: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(chances), p=chances / chances.sum()))
