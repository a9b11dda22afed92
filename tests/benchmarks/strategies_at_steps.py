"""How often each strategy is right after so many diffusion steps, on the miniature.

    python tests/benchmarks/strategies_at_steps.py OUT.jsonl --arms noise,potential:noise,reflection

An arm is a strategy; after a colon stand axes joined by +, or zero_order. Every search stops at the
first picture that passes, and may take `--budget` steps. Prompts are held out, of the families that
a first picture often gets wrong. The truth is the exact verifier's; with --error the search's own
errs at that rate. A killed run goes on with the same command. Intervals are 95 %: Wilson's, and a
bootstrap over prompts for paired differences and for the steps that an arm needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import accumulate
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from reflectionflow_core.archive import files
from reflectionflow_core.catalog import ActorChoice, build_actors
from reflectionflow_core.cli.screen import quieten_libraries
from reflectionflow_core.evaluation.arms import Arm, actors_of
from reflectionflow_core.evaluation.questions import Question, held_out
from reflectionflow_core.evaluation.statistics import difference, share
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import Actors
from reflectionflow_core.record import Budget, SearchSettings
from reflectionflow_core.search import search
from reflectionflow_core.search.seeds import shuffled

HARD = ("two_object", "counting", "position", "color_attr")
ROUNDS = 200  # more than any budget pays for
RESAMPLES = 2000

Outcome = dict[str, Any]
_ACTORS: dict[int, Actors] = {}  # of this process, by the steps of a picture


def arm_named(name: str, asked: argparse.Namespace) -> Arm:
    strategy, _, how = name.partition(":")
    changes: dict[str, Any] = {"noise_search": how} if how == "zero_order" else {}
    if how and not changes:
        changes = {"axes": tuple(how.split("+"))}
    settings = SearchSettings(
        width=asked.width,
        depth=ROUNDS,
        strategy=strategy,
        stop="passed",
        parents="best",
        budget=Budget(steps=asked.budget),
    )
    return Arm(name, replace(settings, **changes), asked.error)


def run_one(arm: Arm, index: int, question: Question, steps: int) -> Outcome:
    """One search: for every picture the steps spent by then, its score, and whether it is right."""
    if steps not in _ACTORS:
        quieten_libraries()
        _ACTORS[steps] = build_actors(ActorChoice(steps=steps), SearchSettings())
    settings = replace(arm.settings, seed=shuffled(index, key=0))
    seats = actors_of(arm, _ACTORS[steps], 0)
    (history,) = deque(search(question.prompt, settings, seats), maxlen=1)
    truth = ExactVerifier().verify(question.prompt, [c.image for c in history])
    pictures = zip(accumulate(c.steps for c in history), history, truth, strict=True)
    seen = [(at, c.score, bool(v.passed)) for at, c, v in pictures if c.finished]
    return {"arm": arm.name, "index": index, "pictures": seen, "looked_at": len(history)}


def outcomes(
    arms: Sequence[Arm], questions: Sequence[Question], asked: argparse.Namespace
) -> Iterator[None]:
    """Runs what the file has not yet, and yields after each search."""
    begun = read(asked.out)
    known = {(line["arm"], line["index"]) for line in begun}
    tasks = [
        (arm, index, question, asked.steps)
        for index, question in enumerate(questions)
        for arm in arms
        if (arm.name, index) not in known
    ]
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_one, *task) for task in tasks]):
            files.append(asked.out, json.dumps(done.result()).encode() + b"\n")
            yield


def read(file: Path) -> list[Outcome]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def right(outcome: Outcome, steps: int) -> bool:
    """Whether the best picture by then is right; the earliest of equals."""
    found = [picture for picture in outcome["pictures"] if picture[0] <= steps]
    return bool(found) and max(found, key=lambda picture: picture[1])[2]


def table(found: Sequence[Outcome], arms: Sequence[str], budgets: Sequence[int]) -> list[str]:
    by_arm = {arm: {o["index"]: o for o in found if o["arm"] == arm} for arm in arms}
    common = sorted(set.intersection(*(set(outcomes) for outcomes in by_arm.values())))
    rights = {
        arm: np.array([[right(of[i], b) for b in budgets] for i in common])
        for arm, of in by_arm.items()
    }
    lines = [f"{len(common)} prompts; steps: {', '.join(map(str, budgets))}"]
    for arm, table in rights.items():
        looked = np.mean([by_arm[arm][i]["looked_at"] for i in common])
        spent = np.mean([by_arm[arm][i]["pictures"][-1][0] for i in common])
        told = "  ".join(str(share(column)) for column in table.T)
        lines.append(f"{arm}: {told}; {looked:.1f} looked at, {spent:.0f} steps")
    first, *others = arms
    for arm in others:
        gained = [difference(*pair) for pair in zip(rights[arm].T, rights[first].T, strict=True)]
        lines.append(f"{arm} minus {first}: {'  '.join(map(str, gained))}")
    return lines


def steps_needed(
    found: Sequence[Outcome], ours: str, theirs: str, budget: int
) -> tuple[float, float, float]:
    """The steps that `ours` takes to be right as often as `theirs` at the budget, as a share of
    those that `theirs` takes to get there; with a 95 % interval."""
    grid = np.arange(0, budget + 1, 2)
    curves = []
    for arm in (ours, theirs):
        of = {o["index"]: o for o in found if o["arm"] == arm}
        curves.append([[right(of[i], int(s)) for s in grid] for i in sorted(of)])
    count = min(map(len, curves))
    our, their = (np.array(curve[:count], float) for curve in curves)
    dice = np.random.default_rng(0)
    ratios = []
    for resample in range(RESAMPLES + 1):
        rows = dice.integers(0, count, count) if resample else np.arange(count)
        mine, other = our[rows].mean(0), their[rows].mean(0)
        goal = other[-1]
        reached = grid[np.argmax(mine >= goal)] if (mine >= goal).any() else np.inf
        ratios.append(reached / grid[np.argmax(other >= goal)])
    low, high = np.quantile(ratios[1:], [0.025, 0.975], method="nearest")
    return float(ratios[0]), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", default="noise,potential:noise,reflection,potential")
    parser.add_argument("--prompts", type=int, default=16, help="of each family")
    parser.add_argument("--steps", type=int, default=30, help="of a picture")
    parser.add_argument("--budget", type=int, default=240, help="steps of a search")
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--error", type=float, default=0.0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    arms = [arm_named(name, asked) for name in asked.arms.split(",")]
    questions = held_out(asked.prompts, 0, HARD)
    for done, _ in enumerate(outcomes(arms, questions, asked), start=1):
        sys.stderr.write(f"\r{done} searches")
    found = read(asked.out)
    budgets = [asked.budget * part // 4 for part in (1, 2, 3, 4)]
    names = [arm.name for arm in arms]
    told = table(found, names, budgets)
    for ours, theirs in zip(names[1::2], names[::2], strict=False):
        needed = steps_needed(found, ours, theirs, asked.budget)
        told.append(f"{ours} needs {needed} of the steps of {theirs}")
    sys.stdout.write("\n".join(told) + "\n")


if __name__ == "__main__":
    main()
