"""What the start of a training on a million samples takes: the indexes of all shards read, and
every sample's label, group and prompt at hand.

    python tests/benchmarks/shard_index.py [--samples 1000000] [--shards 209]

The shards have the length of real ones and no content (sparse files), since a start reads their
indexes and of each a few beginnings. A process of its own starts, with the files in the cache of
the system; its memory is what it holds more than after its imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
from keeping import keep as keep_result

sys.path.insert(0, str(Path(__file__).parents[2]))  # `train` is not installed
from train.corrector.samples import Shards
from train.corrector.settings import Views
from train.shard_index import ShardIndex, keep
from train.shard_lists import shards_in
from train.triplets import SUBSETS, Triplets

NAMES = (
    "bad_image.jpg",
    "good_image.jpg",
    "prompt.txt",
    "reflection.txt",
    "subset.txt",
    "told.json",
)
FILE = 100_000  # bytes
SIDES = (1024, 832, 768, 1216)


def write_shard(file: Path, first: int, count: int) -> None:
    keys = [f"rule-{number:08d}-0".encode() for number in range(first, first + count)]
    places = np.arange(count * len(NAMES), dtype=np.int64).reshape(count, len(NAMES))
    numbers = np.arange(first, first + count, dtype=np.uint64)
    index = ShardIndex(
        np.frombuffer(b"".join(keys), np.uint8),
        np.cumsum([len(key) for key in keys], dtype=np.int64),
        places * (FILE + 512) + 512,
        np.full((count, len(NAMES)), FILE, np.uint32),
        (numbers % len(SUBSETS)).astype(np.uint8),
        numbers + 1,
        np.array(SIDES, np.uint32)[numbers % len(SIDES)],
        np.array(SIDES[::-1], np.uint32)[numbers % len(SIDES)],
        NAMES,
        SUBSETS,
    )
    with file.open("wb") as stream:
        stream.truncate(count * len(NAMES) * (FILE + 512))
    keep(file, index)


def start(folder: str) -> None:
    """In a process of its own; prints its figures."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter()
    triplets = Triplets(shards_in(folder))
    flux, views = SimpleNamespace(token_pixels=16), Views(max_aspect=2.0)
    shards = Shards(flux, triplets, views)  # pyright: ignore[reportArgumentType]
    after = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "samples": len(triplets),
        "labels": len(set(shards.labels)),
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "megabytes": (after.ru_maxrss - before.ru_maxrss) * 1024 / 1e6,
    }
    sys.stdout.write(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=209)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.start:
        start(chosen.start)
        return
    with TemporaryDirectory() as folder:
        count = -(-chosen.samples // chosen.shards)
        for number in range(chosen.shards):
            first = number * count
            few = min(count, chosen.samples - first)
            write_shard(Path(folder) / f"genref_{number:06d}.tar", first, few)
        line = [sys.executable, __file__, "--start", folder]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    keep_result("shard_index", {"shards": chosen.shards, **json.loads(done.stdout)})


if __name__ == "__main__":
    main()
