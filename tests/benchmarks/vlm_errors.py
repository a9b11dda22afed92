"""How much of a search survives a vision-language model that errs, the miniature painting.

    python tests/benchmarks/vlm_errors.py [--prompts 60]

A scripted model sees what the exact reader sees and turns around a share of its answers: of the
checklist's yes and no, and of the writer's edits. The chosen picture is judged by the truth.
"""

# ruff: noqa: E402, T201
from __future__ import annotations

import argparse
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
import numpy as np
from core.test_vlm_search import ErringEye, judged_by
from scripted_vlm import ScriptedVlm

from reflectionflow_core.evaluation.prompts import held_out
from reflectionflow_core.evaluation.statistics import share
from reflectionflow_core.miniature.prompts import FAMILIES
from reflectionflow_core.miniature.verifier import ExactVerifier
from reflectionflow_core.search import search
from reflectionflow_core.settings import SearchSettings

ERRORS = (0.0, 0.05, 0.1, 0.2, 0.3)
SETTINGS = SearchSettings(
    width=2, depth=3, axes=("noise", "reflection"), parents="best", batch_size=2
)


def outcome(task: tuple[str, int, float]) -> tuple[bool, bool, float]:
    """Whether the first picture and the chosen one are right, and the share of all that are."""
    prompt, seed, error = task
    eye = ErringEye(prompt, error=error, failing=0.0)
    settings = replace(SETTINGS, seed=seed)
    vlm = ScriptedVlm(eye.chat, eye.choose)
    (history,) = deque(search(prompt, settings, judged_by(vlm)), maxlen=1)
    images = [candidate.image for candidate in (*history, history.best)]
    *truth, chosen = (bool(v.passed) for v in ExactVerifier().verify(prompt, images))
    return truth[0], chosen, sum(truth) / len(truth)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--prompts", type=int, default=60)
    count = options.parse_args().prompts // len(FAMILIES)
    questions = [question.prompt for question in held_out(count, 0)]
    print("| error | first picture right | all pictures | the chosen one |\n|---|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for error in ERRORS:
            tasks = [(prompt, seed, error) for seed, prompt in enumerate(questions)]
            found = list(pool.map(outcome, tasks))
            first, chosen = (share(np.array([row[i] for row in found])) for i in (0, 1))
            every = sum(row[2] for row in found) / len(found)
            interval = f"[{chosen.low:.2f}, {chosen.high:.2f}]"
            print(
                f"| {error:.0%} | {first.mean:.2f} | {every:.2f} | {chosen.mean:.2f} {interval} |"
            )


if __name__ == "__main__":
    main()
