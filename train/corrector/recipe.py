"""What a training will have seen at its end, computed from its settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import product

from train.corrector.mixture import Fallen, hidden, shares
from train.corrector.settings import Drops, LearningSettings
from train.triplets import SUBSETS


def subset_shares(
    settings: LearningSettings, subsets: Collection[str] = SUBSETS
) -> dict[str, float]:
    """The mean share of each subset over all steps, if the data have these subsets."""
    total: Counter[str] = Counter()
    for step in range(settings.steps):
        total.update(shares(settings.mixture, step, subsets))
    return {subset: share / settings.steps for subset, share in total.items()}


def drop_shares(drops: Drops, editing: float) -> dict[str, float]:
    """Shares of samples without text, reflection, prompt or picture, and with a reflection but no
    picture.

    `editing` is the share of editing samples.
    """
    total: Counter[str] = Counter()
    chances = (drops.text, drops.reflection, drops.image, drops.together, drops.prompt)
    for subset, weight in (("editing", editing), ("general", 1 - editing)):
        for fallen in product((False, True), repeat=len(chances)):
            chance = weight
            for falls, p in zip(fallen, chances, strict=True):
                chance *= p if falls else 1 - p
            dropped = hidden(Fallen(*fallen), subset)
            seen = {
                "text": dropped.text,
                "reflection": dropped.reflection,
                "prompt": dropped.prompt,
                "image": dropped.image,
                "black_with_reflection": dropped.image and not dropped.reflection,
            }
            total.update({name: chance * is_so for name, is_so in seen.items()})
    return dict(total)


def sentence(settings: LearningSettings, subsets: Collection[str] = ()) -> str:
    """Both as one line; `subsets` are those of the data, or none where they are unknown."""
    found = subset_shares(settings, subsets or SUBSETS)
    drops = drop_shares(settings.drop, found.get("editing", 0.0))
    named = ", ".join(f"{share:.1%} {subset}" for subset, share in found.items())
    known = "" if subsets else ", if the data have every subset"
    return (
        f"Seen over the run{known}: {named}; dropped are the whole text in "
        f"{drops['text']:.1%}, the "
        f"reflection in {drops['reflection']:.1%}, the prompt in {drops['prompt']:.1%} and the "
        f"flawed picture in {drops['image']:.1%} (it is black then), which leaves a reflection "
        f"without its picture in {drops['black_with_reflection']:.1%}"
    )
