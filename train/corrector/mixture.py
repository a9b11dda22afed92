"""Which samples are drawn, and what of them is dropped, as the training proceeds (paper §3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reflectionflow_core.record import InputError
from train.corrector.samples import Dropped, Label
from train.corrector.settings import Drops, Mixture
from train.triplets import SUBSETS


class Sampler:
    """Draws samples by number; those of one batch are of one bucket.

    Over many batches every subset gets its share, and within it every sample the same chance.
    Samples of one group of `groups` are siblings, which show one flawed picture: up to `siblings`
    of them follow each other, and all are left out with one that is.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        mixture: Mixture,
        without: Collection[int] = (),
        groups: Sequence[str] = (),
        siblings: int = 1,
    ) -> None:
        groups = groups or [str(index) for index in range(len(labels))]
        left_out = {groups[index] for index in without}
        cells: dict[Label, list[int]] = {}
        together: dict[tuple[str, Label], list[int]] = {}
        for index, (label, group) in enumerate(zip(labels, groups, strict=True)):
            if group not in left_out:
                cells.setdefault(label, []).append(index)
                together.setdefault((group, label), []).append(index)
        if not cells:
            raise InputError("There is no sample to train on. Check data and validation.samples.")
        self.mixture, self.siblings = mixture, siblings
        self.shared = {
            i: several for several in together.values() if len(several) > 1 for i in several
        }
        self.members = {label: np.array(cells[label]) for label in sorted(cells)}
        self.counts: Counter[str] = Counter()
        for (subset, _), members in self.members.items():
            self.counts[subset] += len(members)

    def shares(self, step: int) -> dict[str, float]:
        """Of each subset that there is, after so many steps."""
        return shares(self.mixture, step, self.counts)

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
            index = int(members[rng.integers(len(members))])
            yield index
            if self.siblings > 1 and index in self.shared:
                others = [i for i in self.shared[index] if i != index]
                yield from rng.permutation(others)[: self.siblings - 1].tolist()


def shares(mixture: Mixture, step: int, subsets: Collection[str]) -> dict[str, float]:
    """Of each of the subsets, after so many steps; they add up to 1.

    Where the mixture gives nothing to any of them, all get the same.
    """
    way = min(1.0, step / mixture.over)
    ends = {subset: mixture.of(subset) for subset in SUBSETS if subset in subsets}
    given = {subset: (1 - way) * first + way * last for subset, (first, last) in ends.items()}
    total = sum(given.values())
    return {s: share / total if total else 1 / len(given) for s, share in given.items()}


class Fallen(NamedTuple):
    """Which of the chances of Drops came true for a sample."""

    text: bool
    reflection: bool
    image: bool
    together: bool
    prompt: bool


def dropped(drops: Drops, subset: str, rng: np.random.Generator) -> Dropped:
    """What is hidden from a sample."""
    chances = (drops.text, drops.reflection, drops.image, drops.together)
    fallen = [bool(falls) for falls in rng.random(4) < chances]
    # Without such a chance nothing more is drawn, and a run is the same as without this drop.
    prompt = bool(drops.prompt) and bool(rng.random() < drops.prompt)
    return hidden(Fallen(*fallen, prompt), subset)


def hidden(fallen: Fallen, subset: str) -> Dropped:
    """What is hidden where these chances came true."""
    pictured = subset == "editing"  # an edit without its picture means nothing
    together = fallen.together and not pictured
    image = fallen.image and not pictured
    return Dropped(fallen.text, fallen.reflection or together, image or together, fallen.prompt)


def _choice(chances: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(chances), p=chances / chances.sum()))
