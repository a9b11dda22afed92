"""Calls a picture of a checklist, before and after: questions by their needs, a screen before it.

    PYTHONPATH=.:tests:tests/benchmarks python tests/benchmarks/judging_calls.py [--prompts 60]

Best of eight on the miniature's held-out prompts. The vision-language model is a stand-in that
reads pictures with the miniature's detector and answers every question as it is. It asks for
each thing, then its colour and number, how they stand to each other, and whether nothing else is
there. The screen is the exact score, of which a share of pictures is turned around, and takes no
calls. Every way judges the same pictures. Intervals are 95 %, bootstraps over prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from asking import drafts
from recheck import NOTHING_ELSE, Seeing
from shape_reader import fits, stands

from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.miniature.prompts import FAMILIES, ShapeGroup, Spec
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import Scene
from reflectionflow_core.protocols import SILENT, Progress, Verifier
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.verifiers.ensemble import EnsembleMember
from reflectionflow_core.verifiers.noisy import NoisyVerifier
from reflectionflow_core.verifiers.screened import ScreenedVerifier
from reflectionflow_core.vlm.interface import Failure, Question, Usage

PICTURES, SHORTLIST = 8, 2
Test = Callable[[Scene], bool]


def tests_of(spec: Spec) -> dict[str, tuple[Test, list[int]]]:
    """What is asked, how it is checked, and the numbers of what it needs."""
    asked: dict[str, tuple[Test, list[int]]] = {}
    ends = []
    for group in spec.groups:
        asked.setdefault(f"a {group.shape}", (shape_of(group), []))
        need = list(asked).index(f"a {group.shape}") + 1
        if group.colour:
            asked[f"a {group.colour} {group.shape}"] = (one_of(group), [need])
            need = len(asked)
        asked[f"exactly {group}"] = (number_of(group), [need])
        ends.append(need)
    if spec.relations:
        asked[f"{spec}"] = (lambda scene: stands(scene, spec), ends)
    asked[NOTHING_ELSE] = (nothing_else(spec), [])
    return asked


def shape_of(group: ShapeGroup) -> Test:
    return lambda scene: any(thing.shape == group.shape for thing in scene)


def one_of(group: ShapeGroup) -> Test:
    return lambda scene: any(fits(thing, group) for thing in scene)


def number_of(group: ShapeGroup) -> Test:
    return lambda scene: sum(fits(thing, group) for thing in scene) == group.count


def nothing_else(spec: Spec) -> Test:
    return lambda scene: all(any(fits(thing, group) for group in spec.groups) for thing in scene)


class Asked(Seeing):
    """As it is asked after a prompt was taken apart, with what needs what or without."""

    def __init__(self, prompt: str, with_needs: bool) -> None:
        super().__init__(prompt)
        self.tests, self.with_needs = tests_of(self.spec), with_needs

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        items = [
            {
                "statement": text,
                "question": f"Is there {text}?",
                "fault": f"missing {text}",
                "needs": needs if self.with_needs else [],
            }
            for text, (_, needs) in self.tests.items()
        ]
        self.usage += Usage(calls=len(questions))
        return [json.dumps({"requirements": items}) for _ in questions]

    def _met(self, question: str, scene: Scene) -> bool:
        (met,) = (m for text, (m, _) in self.tests.items() if f"Is there {text}?" in question)
        return met(scene)


def ways(prompt: str) -> dict[str, Verifier]:
    def behind(error: float) -> Verifier:
        screen = EnsembleMember("scalar", NoisyVerifier(ExactVerifier(), error), spread=0.25)
        return ScreenedVerifier(screen, ChecklistVerifier(Asked(prompt, True)), 0.0, SHORTLIST)

    return {
        "all questions about all pictures": ChecklistVerifier(Asked(prompt, False)),
        "nothing about what is not there": ChecklistVerifier(Asked(prompt, True)),
        f"the best {SHORTLIST} by a scalar": behind(0.0),
        f"the best {SHORTLIST} by a scalar that errs in 10 %": behind(0.1),
        f"the best {SHORTLIST} by a scalar that errs in 30 %": behind(0.3),
    }


def interval(values: np.ndarray, digits: int) -> str:
    dice = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[dice].mean(axis=1), [0.025, 0.975])
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=60)
    chosen = parser.parse_args()
    prompts = [q.prompt for q in held_out(chosen.prompts // len(FAMILIES), 0)]
    settings = SearchSettings(width=PICTURES, depth=0, strategy="noise")
    painter = build_actors(ActorChoice(), settings).generator
    calls: dict[str, list[float]] = {}
    right: dict[str, list[float]] = {}
    for index, prompt in enumerate(prompts):
        seeds = [shuffled(index * PICTURES + i, 0) for i in range(PICTURES)]
        images = painter.paint(drafts([prompt] * PICTURES, seeds))
        truth = [bool(v.passed) for v in ExactVerifier().verify(prompt, images)]
        for name, verifier in ways(prompt).items():
            verdicts = verifier.verify(prompt, images)
            best = max(range(PICTURES), key=lambda i: verdicts[i].rank)
            spent = verifier.spent  # pyright: ignore[reportAttributeAccessIssue]
            calls.setdefault(name, []).append((spent - 1) / PICTURES)  # 1 takes the prompt apart
            right.setdefault(name, []).append(truth[best])
    for name, spent in calls.items():
        line = [name, interval(np.array(spent), 2), interval(np.array(right[name]), 2)]
        sys.stdout.write(f"| {' | '.join(line)} |\n")


if __name__ == "__main__":
    main()
