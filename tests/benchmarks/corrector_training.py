"""What the corrector's training costs beside its own forward and backward, on the miniature.

    PYTHONPATH=. python tests/benchmarks/corrector_training.py [--steps 3] [--rounds 9] [--batch 64]

The floor is the least that any training must compute: `velocity` forward and backward on a batch
that is ready. The training draws, reads (encoded beforehand), mixes, clips, steps Prodigy and
writes its log. Both run in turns of `--steps`, in alternating order, on one thread, timed in
process CPU time (the reading threads' too), because other programs may want the same cores. The
median of the rounds' ratios stands in the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_corrector_step import versions, write_result

from reflectionflow_core.flux.branch import velocity
from reflectionflow_core.flux.lora import CorrectorLora
from train.corrector.dry_run import write_triplets
from train.corrector.flux import load
from train.corrector.loss import mixed
from train.corrector.samples import TrainingBatch
from train.corrector.settings import CorrectorSettings, Views
from train.corrector.training import CorrectorTraining, Overrides, setup
from train.fit import Draw, steps
from train.journal import Log
from train.latents.encoding import encode
from train.latents.settings import LatentsSettings

GOAL = 1.10  # a tenth above the floor


def settings(folder: Path, batch: int) -> CorrectorSettings:
    return CorrectorSettings(
        model="miniature",
        device="cpu",
        dtype="fp32",
        target_size=64,
        condition_size=64,
        text_length=40,
        data=str(write_triplets(folder / "data", 256)),
        latents=folder / "latents",
        out=folder / "out",
        steps=10**6,
        save_every=10**6,  # a checkpoint is written once in hundreds of steps
        batch=batch,
        checkpointing=False,
        workers=2,
    )


def prepared(chosen: CorrectorSettings) -> CorrectorTraining:
    """A training whose samples are encoded; the very objects that the program uses."""
    flux = load(chosen)
    views = {name: getattr(chosen, name) for name in Views.model_fields}
    encode(LatentsSettings(**views, out=Path(chosen.latents or "")), flux)
    return setup(chosen, Overrides(flux=flux))


def floor(work: CorrectorTraining, batch: TrainingBatch) -> Callable[[], None]:
    """Forward and backward of one batch that is ready."""
    noise = torch.randn(batch.target.shape)
    inputs, slope = mixed(batch, noise, torch.full((len(noise),), 0.5))
    transformer = work.predict.func.transformer  # type: ignore[attr-defined]
    assert isinstance(work.lora, CorrectorLora)
    lora = work.lora

    def once() -> None:
        lora.zero_grad(set_to_none=True)
        (velocity(transformer, inputs, lora).float() - slope).square().mean().backward()

    return once


def seconds(step: Callable[[], Any], count: int) -> float:
    begin = time.process_time()
    for _ in range(count):
        step()
    return time.process_time() - begin


def measure(work: CorrectorTraining, count: int, rounds: int) -> list[tuple[float, float]]:
    """CPU seconds of (floor, training) for `count` steps each, after a warm-up of both."""
    chosen = work.settings
    log = Log(chosen.out / "log.jsonl", 0)
    made = steps(work.state, work.loss, chosen.schedule, work.kept)
    bare = floor(work, work.batches(Draw(1, 0)))
    turns = {"floor": bare, "training": lambda: log.write(next(made))}
    found = []
    for turn in range(-1, rounds):
        order = list(turns) if turn % 2 else list(reversed(turns))
        took = {name: seconds(turns[name], count) for name in order}
        if turn >= 0:
            found.append((took["floor"], took["training"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3, help="of each in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(settings(Path(folder), options.batch))
        found = measure(work, options.steps, options.rounds)
        work.batches.close()
    samples = options.steps * options.batch
    ratios = sorted(training / bare for bare, training in found)
    ratio = statistics.median(ratios)
    result = {
        "what": "the corrector's training on the miniature against bare forward and backward",
        "versions": versions(),
        "batch": options.batch,
        "samples_per_cpu_second": round(samples / statistics.median(t for _, t in found), 2),
        "floor_samples_per_cpu_second": round(samples / statistics.median(f for f, _ in found), 2),
        "ratios": [round(value, 4) for value in ratios],
        "ratio": round(ratio, 4),
        "goal": GOAL,
        "reached": ratio <= GOAL,
    }
    write_result("corrector_training", result)


if __name__ == "__main__":
    sys.exit(main())
