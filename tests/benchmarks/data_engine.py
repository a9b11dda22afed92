"""The data engine: how much a second worker helps, and whether memory stays bounded.

    python tests/benchmarks/data_engine.py [--pairs 5] [--rows 100000]

Workers: the miniature paints, with one and with two painters in turn, in one Ray session; the time
is that from the first finished slice to the last, so that loading does not count.
Memory: a whole run over that many work items, with pictures of noise and judges that throw dice;
the memory of this program and of all Ray's processes together (proportional set size, so that what
they share counts once) is looked at every second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from keeping import keep

sys.path.insert(0, str(Path(__file__).parents[2]))  # `train` is not installed
from train.data.engine import ray_session, run_on_ray
from train.data.run import run
from train.data.settings import DataSettings, Engine, PainterSettings, Pool, Ranked, Rule
from train.data.source import PipelineStage
from train.data.work import sharded, sources_of, stages_of

SLICES = 24
SLICE = 4  # work items
# Enough words for more than 100,000 prompts.
NOUNS = [
    f"{first}{second}"
    for first in ("ba", "do", "ki", "lu", "me", "ny", "pa", "ro")
    for second in "bcdfghklmnprst"
]
COLOURS = ["red", "green", "blue", "yellow", "black", "white", "pink", "brown"]


def slices_a_second(settings: DataSettings, workers: int) -> float:
    """The pace with so many painters; the session is there already."""
    pool = Pool(workers=workers)
    (source,) = sources_of(settings)
    shards = sharded(source, 0, settings)
    slices = [work for parts in shards.values() for work in parts]
    stages = [
        PipelineStage(stage.name, stage.build, pool if stage.name == "paint" else stage.pool)
        for stage in stages_of(source, settings)
    ]
    done = [time.perf_counter() for _ in run_on_ray(stages, slices)]
    return (len(done) - workers) / (done[-1] - done[workers - 1])  # each one's first warms it up


def paces(pairs: int, folder: Path) -> dict[str, object]:
    reward = Ranked(prompts=SLICES * SLICE, candidates=4)
    engine = Engine(cpus=2, shard_items=SLICE, slice_items=SLICE)
    settings = DataSettings(
        out=folder, painter=PainterSettings(batch=16), reward=reward, engine=engine
    )
    (folder / "parts").mkdir(parents=True)
    ones, twos = [], []
    with ray_session(engine):
        for _ in range(pairs):
            ones.append(slices_a_second(settings, 1))
            twos.append(slices_a_second(settings, 2))
    pictures = SLICE * reward.candidates
    return {
        "pictures_per_second_1_worker": statistics.median(ones) * pictures,
        "pictures_per_second_2_workers": statistics.median(twos) * pictures,
        "ratio_of_pairs": statistics.median(b / a for a, b in zip(ones, twos, strict=True)),
        "ratios": [b / a for a, b in zip(ones, twos, strict=True)],
    }


class Watch:
    """Megabytes of this process and all that it started, once a second."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(1.0):
            self.seen.append(sum(map(_megabytes, [me, *me.children(recursive=True)])))


def _megabytes(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 1e6
    except psutil.Error:
        return 0.0  # it has ended


def streaming(rows: int, folder: Path) -> dict[str, object]:
    rule = Rule(
        prompts=rows, candidates=2, objects=NOUNS, colours=COLOURS, judge="synthetic", hardest=0
    )
    settings = DataSettings.model_validate(
        {
            "out": folder,
            "image_format": "png",
            "painter": {"model": "synthetic"},
            "rule": rule,
            "filter": {"scorers": ["synthetic"]},
            "engine": {"cpus": 2, "shard_items": 2000, "slice_items": 50, "object_store_gb": 0.3},
        }
    )
    began = time.perf_counter()
    with Watch() as watch:
        run(settings)
    seconds = time.perf_counter() - began
    quarter = len(watch.seen) // 4
    return {
        "rows": rows,
        "rows_per_second": rows / seconds,
        "seconds": seconds,
        "peak_megabytes": max(watch.seen),
        "median_megabytes_by_quarter": [
            statistics.median(watch.seen[i * quarter : (i + 1) * quarter]) for i in range(4)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        keep("data_engine_workers", paces(chosen.pairs, Path(folder) / "workers"))
        keep("data_engine_memory", streaming(chosen.rows, Path(folder) / "memory"))


if __name__ == "__main__":
    main()
