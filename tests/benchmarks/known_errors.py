"""What a search makes of a judge whose errors it knows, and that repeats them.

    PYTHONPATH=.:tests python tests/benchmarks/known_errors.py --json FILE [--prompts 48]
        [--first K] [--rates 0.05,0.1,0.2,0.3] [--correlations 0,0.8,1] [--trust 0.95,0.9]
        [--looks 2] [--processes 2]

The miniature's `adaptive` search of held-out prompts, corrections limited to regions: with the
exact judge, with one that errs in a share of its answers about single requirements, and with the
same one where the search knows its rates and its correlation. An error belongs to a picture, a
requirement and its kind (`miniature/erring.py`). Pictures that several searches paint alike are
painted once. *Recovered* is the share of the gap between exact and erring judge that knowing
closes. Intervals are 95 %: Wilson's of shares, a bootstrap over prompts of the rest. FILE.part
keeps finished prompts; the same command goes on, and with a larger --first it goes further.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.judge_errors import wilson
from reflectionflow_core.miniature.erring import ErringVerifier, ErrorRates
from reflectionflow_core.miniature.prompts import FAMILIES
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.protocols import SILENT, Actors, Painter, Progress
from reflectionflow_core.record import Request
from reflectionflow_core.registry import ActorChoice, build_actors
from reflectionflow_core.search import search
from reflectionflow_core.search.seeds import shuffled
from reflectionflow_core.settings import Budget, SearchSettings

MOST = 32  # pictures of a search
Numbers = dict[str, float]


@dataclass
class Remembered:
    """A painter that paints what it was asked before only once."""

    painter: Painter
    steps: int
    known: dict[tuple, Image]

    def paint(self, requests: Sequence[Request], progress: Progress = SILENT) -> list[Image]:
        return [self._one(request, progress) for request in requests]

    def _one(self, request: Request, progress: Progress) -> Image:
        parent = request.parent.image.tobytes() if request.corrects and request.parent else b""
        more = repr(request.region), request.phase
        key = (repr(request.seed), request.prompt, parent, request.reflection, *more)
        if key not in self.known:
            (self.known[key],) = self.painter.paint([request], progress)
        return self.known[key]


@dataclass(frozen=True)
class KnownArm:
    """One way to search; a `correlation` of None is a search that knows nothing of its judge."""

    rate: float = 0.0
    correlation: float | None = None
    trust: float = 0.0

    @property
    def name(self) -> str:
        known = "" if self.correlation is None else f", {self.correlation:g}, {self.trust:g}"
        return f"{self.rate:.0%}{known}"


def arms_of(given: Any) -> list[KnownArm]:
    arms = [EXACT]
    for rate in given.rates:
        arms.append(KnownArm(rate))
        arms += [KnownArm(rate, c, t) for c in given.correlations for t in given.trust]
    return arms


EXACT = KnownArm()


def searched(arm: KnownArm, prompt: str, index: int, actors: Actors, given: Any) -> Numbers:
    settings = SearchSettings(
        width=2,
        depth=MOST,
        strategy="adaptive",
        stop="passed",
        correct="auto",
        seed=shuffled(index, given.seed),
        budget=Budget(images=MOST),
    )
    exact, rate = ExactVerifier(), arm.rate
    if rate:
        rates = ErrorRates(rate, rate, arm.correlation or 0.0)
        actors = replace(actors, verifier=ErringVerifier(rates, given.seed))
        actors = replace(actors, errors=rates.known() if arm.correlation is not None else None)
    if arm.correlation is not None:
        settings = replace(settings, trust=arm.trust, looks=given.looks)
    *_, history = search(prompt, settings, actors)
    (truth,) = exact.verify(prompt, [history.best.image])
    return {
        "right": float(bool(truth.passed)),
        "passed": float(bool(history.best.verdict.passed)),
        "pictures": float(history.cost.images),
        "calls": float(history.cost.vlm_calls),
    }


@cache
def painters() -> Actors:
    return build_actors(ActorChoice(), SearchSettings())


def row_of(given: Any, task: tuple[int, str]) -> dict[str, Numbers]:
    """The numbers of one prompt by arm."""
    index, prompt = task
    known: dict[tuple, Image] = {}
    actors = painters()
    assert actors.corrector is not None
    actors = replace(
        actors,
        generator=Remembered(actors.generator, actors.generator.steps, known),
        corrector=Remembered(actors.corrector, actors.corrector.steps, known),
    )
    return {arm.name: searched(arm, prompt, index, actors, given) for arm in arms_of(given)}


def run(given: Any) -> Iterator[dict[str, Numbers]]:
    """Each prompt's numbers by arm; those of finished prompts are read from FILE.part."""
    prompts = held_out(max(1, given.prompts // len(FAMILIES)), given.seed)
    # Of every family some, wherever it is stopped.
    order = np.argsort(np.arange(len(prompts)) % (len(prompts) // len(FAMILIES)), kind="stable")
    part = Path(f"{given.json}.part")
    done = [json.loads(line) for line in part.read_text().splitlines()] if part.exists() else []
    if done and done[0].keys() != {arm.name for arm in arms_of(given)}:
        sys.exit(f"{part} has the rows of other options. Give another --json, or remove it.")
    yield from done[: given.first]
    tasks = [(i, prompts[i].prompt) for i in map(int, order[len(done) : given.first])]
    with ProcessPoolExecutor(given.processes) as pool, part.open("a") as file:
        for number, row in enumerate(pool.map(partial(row_of, given), tasks), len(done) + 1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            sys.stderr.write(f"\r{number} of {len(order[: given.first])}  ")
            yield row


def column(rows: Sequence[dict[str, Numbers]], arm: KnownArm, what: str) -> np.ndarray:
    return np.array([row[arm.name][what] for row in rows])


def bootstrapped(
    rows: Sequence[dict[str, Numbers]], arm: KnownArm, times: int = 4000
) -> dict[str, str]:
    """Recovered share and ratio of pictures, to the search that knows nothing of its judge."""
    rng = np.random.default_rng(0)
    plain = KnownArm(arm.rate)
    exact, erring, ours = (column(rows, each, "right") for each in (EXACT, plain, arm))
    painted, paid = (column(rows, each, "pictures") for each in (plain, arm))
    drawn = rng.integers(0, len(rows), (times, len(rows)))
    gap = (exact[drawn] - erring[drawn]).mean(1)
    gain = (ours[drawn] - erring[drawn]).mean(1)
    shares = np.where(gap > 0, gain / np.where(gap > 0, gap, 1), np.nan)
    ratios = paid[drawn].mean(1) / painted[drawn].mean(1)
    whole = (exact - erring).mean()
    recovered = (ours - erring).mean() / whole if whole > 0 else float("nan")
    return {
        "recovered": _with_interval(recovered, shares),
        "pictures, times": _with_interval(paid.mean() / painted.mean(), ratios),
    }


def _with_interval(value: float, drawn: np.ndarray) -> str:
    if np.isnan(value):
        return "no gap"
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def table(rows: Sequence[dict[str, Numbers]], arms: Sequence[KnownArm]) -> str:
    lines = [
        "| errors | known, correlation | trust | right | recovered | pictures "
        "| to those that know nothing | calls | of the pictures that passed, right |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        right = column(rows, arm, "right")
        low, high = wilson(int(right.sum()), len(right))
        passed = column(rows, arm, "passed") == 1
        compared = bootstrapped(rows, arm) if arm.correlation is not None else {}
        cells = (
            f"{arm.rate:.0%}",
            "no" if arm.correlation is None else f"{arm.correlation:g}",
            f"{arm.trust:g}" if arm.trust else "",
            f"{right.mean():.3f} [{low:.3f}, {high:.3f}]",
            compared.get("recovered", ""),
            f"{column(rows, arm, 'pictures').mean():.2f}",
            compared.get("pictures, times", ""),
            f"{column(rows, arm, 'calls').mean():.2f}",
            f"{int(right[passed].sum())} of {int(passed.sum())}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    def numbers(text: str) -> list[float]:
        return [float(each) for each in text.split(",")]

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--first", type=int, help="only so many of them, of every family")
    parser.add_argument("--rates", type=numbers, default=[0.05, 0.1, 0.2, 0.3])
    parser.add_argument("--correlations", type=numbers, default=[0.0, 0.8, 1.0])
    parser.add_argument("--trust", type=numbers, default=[0.95])
    parser.add_argument("--looks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    rows = list(run(given))
    Path(given.json).write_text(json.dumps({"options": vars(given), "prompts": rows}))
    sys.stdout.write(f"{len(rows)} prompts\n\n{table(rows, arms_of(given))}\n")


if __name__ == "__main__":
    main()
