"""What rechecks save: calls of a checklist on the miniature's held-out prompts.

    python tests/benchmarks/recheck.py [--prompts 60] [--seed 0]

The vision-language model is a stand-in that reads pictures with the miniature's detector and
answers every question as it is, so what is saved are questions that need not be asked. The searches
are ReflectionFlow's, two chains of four rounds after the drafts, to the end; counted are the calls
of judging. All pictures of the searches with rechecks are also judged in full, to see that the same
ones pass. Intervals are 95 %, bootstraps over prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from keeping import keep

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from shape_reader import fits, stands

from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.evaluation.statistics import difference
from reflectionflow_core.miniature.detector import detect
from reflectionflow_core.miniature.prompts import FAMILIES, Spec, parse
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.miniature.world import Scene
from reflectionflow_core.protocols import SILENT, Actors, Progress
from reflectionflow_core.record import History
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.settings import SearchSettings
from reflectionflow_core.verifiers.checklist import ChecklistVerifier
from reflectionflow_core.vlm.interface import Failure, Question, Usage

SURE = 0.95
NOTHING_ELSE = "nothing else"
SETTINGS = SearchSettings(width=2, depth=4)


class Seeing:
    """A vision-language model that knows one prompt, and sees as sharply as the detector."""

    def __init__(self, prompt: str) -> None:
        self.spec = parse(prompt)
        self.usage = Usage()

    def chat(
        self, questions: Sequence[Question], progress: Progress = SILENT, phase: str = "ask"
    ) -> list[str | Failure]:
        self.usage += Usage(calls=len(questions))
        items = [
            {"statement": text, "question": f"Is there {text}?", "fault": f"missing {text}"}
            for text in statements(self.spec)
        ]
        return [json.dumps({"requirements": items}) for _ in questions]

    def choose(
        self,
        questions: Sequence[Question],
        choices: Sequence[str],
        progress: Progress = SILENT,
        phase: str = "ask",
    ) -> list[tuple[float, ...] | Failure]:
        self.usage += Usage(calls=len(questions))
        met = [self._met(q.text, detect(q.images[0].convert("RGB"))) for q in questions]
        return [(SURE, 1 - SURE) if each else (1 - SURE, SURE) for each in met]

    def _met(self, question: str, scene: Scene) -> bool:
        (asked,) = (t for t in statements(self.spec) if f"Is there {t}?" in question)
        groups = self.spec.groups
        if asked == NOTHING_ELSE:
            return all(any(fits(thing, group) for group in groups) for thing in scene)
        if asked == str(self.spec) and self.spec.relations:
            return stands(scene, self.spec)
        group = next(group for group in groups if str(group) == asked)
        return sum(fits(thing, group) for thing in scene) == group.count


def statements(spec: Spec) -> list[str]:
    """What is asked for: each group in its number, how they stand, and nothing else."""
    where = [str(spec)] if spec.relations else []
    return [*map(str, spec.groups), *where, NOTHING_ELSE]


def judged(prompt: str, settings: SearchSettings, actors: Actors) -> tuple[History, int]:
    """A search, and the calls of its verifier."""
    verifier = ChecklistVerifier(Seeing(prompt))
    (history,) = deque(search(prompt, settings, replace(actors, verifier=verifier)), maxlen=1)
    return history, verifier.spent


def unlike(prompt: str, history: History) -> int:
    """How many pictures a full check would pass otherwise than the search did."""
    full = ChecklistVerifier(Seeing(prompt)).verify(prompt, [c.image for c in history])
    pairs = zip(history, full, strict=True)
    return sum(candidate.verdict.passed != verdict.passed for candidate, verdict in pairs)


def right(prompt: str, history: History) -> bool:
    return bool(ExactVerifier().verify(prompt, [history.best.image])[0].passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    prompts = [q.prompt for q in held_out(chosen.prompts // len(FAMILIES), chosen.seed)]
    actors = build_actors(ActorChoice(), SETTINGS)
    full, short = [], []
    for index, prompt in enumerate(prompts):
        settings = replace(SETTINGS, seed=shuffled(index, chosen.seed))
        full.append(judged(prompt, settings, actors))
        short.append(judged(prompt, replace(settings, recheck=True), actors))
    calls = [np.array([spent for _, spent in searches]) for searches in (full, short)]
    success = [
        np.array([right(p, history) for p, (history, _) in zip(prompts, searches, strict=True)])
        for searches in (full, short)
    ]
    dice = np.random.default_rng(0).integers(len(prompts), size=(4000, len(prompts)))
    saved = 1 - calls[1][dice].sum(axis=1) / calls[0][dice].sum(axis=1)
    low, high = np.quantile(saved, [0.025, 0.975])
    result = {
        **vars(chosen),
        "calls of full checks": int(calls[0].sum()),
        "calls with rechecks": int(calls[1].sum()),
        "saved": f"{1 - calls[1].sum() / calls[0].sum():.3f} [{low:.3f}, {high:.3f}]",
        "pictures that a full check would judge otherwise": sum(
            unlike(prompt, history) for prompt, (history, _) in zip(prompts, short, strict=True)
        ),
        "right, with rechecks minus without": str(difference(success[1], success[0])),
    }
    keep("recheck", result)


if __name__ == "__main__":
    main()
