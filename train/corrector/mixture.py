"""Which samples are drawn and what is dropped, depending on the step (paper §3.3)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reflectionflow_core.record import InputError
from train.corrector.samples import Dropped, Label
from train.corrector.settings import Drops, Mixture
from train.triplets import SUBSETS


class Sampler:
    """Draws samples by number; all samples of a batch are of one bucket.

    Over many batches each subset gets its share, and the samples of a subset are drawn equally
    often.

    * `groups` (n,): equal for siblings (samples with the same flawed picture); up to `siblings` of
      them are drawn together.
    * `without`: held-out samples; all samples of their groups and of their `prompts` (n,), where 0
      is unknown, are excluded as well.
    * `leave_out`: excluded samples.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        mixture: Mixture,
        without: Collection[int] = (),
        groups: np.ndarray | None = None,
        siblings: int = 1,
        prompts: np.ndarray | None = None,
        leave_out: Collection[int] = (),
    ) -> None:
        names = sorted(set(labels))
        numbers = {label: number for number, label in enumerate(names)}
        cells = np.fromiter((numbers[label] for label in labels), np.int64, len(labels))
        groups = np.arange(len(labels)) if groups is None else groups
        tested = sorted(without)
        out = np.isin(groups, groups[tested])
        if prompts is not None:
            out |= np.isin(prompts, prompts[tested]) & (prompts != 0)
        out[sorted(leave_out)] = True
        kept = np.flatnonzero(~out)
        if not len(kept):
            raise InputError("There are no samples to train on. Check data and validation.samples.")
        self.mixture, self.siblings = mixture, siblings
        self.shared = _shared(kept, groups, cells) if siblings > 1 else {}
        if siblings > 1 and not self.shared:
            raise InputError(
                f"siblings={siblings} has no effect, since no two training samples have the same "
                "flawed picture. Give siblings=1, or data made with editing.siblings."
            )
        found = {label: kept[cells[kept] == number] for label, number in numbers.items()}
        self.members = {label: members for label, members in found.items() if len(members)}
        self.together = {  # per label: counts of samples by the size of their sibling group
            label: Counter(len(self.shared.get(index, (index,))) for index in members.tolist())
            for label, members in self.members.items()
            if siblings > 1
        }
        self.counts: Counter[str] = Counter()
        for (subset, _), members in self.members.items():
            self.counts[subset] += len(members)

    def shares(self, step: int) -> dict[str, float]:
        """Shares of the available subsets at this step."""
        return shares(self.mixture, step, self.counts)

    def picks(self, step: int, rng: np.random.Generator, size: int = sys.maxsize) -> Iterator[int]:
        """Endless samples for a batch of this step, of which the caller takes the first `size`."""
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
            most = min(self.siblings, max(size, 1))
            wanted = [self._picked(label, most) for label in labels]
            label = labels[_choice(chances * wanted, rng)]
            found = self._pick(self.members[label], most, rng)
            size -= len(found)
            yield from found

    def _picked(self, label: Label, most: int) -> float:
        """The share of a label's samples to pick so that all are drawn equally often.

        Each picked sample brings up to `most` siblings, itself included.
        """
        together = self.together.get(label, {1: 1})
        picked = sum(count / min(most, several) for several, count in together.items())
        return picked / sum(together.values())

    def _pick(self, members: np.ndarray, most: int, rng: np.random.Generator) -> list[int]:
        while True:
            index = int(members[rng.integers(len(members))])
            several = self.shared.get(index, []) if most > 1 else []
            if not several or rng.random() * min(most, len(several)) < 1:
                others = [i for i in several if i != index]
                return [index, *rng.permutation(others)[: most - 1].tolist()]


def _shared(kept: np.ndarray, groups: np.ndarray, cells: np.ndarray) -> dict[int, list[int]]:
    """All siblings with the same label, for each sample that has some."""
    _, groups = np.unique(groups, return_inverse=True)
    both = groups[kept] * (cells.max() + 1) + cells[kept]
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    together: dict[int, list[int]] = {}
    for number in np.flatnonzero(counts[place] > 1).tolist():
        together.setdefault(int(both[number]), []).append(int(kept[number]))
    return {index: several for several in together.values() for index in several}


def shares(mixture: Mixture, step: int, subsets: Collection[str]) -> dict[str, float]:
    """The shares of these subsets at this step; they add up to 1.

    If the mixture gives nothing to any of them, they are equal.
    """
    way = min(1.0, step / mixture.over)
    ends = {subset: mixture.of(subset) for subset in SUBSETS if subset in subsets}
    given = {subset: (1 - way) * first + way * last for subset, (first, last) in ends.items()}
    total = sum(given.values())
    return {s: share / total if total else 1 / len(given) for s, share in given.items()}


class Fallen(NamedTuple):
    """Which probabilities of Drops came true for a sample."""

    text: bool
    reflection: bool
    image: bool
    together: bool
    prompt: bool


def dropped(drops: Drops, subset: str, rng: np.random.Generator) -> Dropped:
    """What is dropped from a sample."""
    chances = (drops.text, drops.reflection, drops.image, drops.together)
    text, reflection, image, together = (bool(falls) for falls in rng.random(4) < chances)
    # Not drawn at 0, so that runs of earlier versions stay reproducible.
    prompt = bool(drops.prompt) and bool(rng.random() < drops.prompt)
    return hidden(Fallen(text, reflection, image, together, prompt), subset)


def hidden(fallen: Fallen, subset: str) -> Dropped:
    """What is dropped in these cases."""
    pictured = subset == "editing"  # an editing instruction needs its picture
    together = fallen.together and not pictured
    image = fallen.image and not pictured
    return Dropped(fallen.text, fallen.reflection or together, image or together, fallen.prompt)


def _choice(chances: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(chances), p=chances / chances.sum()))
