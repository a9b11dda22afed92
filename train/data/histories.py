"""Triplets from searches: where a correction of `reflectionflow run` made a picture better."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from reflectionflow_core.archive import RUN, read_recording
from reflectionflow_core.archive.lines import seed_to_json
from reflectionflow_core.archive.run_file import load_run
from reflectionflow_core.pictures import to_rgb
from reflectionflow_core.record import Candidate, InputError
from train.data.prompts import Avoided
from train.data.records import Item, PaintedPicture, Pair, Slice
from train.data.settings import DataSettings, Histories
from train.data.source import PipelineStage, Source
from train.triplets import encoded

NAME = "histories"


def histories_source(settings: DataSettings, avoided: Avoided) -> Source:
    if not settings.histories.consent:
        raise InputError(
            "Runs hold the prompts, words and pictures of people. Give histories.consent=true if "
            "they agree to their use for training, or leave histories.runs out."
        )
    where = Path(settings.histories.runs).expanduser()
    found = sorted(path.parent for path in where.parent.glob(f"{where.name}/{RUN}"))
    if not found:
        raise InputError(f"There are no runs in {where}. Give their folders as a pattern.")
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


class HistoryStage:
    """The stage: every correction of each run that gained more than `margin` in score."""

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
            for position, child in enumerate(history):
                parent = child.parent
                if parent is not None and not child.finished:
                    rejects.append("dropped after a preview")
                elif parent is not None and not (child.verdict.judged and parent.verdict.judged):
                    rejects.append("picture not judged")
                elif parent is not None and child.rank - parent.rank > self.margin:
                    key = f"{NAME}-{item.number:08d}-{position}"
                    pairs.append(self._pair(key, item.prompt, parent, child))
                elif parent is not None:
                    rejects.append("correction gained nothing")
        return work.paired(pairs, rejects)

    def _pair(self, key: str, prompt: str, parent: Candidate, child: Candidate) -> Pair:
        return Pair(key, prompt, self._painted(child), self._painted(parent), child.reflection)

    def _painted(self, candidate: Candidate) -> PaintedPicture:
        seed = seed_to_json(candidate.seed)
        return PaintedPicture(
            encoded(to_rgb(candidate.image), self.image_format),
            candidate.prompt,
            seed if isinstance(seed, int) else None,
            {"run": candidate.rank},
            candidate.verdict.passed,
            candidate.verdict.unmet,
        )
