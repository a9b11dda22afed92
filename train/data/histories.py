"""Triplets from searches: corrections that raised the run's score or that a person preferred."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from reflectionflow_core.archive import RUN, read_recording
from reflectionflow_core.archive.lines import seed_to_json
from reflectionflow_core.archive.run_file import load_run
from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.record import Candidate, History, InputError
from train.data.prompts import Avoided
from train.data.records import BY_PERSON, Item, PaintedPicture, Pair, Slice
from train.data.settings import DataSettings, Histories
from train.data.source import PipelineStage, Source
from train.shard_lists import matching
from train.triplets import encoded

NAME = "histories"


def histories_source(settings: DataSettings, avoided: Avoided) -> Source:
    if not settings.histories.consent:
        raise InputError(
            "Runs contain people's prompts, texts and pictures. Give histories.consent=true if "
            "these people agree to their use for training, or leave out histories.runs."
        )
    where = settings.histories.runs
    found = [file.parent for file in matching(Path(where, RUN))]
    if not found:
        raise InputError(f"No runs found in {where}. Give a pattern of their folders.")
    items: list[Item] = []
    rejects: Counter[str] = Counter()
    for folder in found:
        try:
            prompt = load_run(folder / RUN).prompt
        except InputError:
            rejects["run unreadable"] += 1
            continue
        if prompt in avoided:
            rejects["prompt kept for testing"] += 1
        else:
            items.append(Item(len(items), prompt, {"run": str(folder)}))
    build = partial(build_reading, settings.histories, settings.image_format)
    stages = (PipelineStage("open", build, settings.engine.open),)
    return Source(NAME, settings.histories.subset, items, rejects, stages)


def build_reading(histories: Histories, image_format: str) -> HistoryStage:
    return HistoryStage(histories.margin, image_format)


def preferences(history: History) -> list[tuple[int, int]]:
    """Pairs (better, worse) of candidate numbers from a person's feedback.

    A chosen winner is better than its parent and the others of its round; a picture is better than
    a vetoed one. Later feedback overrides earlier feedback.
    """
    pictures = list(history)
    rounds = [number for number, found in enumerate(history.rounds) for _ in found]
    found: list[tuple[int, int]] = []
    vetoed: set[int] = set()
    for said in history.feedback:
        shown = range(said.after)
        vetoed = {*vetoed, *said.vetoed} - {said.picked}
        found = [(i, j) for i, j in found if i not in vetoed and j != said.picked]
        if said.picked is not None:
            parent = pictures[said.picked].parent
            worse = [
                i
                for i in shown
                if i != said.picked and (rounds[i] == rounds[said.picked] or pictures[i] is parent)
            ]
            found += [(said.picked, i) for i in worse]
        for worst in said.vetoed:
            others = [i for i in shown if rounds[i] == rounds[worst] and i not in vetoed]
            found += [(i, worst) for i in others]
    return list(dict.fromkeys(found))


class HistoryStage:
    """Stage: corrections that raised the score by more than `margin`, and pictures preferred by a
    person.

    No scorer of the filter overrules a person. If the preferred picture is not a correction of the
    other, the reflection is left to the annotation.
    """

    def __init__(self, margin: float, image_format: str) -> None:
        self.margin, self.image_format = margin, image_format

    def __call__(self, work: Slice) -> Slice:
        pairs: list[Pair] = []
        rejects: list[str] = []
        for item in work.items:
            try:
                history = read_recording(Path(item.metadata["run"])).history
            except InputError:
                rejects.append("run unreadable")
                continue
            pictures = list(history)
            said = preferences(history)
            for better, worse in said:
                good, bad = pictures[better], pictures[worse]
                if good.finished and bad.finished:
                    key = f"{NAME}-{item.number:08d}-{better}-{worse}"
                    words = good.reflection if good.parent is bad else ""
                    pair = self._pair(key, item.prompt, bad, good, words)
                    pairs.append(replace(pair, metadata=BY_PERSON))
            known = {frozenset((pictures[i], pictures[j])) for i, j in said}
            for position, child in enumerate(pictures):
                parent = child.parent
                if frozenset((child, parent)) in known:
                    continue
                if parent is not None and not child.finished:
                    rejects.append("dropped after a preview")
                elif parent is not None and not (child.verdict.judged and parent.verdict.judged):
                    rejects.append("picture not judged")
                elif parent is not None and child.rank - parent.rank > self.margin:
                    key = f"{NAME}-{item.number:08d}-{position}"
                    pairs.append(self._pair(key, item.prompt, parent, child, child.reflection))
                elif parent is not None:
                    rejects.append("correction gained nothing")
        return work.paired(pairs, rejects)

    def _pair(self, key: str, prompt: str, bad: Candidate, good: Candidate, words: str) -> Pair:
        return Pair(key, prompt, self._painted(good), self._painted(bad), words)

    def _painted(self, candidate: Candidate) -> PaintedPicture:
        seed = seed_to_json(candidate.seed)
        return PaintedPicture(
            encoded(to_rgb(candidate.image), self.image_format),
            candidate.prompt,
            seed if isinstance(seed, int) else None,
            {"run": candidate.rank} if candidate.verdict.judged else {},
            candidate.verdict.passed,
            candidate.verdict.unmet,
        )
