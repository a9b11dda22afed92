"""Judges that share a prompt's needs, against each alone: pictures and calls to a right picture.

    PYTHONPATH=.:tests:tests/benchmarks python tests/benchmarks/judges_together.py [--prompts 120]

ReflectionFlow on the meanings of the miniature's held-out prompts, two chains of up to four rounds
after the drafts, until a picture passes. The detector reads shapes exactly but misses one thing in
twenty, and does not know triangles. The vision-language model is a stand-in that reads pictures
with the miniature's detector, and errs: it calls wrong numbers and positions right in half of the
cases, wrong things and colours in a tenth, and what is right wrong in a twentieth. Those are
assumptions from "more than half missed of some kinds" (arXiv 2604.21523), not measured rates. The
same question about the same picture always gets the same answer. Right is what has every thing,
number, colour, size and position that was asked for, whatever else there is. Intervals are 95 %:
Wilson's for shares, bootstraps over prompts for means.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
from core.exact_detector import ShapesColours, ShapesDetector
from judging_calls import NOTHING_ELSE, tests_of
from PIL import Image
from scripted_vlm import ScriptedVlm
from shape_reader import fits, stands

from reflectionflow_core.detection.examiner import Examiner
from reflectionflow_core.detection.objects import ObjectsVerifier
from reflectionflow_core.detection.routed import RoutedVerifier
from reflectionflow_core.detection.rules import Detection
from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.evaluation.statistics import mean, share
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.judge import holds
from reflectionflow_core.miniature.prompts import BETWEEN, FAMILIES, SIDES, Spec, parse
from reflectionflow_core.miniature.world import Scene
from reflectionflow_core.protocols import SILENT, Progress, Verifier
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.ensemble import EnsembleMember, EnsembleVerifier
from reflectionflow_core.vlm.interface import Question

SETTINGS = SearchSettings(width=2, depth=4, parents="best", stop="passed")
MISSED = {"number": 0.5, "position": 0.5, "thing": 0.1}
FALSE_ALARM = 0.05
UNSEEN = 0.05  # share of things that the detector misses
KNOWN = ("circle", "square", "cross")


def chance(*key: object) -> float:
    """0 to 1, always the same for the same key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Overlooking(ShapesDetector):
    """Misses some things, always the same ones, and knows no triangles."""

    vocabulary = KNOWN

    def detect(
        self, images: Sequence[Image.Image], names: Sequence[str], progress: Progress = SILENT
    ) -> list[list[Detection]]:
        found = super().detect(images, names, progress)
        return [
            [thing for thing in things if chance("seen", thing.name, thing.box) >= UNSEEN]
            for thing, things in zip(images, found, strict=True)
        ]


class Erring:
    """Takes prompts apart as the miniature means them, and answers with errors by kind."""

    def __init__(self, prompt: str) -> None:
        self.spec = parse(prompt)
        self.tests = {k: v for k, v in tests_of(self.spec).items() if k != NOTHING_ELSE}
        self.vlm = ScriptedVlm(self.chat, self.choose)

    def chat(self, question: Question) -> str:
        if "A detector will look for things" in question.text:
            return json.dumps({"things": self.things, "rest": self.rest})
        items = [
            {
                "statement": text,
                "question": f"Is there {text}?",
                "fault": f"missing {text.removeprefix('exactly ')}",
                "needs": needs,
            }
            for text, (_, needs) in self.tests.items()
        ]
        return json.dumps({"requirements": items})

    @property
    def things(self) -> list[dict[str, object]]:
        """What a detector may look for, as a model says it."""
        sides = {r.subject: (r.name, r.objects[0]) for r in self.spec.relations if r.name in SIDES}
        return [
            {
                "name": group.shape,
                "number": group.count,
                "how": "exactly" if group.count > 1 else "at least",
                "colour": group.colour,
                **dict(zip(("relation", "of"), sides.get(number, (None, None)), strict=True)),
            }
            for number, group in enumerate(self.spec.groups)
        ]

    @property
    def rest(self) -> list[dict[str, str]]:
        """What no detector sees: sizes, colours that are not wanted, what is between two things."""
        texts = [f"exactly {group}" for group in self.spec.groups if group.size or group.but_not]
        texts += [str(self.spec)] if any(r.name == BETWEEN for r in self.spec.relations) else []
        return [
            {"statement": text, "question": f"Is there {text}?", "fault": f"missing {text}"}
            for text in texts
        ]

    def choose(self, question: Question) -> tuple[float, float]:
        asked = question.text.split("<data>")[1].split("</data>")[0]
        image = question.images[0].convert("RGB")
        kind, met = self.answer(asked, detect(image))
        error = FALSE_ALARM if met else MISSED[kind]
        said = met != (chance("answer", asked, image.tobytes()) < error)
        return (0.9, 0.1) if said else (0.1, 0.9)

    def answer(self, asked: str, scene: Scene) -> tuple[str, bool]:
        """What kind of need is asked about, and whether it is met."""
        if position := re.fullmatch(
            r"Is the (\w+) (left of|right of|above|below) the (\w+)\?", asked
        ):
            first, second = ([t for t in scene if t.shape == position[n]] for n in (1, 3))
            return "position", any(holds(position[2], a, (b,)) for a in first for b in second)
        if own := re.fullmatch(r"Does the picture show (exactly )?(.+)\?", asked):
            (group,) = parse(own[2]).groups
            count = sum(fits(thing, group) for thing in scene)
            met = count == group.count if own[1] else count >= group.count
            return "number" if own[1] else "thing", met
        text = asked.removeprefix("Is there ").removesuffix("?")
        kind = "number" if text.startswith("exactly") else "thing"
        kind = "position" if re.search("left of|right of|above|below|between", text) else kind
        return kind, self.tests[text][0](scene)


class Ungated(RoutedVerifier):
    """Asks the model about every picture, also where the others find a fault."""

    def _asked(self, needs, images, before, free, progress):  # type: ignore[no-untyped-def]
        return super()._asked(needs, images, before, (), progress)


def objects() -> ObjectsVerifier:
    return ObjectsVerifier(Examiner(Overlooking(), ShapesColours()))


def ensemble(checklist: ChecklistVerifier) -> EnsembleVerifier:
    members = [("objects", objects()), ("checklist", checklist)]
    return EnsembleVerifier([EnsembleMember(name, judge, 0.25) for name, judge in members])


WAYS: dict[str, Callable[[ChecklistVerifier], Verifier]] = {
    "objects": lambda _: objects(),
    "checklist": lambda checklist: checklist,
    "the mean of both": ensemble,
    "by need, the model asked about every picture": lambda c: Ungated(objects(), None, c),
    "by need": lambda checklist: RoutedVerifier(objects(), None, checklist),
}


def fulfils(scene: Scene, spec: Spec) -> bool:
    """Whether everything is there; "a circle" also is where there are two, as in GenEval."""
    counts = [(sum(fits(t, group) for t in scene), group.count) for group in spec.groups]
    return all(n == count or n > count == 1 for n, count in counts) and stands(scene, spec)


def outcome(task: tuple[str, str, int]) -> tuple[float, float, float, float] | None:
    """Whether the chosen picture is right, pictures, calls, and whether it passed wrongly; None
    where the judge cannot judge the prompt."""
    way, prompt, seed = task
    judge = WAYS[way](ChecklistVerifier(Erring(prompt).vlm))
    settings = replace(SETTINGS, seed=seed)
    actors = replace(build_actors(ActorChoice(), settings), verifier=judge)
    try:
        judge.verify(prompt, [])
        (history,) = deque(search(prompt, settings, actors), maxlen=1)
    except InputError:
        return None
    right = fulfils(detect(history.best.image.convert("RGB")), parse(prompt))
    fooled = bool(history.best.verdict.passed) and not right
    return right, len(history), history.cost.vlm_calls, fooled


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--processes", type=int, default=None)
    chosen = parser.parse_args()
    asked = held_out(chosen.prompts // len(FAMILIES), 0)
    prompts = [f"a photo of {parse(question.prompt)}" for question in asked]
    sys.stdout.write(
        "| judge | prompts it can judge | chosen picture right | passed wrongly | pictures | calls "
        "|\n|---|---|---|---|---|---|\n"
    )
    with ProcessPoolExecutor(chosen.processes) as pool:
        for way in WAYS:
            tasks = [(way, prompt, shuffled(i, 0)) for i, prompt in enumerate(prompts)]
            found = [each for each in pool.map(outcome, tasks) if each is not None]
            right, pictures, calls, fooled = (
                np.array(column) for column in zip(*found, strict=True)
            )
            cells = [
                f"{len(found)} of {len(prompts)}",
                str(share(right.astype(bool))),
                str(share(fooled.astype(bool))),
                *(
                    f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]"
                    for e in map(mean, (pictures, calls))
                ),
            ]
            sys.stdout.write(f"| {way} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
