"""Rule-based triplets (paper §3.2): composed prompts, pictures checked by rules, best against
worst.

Difficulty is the share of correct pictures. The paper takes quantiles over all prompts, which would
need all pictures first; here the limits are settings, so that shards can be streamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow_core.detection.rules import Need, Task
from reflectionflow_core.detection.words import quantity
from reflectionflow_core.geneval.tasks import read_task, task_record
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import COLOURS as SHAPE_COLOURS
from reflectionflow_core.miniature.world import SHAPES
from reflectionflow_core.record import InputError, Verdict
from train.data.painting import build_painting
from train.data.prompts import Avoided, meaning
from train.data.records import Item, PaintedPicture, Pair, Slice, seed_of
from train.data.settings import DETECTOR, SYNTHETIC, DataSettings, Rule
from train.data.source import PipelineStage, Source
from train.data.synthetic import SyntheticVerifier

NAME = SUBSET = "rule"
BINS = ((1 / 3, "hard"), (2 / 3, "medium"), (1.0, "easy"))  # by the share of correct pictures
_TRIES = 2000  # draws without a new prompt after which the vocabulary counts as exhausted

Judge = Callable[[Item, Sequence[Image]], list[Verdict]]


def rule_source(settings: DataSettings, avoided: Avoided) -> Source:
    rule, engine = settings.rule, settings.engine
    _some_prompt_can_be_kept(rule)
    items, rejects = composed(rule, avoided, settings.seed)
    wishes = partial(candidates_of, count=rule.candidates)
    paint = partial(build_painting, settings.painter, wishes, settings.seed, settings.image_format)
    judge = partial(build_examination, rule, settings.judges.device, settings.seed)
    stages = (
        PipelineStage("paint", paint, engine.paint),
        PipelineStage("judge", judge, engine.judge),
    )
    return Source(NAME, SUBSET, items, rejects, stages)


def _some_prompt_can_be_kept(rule: Rule) -> None:
    """InputError if every prompt would be dropped by its difficulty."""
    shares = [right / rule.candidates for right in range(1, rule.candidates)]
    if not any(rule.hardest <= share <= rule.easiest for share in shares):
        raise InputError(
            f"No share of {rule.candidates} pictures lies between rule.hardest={rule.hardest} and "
            f"rule.easiest={rule.easiest}, so every prompt would be dropped. Move them apart."
        )


def candidates_of(item: Item, count: int) -> list[str]:
    return [item.prompt] * count


def composed(rule: Rule, avoided: Avoided, seed: int) -> tuple[list[Item], Counter[str]]:
    """This many different new prompts; InputError if the vocabulary has too few."""
    items: list[Item] = []
    rejects: Counter[str] = Counter()
    seen: set[Any] = set()
    in_vain = 0
    for task in drawn(rule, Random(seed_of(seed, NAME))):
        if len(items) == rule.prompts or in_vain == _TRIES:
            break
        known = meaning(task)
        in_vain = in_vain + 1 if known in seen else 0
        if known in seen:
            continue
        seen.add(known)
        prompt = sentence(task)
        if prompt in avoided or avoided.has(task):
            rejects["prompt kept for testing"] += 1
        else:
            items.append(Item(len(items), prompt, {"task": task_record(task)}))
    if len(items) < rule.prompts:
        raise InputError(
            f"The vocabulary makes about {len(items)} prompts, but rule.prompts is "
            f"{rule.prompts}. Give more objects or colours, or fewer prompts."
        )
    return items, rejects


def drawn(rule: Rule, rng: Random) -> Iterator[Task]:
    """Endless tasks: a family by its share, then one of its tasks."""
    objects, colours = (
        list(dict.fromkeys(names))
        for names in (rule.objects or SHAPES, rule.colours or SHAPE_COLOURS)
    )
    shares = rule.families.model_dump()
    if not any(shares.values()) or min(len(objects), len(colours)) < 2:
        raise InputError(
            "Rule-based prompts need at least one family, two objects and two colours."
        )
    while True:
        (family,) = rng.choices(list(shares), list(shares.values()))
        first, second = rng.sample(objects, 2)
        colour, other = rng.sample(colours, 2)
        match family:
            case "single_object":
                yield Task(family, (Need(first),))
            case "two_object":
                yield Task(family, (Need(first), Need(second)))
            case "counting":
                count = rng.choice(rule.counts)
                yield Task(family, (Need(first, count),), (Need(first, count + 1),))
            case "colors":
                yield Task(family, (Need(first, colour=colour),))
            case "position":
                relation = rng.choice(rule.relations)
                yield Task(family, (Need(first), Need(second, relation=relation, target=0)))
            case "color_position":
                stands = {"relation": rng.choice(rule.relations), "target": 0}
                needs = (Need(first, colour=colour), Need(second, colour=other, **stands))
                yield Task(family, needs)
            case "color_attr":
                yield Task(family, (Need(first, colour=colour), Need(second, colour=other)))


def sentence(task: Task) -> str:
    """The prompt of a task, in GenEval's wording."""
    said = [quantity(n.count, " ".join(filter(None, (n.colour, n.name)))) for n in task.include]
    relation = task.include[-1].relation
    if relation:
        return f"a photo of {said[1]} {relation} {said[0]}"
    return f"a photo of {' and '.join(said)}"


def build_judge(rule: Rule, device: str | None) -> Judge:
    if rule.judge == SYNTHETIC:
        return _by_prompt(SyntheticVerifier())
    if rule.judge == "exact":
        return _by_prompt(ExactVerifier())
    if not rule.judge.startswith(DETECTOR):
        raise InputError(
            f"Unknown rule.judge: {rule.judge!r}. Choose exact, or detector:FOLDER with a "
            "Mask2Former, Grounding DINO or OWLv2."
        )
    return _by_detector(rule, device)


def _by_prompt(verifier: ExactVerifier | SyntheticVerifier) -> Judge:
    return lambda item, images: verifier.verify(item.prompt, images)


def _by_detector(rule: Rule, device: str | None) -> Judge:
    from reflectionflow_core.detection.colours import load_colours
    from reflectionflow_core.detection.detectors import load_detector
    from reflectionflow_core.detection.examiner import Examiner

    detector = load_detector(rule.judge.removeprefix(DETECTOR), device=device)
    reader = load_colours(rule.colour_judge, device=device) if rule.colour_judge else None
    given = {
        "confidence": rule.confidence,
        "counting": rule.counting_confidence,
        "max_overlap": rule.max_overlap,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    examiner = Examiner(detector, reader, replace(detector.limits, **changed))
    return lambda item, images: examiner.examine(read_task(item.metadata["task"]), images)


def build_examination(rule: Rule, device: str | None, seed: int) -> JudgeStage:
    return JudgeStage(build_judge(rule, device), rule, seed)


class JudgeStage:
    """Stage: judges every picture and pairs those of each prompt."""

    def __init__(self, judge: Judge, rule: Rule, seed: int) -> None:
        self.judge, self.rule, self.seed = judge, rule, seed

    def __call__(self, work: Slice) -> Slice:
        pairs: list[Pair] = []
        rejects: list[str] = []
        for item, pictures in zip(work.items, work.pictures, strict=True):
            verdicts = self.judge(item, [picture.image for picture in pictures])
            judged = [
                picture.judged({NAME: verdict})
                for picture, verdict in zip(pictures, verdicts, strict=True)
            ]
            found = pairs_of(item, judged, self.rule, self.seed)
            pairs += [] if isinstance(found, str) else found
            rejects += [found] if isinstance(found, str) else []
        return work.paired(pairs, rejects, judged=sum(map(len, work.pictures)))


def pairs_of(
    item: Item, judged: Sequence[PaintedPicture], rule: Rule, seed: int
) -> list[Pair] | str:
    """Correct pictures paired with the worst wrong ones, or the reason why there is no pair."""
    right = [picture for picture in judged if picture.passed]
    share = len(right) / len(judged)
    if not right or share < rule.hardest:
        return "prompt too hard"
    if len(right) == len(judged) or share > rule.easiest:
        return "prompt too easy"
    rng = np.random.default_rng(seed_of(seed, NAME, item.prompt))
    best = [right[i] for i in rng.permutation(len(right)).tolist()]
    wrong = [picture for picture in judged if not picture.passed]
    shuffled = [wrong[i] for i in rng.permutation(len(wrong)).tolist()]
    worst = sorted(shuffled, key=lambda picture: picture.marks[NAME])
    metadata = {
        "task": item.metadata["task"],
        "difficulty": next(name for most, name in BINS if share <= most),
        "right": share,
    }
    return [
        Pair(f"{NAME}-{item.number:08d}-{position}", item.prompt, good, bad, metadata=metadata)
        for position, (good, bad) in enumerate(zip(best, worst, strict=False))
        if position < rule.pairs
    ]
