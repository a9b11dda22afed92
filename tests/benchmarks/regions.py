"""Corrections in the places of faults against corrections of whole pictures, on the miniature.

    PYTHONPATH=. python tests/benchmarks/regions.py [--prompts 96] [--seed 0]

Each arm is one chain a prompt: a draft, then corrections until one passes, at most five. Arms share
their prompts and their noise. Then one thing of a picture is recoloured ten times, to see what that
does to the rest. Pictures of many prompts are painted together, since that is faster.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from reflectionflow_core.choice import ActorChoice
from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.evaluation.statistics import difference, mean, share
from reflectionflow_core.evidence import Evidence
from reflectionflow_core.miniature.detector import detect_boxes
from reflectionflow_core.miniature.judge import in_words
from reflectionflow_core.miniature.world import COLOURS, Thing
from reflectionflow_core.protocols import SILENT, Actors, LatentKeeping, Painted
from reflectionflow_core.record import Candidate, History, Region, Request
from reflectionflow_core.regions.masks import alpha_of
from reflectionflow_core.registry import build_actors
from reflectionflow_core.search import search
from reflectionflow_core.search.acceptance import broken_by
from reflectionflow_core.search.attempt import in_its_region
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.settings import SearchSettings

FAMILIES = ("two_object", "counting", "position", "color_attr")
ROUNDS, DRIFT = 5, 10
ARMS = {
    f"{way}, {accept}": {"correct": way, "accept": accept}
    for way in ("whole", "auto", "regions")
    for accept in ("any", "unbroken")
}


@dataclass
class Gathered:
    """A painter that many searches share: it waits for all of them, then paints in one batch."""

    painters: dict[str, Any]
    alive: int
    waiting: dict[int, tuple[str, Request]] = field(default_factory=dict)
    painted: dict[int, Painted] = field(default_factory=dict)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def ask(self, who: int, role: str, request: Request) -> Painted:
        with self.lock:
            self.waiting[who] = role, request
            self._paint_if_all_wait()
            self.lock.wait_for(lambda: who in self.painted)
            return self.painted.pop(who)

    def leave(self) -> None:
        with self.lock:
            self.alive -= 1
            self._paint_if_all_wait()

    def _paint_if_all_wait(self) -> None:
        if len(self.waiting) < self.alive or not self.waiting:
            return
        for role, painter in self.painters.items():
            asked = sorted((who, r) for who, (its, r) in self.waiting.items() if its == role)
            for first in range(0, len(asked), 48):
                some = asked[first : first + 48]
                pictures = painter.paint_with_latents([request for _, request in some], SILENT)
                self.painted.update(zip((who for who, _ in some), pictures, strict=True))
        self.waiting.clear()
        self.lock.notify_all()


@dataclass
class Seat:
    """One search's place at the shared painter."""

    shared: Gathered
    who: int
    role: str
    steps: int

    def paint_with_latents(self, requests: Sequence[Request], progress: Any = SILENT) -> list:
        return [self.shared.ask(self.who, self.role, request) for request in requests]

    def paint(self, requests: Sequence[Request], progress: Any = SILENT) -> list:
        return [painted.image for painted in self.paint_with_latents(requests)]


def searched(
    prompts: Sequence[str], settings: SearchSettings, actors: Actors, seed: int
) -> list[History]:
    """The history of each prompt's search, all painted side by side."""
    shared = Gathered({"draft": actors.generator, "correct": actors.corrector}, len(prompts))
    histories = [History()] * len(prompts)

    def run(index: int) -> None:
        seats = [Seat(shared, index, role, actors.generator.steps) for role in shared.painters]
        own = replace(actors, generator=seats[0], corrector=seats[1])
        asked = replace(settings, seed=shuffled(index, key=seed))
        try:
            for step in search(prompts[index], asked, own):
                histories[index] = step
        finally:
            shared.leave()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return histories


def corrections(history: History) -> list[Candidate]:
    return [candidate for candidate in history if candidate.parent is not None]


def outside(candidate: Candidate) -> int:
    """The largest change of a pixel outside a correction's region, of 255; -1 without a region."""
    if candidate.region is None or candidate.parent is None:
        return -1
    free = alpha_of(candidate.region, candidate.image.size) == 0
    before, after = (np.asarray(c.image, int)[free] for c in (candidate.parent, candidate))
    return int(np.abs(before - after).max(initial=0))


def report(results: dict[str, list[History]]) -> None:
    wrong = np.array([not history.rounds[0][0].verdict.passed for history in results["whole, any"]])
    say(f"{len(wrong)} prompts, {int(wrong.sum())} drafts wrong")
    say(
        "| arm | mended at once, of the wrong drafts | against whole | right after 6 pictures |"
        " against whole | corrections | in places | broke something | change outside |"
    )
    say("|---" * 9 + "|")
    mended = {
        name: np.array([h.rounds[1][0].verdict.passed for h in some if len(h.rounds) > 1])
        for name, some in results.items()
    }
    right = {
        name: np.array([bool(h.best.verdict.passed) for h in some])
        for name, some in results.items()
    }
    for name, some in results.items():
        made = [c for history in some for c in corrections(history)]
        broke = sum(bool(broken_by(c.parent.verdict, c.verdict)) for c in made if c.parent)
        base = "whole, any"
        say(
            f"| {name} | {share(mended[name])} | {difference(mended[name], mended[base])} "
            f"| {share(right[name])} | {difference(right[name], right[base])} | {len(made)} "
            f"| {sum(c.region is not None for c in made)} | {broke} ({broke / len(made):.3f}) "
            f"| {max(map(outside, made))} |"
        )


def drift(prompts: Sequence[str], actors: Actors, seed: int) -> None:
    """One thing of each picture is recoloured ten times; how far all others are from the draft."""
    requests = [Request(shuffled(index, key=seed), prompt) for index, prompt in enumerate(prompts)]
    assert isinstance(actors.generator, LatentKeeping)
    drafts = [painted.image for painted in actors.generator.paint_with_latents(requests)]
    chosen = [image for image in drafts if len(detect_boxes(image)) > 1]
    say(
        f"\nMean change outside the corrected place, of 255, after 1 to {DRIFT} corrections; "
        f"and the share of other things that are as in the draft; {len(chosen)} chains"
    )
    for way in ("whole", "regions"):
        table, kept = chains(chosen, way, actors, seed)
        say(
            f"| {way} | "
            + " | ".join(f"{value:.2f}" for value in table.mean(0))
            + f" | at the end {mean(table[:, -1])} | things {mean(kept)} |"
        )


def chains(
    drafts: Sequence[Image.Image], way: str, actors: Actors, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The change after each correction, (chains, rounds), and the share of other things that are
    left after the last, (chains,)."""
    boxes = [detect_boxes(draft) for draft in drafts]
    first = [next(iter(found)) for found in boxes]
    seen = [
        Evidence.in_pixels("", found[thing], draft.size).box
        for found, thing, draft in zip(boxes, first, drafts, strict=True)
    ]
    places = [Region((box,)) for box in seen if box is not None]
    regions = [place if way == "regions" else None for place in places]
    pictures = [Painted(draft) for draft in drafts]
    changes = []
    for turn in range(DRIFT):
        requests = [
            asked(*each, turn, shuffled(i, key=DRIFT * seed + turn))
            for i, each in enumerate(zip(pictures, boxes, regions, strict=True))
        ]
        assert isinstance(actors.corrector, LatentKeeping)
        painted = actors.corrector.paint_with_latents(requests)
        pictures = [
            replace(new, image=in_its_region(request, new.image))
            for request, new in zip(requests, painted, strict=True)
        ]
        changes.append([change(*each) for each in zip(drafts, pictures, places, strict=True)])
    left = [
        others_left(found, thing, picture.image)
        for found, thing, picture in zip(boxes, first, pictures, strict=True)
    ]
    return np.array(changes).T, np.array(left)


def asked(
    picture: Painted, found: Iterable[Thing], place: Region | None, turn: int, seed: int
) -> Request:
    """The correction that recolours the first thing; the prompt names the others as they are."""
    thing, *others = found
    colour = [colour for colour in COLOURS if colour != thing.colour][turn % (len(COLOURS) - 1)]
    named = [f"a {colour} {thing.shape}", *(f"a {in_words(other)}" for other in others)]
    words = " and ".join(named), f"recolor the {thing.shape} {colour}"
    request = Request.correcting(picture.image, *words, seed)
    parent = replace(request.required_parent, latents=picture.latents)
    return replace(request, region=place, parent=parent)


def change(draft: Image.Image, picture: Painted, place: Region) -> float:
    free = alpha_of(place, draft.size) == 0
    before, after = (np.asarray(image, float)[free] for image in (draft, picture.image))
    return float(np.abs(before - after).mean())


def others_left(found: dict[Thing, Any], thing: Thing, picture: Image.Image) -> float:
    """The share of a draft's other things that a picture still shows, by shape and colour."""
    names = [(other.shape, other.colour) for other in found if other is not thing]
    seen = [(other.shape, other.colour) for other in detect_boxes(picture)]
    return sum(name in seen for name in names) / len(names)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", default=";".join(ARMS), help="none: only the ten corrections")
    asked = parser.parse_args()
    prompts = [p.prompt for p in held_out(asked.prompts // len(FAMILIES), asked.seed, FAMILIES)]
    settings = SearchSettings(width=1, depth=ROUNDS, stop="passed")
    actors = build_actors(ActorChoice(), settings)
    results = {}
    for name in filter(None, asked.arms.split(";")):
        results[name] = searched(prompts, replace(settings, **ARMS[name]), actors, asked.seed)
        say(f"{name}: {sum(map(len, results[name]))} pictures")
    if results:
        report(results)
    drift(prompts[:32], actors, asked.seed)


if __name__ == "__main__":
    main()
