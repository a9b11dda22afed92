"""What `reflectionflow judge` finds out of a judge whose errors are known: a scripted server.

    python tests/benchmarks/judge_measured.py [--questions 200]

The server sees drawn scenes exactly. It misses 40 % of wrong counts, 25 % of wrong positions and
5 % of other faults, calls 5 % of right statements wrong, and repeats 80 % of its answers when it
is asked again.
"""

# ruff: noqa: E402, T201
from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from core.test_judge_command import answers, shown
from vlm_server import MODEL, Asked, Reply, VlmServer

from reflectionflow_core.cli import main
from reflectionflow_core.judge_errors import NUMBER, POSITION, kind_of
from reflectionflow_core.miniature.detector import detect

MISSES, REST, REPEATS = {NUMBER: 0.4, POSITION: 0.25}, 0.05, 0.8


def errs(scene: str, again: bool, said: str, truth: bool) -> bool:
    """Whether the server errs about a statement; the same for the same question."""
    own, first = (random.Random(f"{said} {scene} {which}") for which in (again, False))
    drawn_anew = again and own.random() >= REPEATS
    rate = REST if truth else MISSES.get(kind_of(said), REST)
    return (own if drawn_anew else first).random() < rate


def reply(asked: Asked) -> Reply:
    if not asked.pictures:
        return answers(asked, lambda *_: False)
    things = sorted(f"{thing.colour} {thing.shape}" for thing in detect(shown(asked)))
    again = "Here is a statement" in asked.text
    return answers(asked, lambda said, truth: errs(str(things), again, said, truth))


def measure() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--questions", default="200")
    asked = options.parse_args().questions
    with VlmServer(reply) as server, tempfile.TemporaryDirectory() as home:
        mine = {"BASE_URL": server.url, "API_KEY": "EMPTY", "MODEL": MODEL}
        os.environ |= {f"REFLECTIONFLOW_MINE_{name}": value for name, value in mine.items()}
        os.environ["REFLECTIONFLOW_HOME"] = home
        began = time.monotonic()
        status = main(["judge", "--vlm", "mine", "--questions", asked])
        print(f"{time.monotonic() - began:.0f} seconds")
    return status


if __name__ == "__main__":
    raise SystemExit(measure())
