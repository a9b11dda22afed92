"""Combines several scorers: each ranks the pictures of a prompt, and the ranks are averaged.

Scores of different scorers, and of different prompts, are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from PIL.Image import Image
from scipy.stats import rankdata

from reflectionflow_core.protocols import Verifier
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice, build_verifier
from train.data.asking import check_judged
from train.data.prompts import DETAILED
from train.data.records import Item, PaintedPicture, Pair, Slice, seed_of
from train.data.settings import SYNTHETIC, Judges, Ranked
from train.data.synthetic import SyntheticVerifier


def build_scorers(specs: Sequence[str], judges: Judges) -> dict[str, Verifier]:
    """The verifiers of these specs, by name without the folders of their weights."""
    if not specs:
        raise InputError("No scorer is given. Give at least one, such as clip-score:FOLDER.")
    scorers: dict[str, Verifier] = {}
    for spec in specs:
        name = spec.partition(":")[0]
        while name in scorers:
            name += "'"  # for example two CLIP models
        scorers[name] = _scorer(spec, judges)
    return scorers


def _scorer(spec: str, judges: Judges) -> Verifier:
    if spec == SYNTHETIC:
        return SyntheticVerifier()
    return build_verifier(
        ActorChoice(
            verifier=spec,
            verifier_error=judges.error if spec == "noisy" else None,
            vlm=judges.vlm,
            device=judges.device,
            reward_base=judges.reward_base,
            reward_template=judges.reward_template,
        )
    )


def mean_ranks(pictures: Sequence[PaintedPicture]) -> list[float]:
    """Each picture's rank from 0 (worst) to 1, averaged over the scorers; ties share a rank."""
    if len(pictures) < 2:
        return [0.5] * len(pictures)
    marks = np.array([list(picture.marks.values()) for picture in pictures])  # (pictures, scorers)
    return ((rankdata(marks, axis=0) - 1) / (len(pictures) - 1)).mean(1).tolist()


def build_ranking(settings: Ranked, judges: Judges, name: str, seed: int) -> RankStage:
    return RankStage(build_scorers(settings.scorers, judges), settings, name, seed)


class RankStage:
    """Stage: scores every picture for its prompt and pairs good with bad ones.

    If an item has a detailed prompt, its good pictures come from that prompt and its bad ones from
    the short prompt; all are ranked together.
    """

    def __init__(
        self, scorers: dict[str, Verifier], settings: Ranked, name: str, seed: int
    ) -> None:
        self.scorers, self.settings, self.name, self.seed = scorers, settings, name, seed
        self.reason = ""  # why the last picture was not judged

    def __call__(self, work: Slice) -> Slice:
        pairs: list[Pair] = []
        rejects: list[str] = []
        judged: list[bool] = []
        for item, pictures in zip(work.items, work.pictures, strict=True):
            known = self._scored(item.prompt, pictures)
            judged.append(bool(known))
            rejects += ["picture not judged"] * (len(pictures) - len(known))
            found = self._pairs(item, known)
            pairs += found
            rejects += [] if found else ["no clear difference"]
        check_judged(judged, self.reason)
        return work.paired(pairs, rejects, judged=sum(map(len, work.pictures)))

    def _pairs(self, item: Item, pictures: Sequence[PaintedPicture]) -> list[Pair]:
        rng = np.random.default_rng(seed_of(self.seed, self.name, item.prompt))
        ranked = list(zip(mean_ranks(pictures), pictures, strict=True))
        long = item.metadata.get(DETAILED)
        goods = [(rank, p) for rank, p in ranked if long is None or p.prompt == long]
        bads = [(rank, p) for rank, p in ranked if long is None or p.prompt != long]
        best = sorted(goods, key=lambda one: -one[0])[: self.settings.top]
        worst = sorted(bads, key=lambda one: one[0])[: self.settings.top]
        pairs: list[Pair] = []
        used: set[int] = set()
        for i, j in product(_shuffled(len(best), rng), _shuffled(len(worst), rng)):
            (high, good), (low, bad) = best[i], worst[j]
            clear = high > low and high - low >= self.settings.margin
            if clear and not used & {id(good), id(bad)} and len(pairs) < self.settings.pairs:
                used |= {id(good), id(bad)}
                key = f"{self.name}-{item.number:08d}-{len(pairs)}"
                metadata = {"ranks": [high, low], **item.metadata}
                pairs.append(Pair(key, item.prompt, good, bad, metadata=metadata))
        return pairs

    def _scored(self, prompt: str, pictures: Sequence[PaintedPicture]) -> list[PaintedPicture]:
        """The pictures that all scorers could judge, with their scores."""
        images: list[Image] = [picture.image for picture in pictures]
        verdicts = {name: scorer.verify(prompt, images) for name, scorer in self.scorers.items()}
        known = []
        for position, picture in enumerate(pictures):
            said = {name: given[position] for name, given in verdicts.items()}
            failed = [verdict.explanation for verdict in said.values() if not verdict.judged]
            if failed:
                self.reason = failed[0]
            else:
                known.append(picture.judged(said))
        return known


def _shuffled(count: int, rng: np.random.Generator) -> list[int]:
    return rng.permutation(count).tolist()
