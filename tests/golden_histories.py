"""What every kind of search did before the core was rebuilt, candidate by candidate.

`tests/core/golden/histories.json` is the record and `test_golden_histories.py` compares. After a
change of behaviour that is wanted, write it again and let the diff show what changed:

    PYTHONPATH=.:tests python tests/golden_histories.py
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from fakes import (
    ToyClock,
    ToyCorrector,
    ToyEvolver,
    ToyGenerator,
    ToyInspector,
    Toys,
    ToyVerifier,
    ToyWriter,
    read_back,
)

from reflectionflow_core.record import Candidate, History, InputError, Stage, Verdict
from reflectionflow_core.search import POLICIES, STRATEGIES, search
from reflectionflow_core.settings import AXES, Budget, SearchSettings

FILE = Path(__file__).parent / "core" / "golden" / "histories.json"
PROMPT = "two green bowls"
STAGES = tuple(Stage(f"add bowl {i}", f"{PROMPT}, {i} of 2", ("a bowl",)) for i in (1, 2))
BASE = SearchSettings(width=2, depth=3, drafts=3, seed=5)


@dataclass
class CountingVerifier(ToyVerifier):
    """Asks more, or fewer, than its `calls` promise, and counts."""

    calls: int = 2
    asks: int = 3
    spent: int = 0

    def verify(self, prompt: str, images: Any, progress: Any = None) -> list[Verdict]:
        self.spent += self.asks * len(images)
        return super().verify(prompt, images)


@dataclass
class RecheckingVerifier(ToyVerifier):
    """A recheck scores a little lower, so that the record shows which pictures had one."""

    def recheck(self, prompt: str, images: Any, before: Any, progress: Any = None) -> list[Verdict]:
        pairs = zip(self.verify(prompt, images), before, strict=True)
        return [replace(v, score=v.rank - 0.01) if known else v for v, known in pairs]


@dataclass
class RememberingVerifier(ToyVerifier):
    """Scores a picture lower for every one that it has judged or was told to remember."""

    known: int = 0

    def remember(self, prompt: str, candidates: Any) -> None:
        self.known = len(candidates)

    def verify(self, prompt: str, images: Any, progress: Any = None) -> list[Verdict]:
        lower = [0.001 * (self.known + i) for i in range(len(images))]
        self.known += len(images)
        verdicts = super().verify(prompt, images)
        return [replace(v, score=v.rank - by) for v, by in zip(verdicts, lower, strict=True)]


VERIFIERS: Mapping[str, Any] = {
    "plain": ToyVerifier,
    "asks more": CountingVerifier,
    "asks less": lambda **how: CountingVerifier(asks=1, **how),
    "rechecking": RecheckingVerifier,
    "remembering": RememberingVerifier,
}


@dataclass(frozen=True)
class Case:
    """One search; with `cut` it is resumed from its first so many candidates."""

    name: str
    settings: SearchSettings
    verifier: str = "plain"
    pass_at: float = 0.9
    mates: bool = False
    cut: int | None = None


def cases() -> Iterator[Case]:
    for strategy in sorted(STRATEGIES):
        for noise in ("random", "zero_order"):
            for size in (1, 2):
                yield case(
                    f"{strategy}, {noise}, {size}", strategy, noise_search=noise, batch_size=size
                )
        yield case(f"{strategy}, best parents, passed", strategy, parents="best", stop="passed")
        yield case(f"{strategy}, a score", strategy, stop=0.8, batch_size=2)
        yield case(f"{strategy}, draft prompt", strategy, draft_prompt=f"{PROMPT}, wide")
        for count in (1, 2):
            for axes in combinations(AXES, count):
                yield case(f"{strategy}, {'+'.join(axes)}", strategy, axes=axes)
        for limit in ("images", "vlm_calls", "steps"):
            for amount in (7, 20):
                budget = Budget(**{limit: amount})
                yield case(f"{strategy}, {amount} {limit}", strategy, budget=budget, batch_size=2)
        yield case(f"{strategy}, 9 seconds", strategy, budget=Budget(seconds=9))
        for cut in (1, 4, 6):
            yield case(f"{strategy}, cut at {cut}", strategy, batch_size=3, width=4, cut=cut)
        for verifier in VERIFIERS:
            yield case(f"{strategy}, {verifier}", strategy, verifier=verifier, recheck=True)
            yield case(
                f"{strategy}, {verifier}, cut at 4",
                strategy,
                verifier=verifier,
                recheck=True,
                batch_size=2,
                cut=4,
            )
        yield case(f"{strategy}, no rounds", strategy, depth=0)
    for policy in POLICIES:
        for width in (1, 3):
            yield case(
                f"{policy} {width}", "adaptive", policy=policy, width=width, depth=8, drafts=None
            )
    for context in (0, 1, 3):
        yield case(f"context {context}", "in-context", context=context, width=1, depth=5)
    yield case("deep", "potential", depth=6, width=3, batch_size=2)
    yield case("texts of a round", "reflection", width=4, batch_size=2, mates=True)
    yield case(
        "counted calls, budget", "reflection", verifier="asks more", budget=Budget(vlm_calls=30)
    )
    yield case(
        "counted less, budget", "reflection", verifier="asks less", budget=Budget(vlm_calls=30)
    )


def case(name: str, strategy: str, **how: Any) -> Case:
    special = {key: how.pop(key) for key in ("verifier", "mates", "cut") if key in how}
    stages = STAGES if STRATEGIES[strategy].in_stages else ()
    if stages:
        how.pop("draft_prompt", None)
    return Case(name, replace(BASE, strategy=strategy, stages=stages, **how), **special)


def played(case: Case) -> dict[str, Any]:
    """The search's record, or the sentence that refuses it."""
    clock = ToyClock()
    try:
        histories = list(search(PROMPT, case.settings, _actors(case, clock), clock=clock))
        if case.cut is not None and case.cut < len(histories):
            cut, clock = read_back(histories[case.cut - 1]), ToyClock()
            resumed = search(PROMPT, case.settings, _actors(case, clock), cut, clock=clock)
            histories = histories[: case.cut] + list(resumed)
    except InputError:
        return {"refused": True}
    return {"yielded": len(histories), **record(histories[-1])}


def _actors(case: Case, clock: ToyClock) -> Any:
    tick: Any = {"on_call": clock.tick(1)}
    return Toys(
        ToyGenerator(steps=3, mates=True, **tick),
        VERIFIERS[case.verifier](pass_at=case.pass_at, **tick),
        ToyCorrector(steps=5, mates=True, **tick),
        ToyWriter(calls=2, mates=case.mates, **tick),
        ToyEvolver(**tick),
        ToyInspector(**tick),
    ).actors()


def record(history: History) -> dict[str, Any]:
    number = {id(candidate): i for i, candidate in enumerate(history)}
    cost = history.cost
    return {
        "sizes": [len(candidates) for candidates in history.rounds],
        "cost": [cost.images, cost.steps, cost.vlm_calls],
        "candidates": [row(c, number) for c in history],
    }


def shortened(case: Case, full: Mapping[str, Any]) -> dict[str, Any]:
    """The record as the file keeps it: rows in full for a few cases, else their actions, scores
    and one digest."""
    if "candidates" not in full or case.name.endswith(("random, 1", "cut at 6")):
        return dict(full)
    rows = full["candidates"]
    return {key: value for key, value in full.items() if key != "candidates"} | {
        "actions": " ".join(each[0] for each in rows),
        "best": max(each[5] for each in rows),
        "digest": hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16],
    }


def row(c: Candidate, number: Mapping[int, int]) -> list[Any]:
    found = c.inspection
    return [
        c.action,
        None if c.parent is None else number[id(c.parent)],
        repr(c.seed),
        c.prompt,
        c.reflection,
        c.score if c.score is None else round(c.score, 9),
        c.verdict.passed,
        c.steps,
        c.finished,
        c.stage,
        found and [found.accepted, found.refine],
        hashlib.sha256(c.image.tobytes()).hexdigest()[:12],
    ]


def written(records: Mapping[str, Any]) -> str:
    """A line a candidate, so that a diff shows which ones changed."""
    lines = []
    for name, each in records.items():
        head = {key: value for key, value in each.items() if key != "candidates"}
        rows = ",\n  ".join(map(json.dumps, each.get("candidates", [])))
        body = json.dumps(head)[:-1] + (f', "candidates": [\n  {rows}\n]}}' if rows else "}")
        lines.append(f"{json.dumps(name)}: {body}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    records = {each.name: shortened(each, played(each)) for each in cases()}
    FILE.write_text(written(records), "utf-8")
