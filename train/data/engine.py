"""Runs the stages of a source with Ray Data, on one machine or on a cluster.

A stage is a pool of actors, each of which loads its model once. Slices are streamed: a full object
store slows down earlier stages. A block, which is repeated if its actor dies, is one slice or the
slices of one group (read by one actor). This module does not depend on what stages do.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

from reflectionflow_core.evaluation.cluster import QUIET, join_ray, starting_ray
from reflectionflow_core.record import InputError
from train.data.records import Slice
from train.data.settings import Engine
from train.data.source import PipelineStage, StageFunction

Made = TypeVar("Made")
HOME = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An InputError of a worker; Ray would wrap the exception in its own."""

    sentence: str


class Actor:
    """A stage in Ray; its rows are pickled slices."""

    def __init__(self, build: Callable[[], StageFunction]) -> None:
        self.work: StageFunction | Refusal = _or_refusal(build)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"slice": pickle.dumps(self._done(pickle.loads(row["slice"])))}

    def _done(self, given: Slice | Refusal) -> Slice | Refusal:
        if isinstance(given, Refusal):
            return given
        if isinstance(self.work, Refusal):
            return self.work
        return _or_refusal(partial(self.work, given))


def _or_refusal(act: Callable[[], Made]) -> Made | Refusal:
    try:
        return act()
    except InputError as error:
        return Refusal(str(error))


@contextmanager
def ray_session(engine: Engine) -> Iterator[None]:
    """A context with Ray: started on this machine, or connected if an address is given."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # silences warnings about Ray itself
    import ray

    if engine.address is None:
        memory = int(engine.object_store_gb * 1e9)
        with starting_ray():
            ray.init(
                num_cpus=_cpus(engine), include_dashboard=False, object_store_memory=memory, **QUIET
            )
    else:
        code = [HOME / name for name in ("train", "reflectionflow_core")]
        join_ray(engine.address, code, "remove engine.address")
    try:
        _hush()
        yield
    finally:
        ray.shutdown()


def run_on_ray(stages: Sequence[PipelineStage], slices: Sequence[Slice]) -> Iterator[Slice]:
    """The last stage's result for each slice, in the order of completion."""
    import ray

    _check_room(stages)
    data = ray.data.from_blocks(list(map(_table, blocks_of(slices))))
    for stage in stages:
        data = data.map(
            cast(Any, Actor),  # Ray's type annotations only allow functions
            fn_constructor_args=(stage.build,),
            compute=ray.data.ActorPoolStrategy(size=stage.pool.workers),
            num_cpus=stage.pool.cpus,
            num_gpus=stage.pool.gpus,
        )
    for row in data.iter_rows():
        done = pickle.loads(row["slice"])
        if isinstance(done, Refusal):
            raise InputError(done.sentence)
        yield done


def blocks_of(slices: Sequence[Slice]) -> Iterator[list[Slice]]:
    """Single slices, but neighbours of one group together."""
    for _, found in groupby(enumerate(slices), lambda one: one[1].group or one[0]):
        yield [work for _, work in found]


def _table(block: Sequence[Slice]) -> Any:
    import pyarrow

    return pyarrow.table({"slice": [pickle.dumps(work) for work in block]})


def begin_on_ray(act: Callable[..., Made], *given: Any) -> Callable[[], Made]:
    """Starts a task without a reserved CPU on any machine."""
    import ray

    task = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(_or_refusal)
    begun = task.remote(partial(act, *given))

    def result() -> Made:
        done = ray.get(begun)
        if isinstance(done, Refusal):
            raise InputError(done.sentence)
        return done

    return result


def run_here(stages: Sequence[PipelineStage], slices: Sequence[Slice]) -> Iterator[Slice]:
    """The same in this process, one slice after the other."""
    works = [stage.build() for stage in stages]
    for untouched in slices:
        yield reduce(lambda work, step: step(work), works, untouched)


def begin_here(act: Callable[..., Made], *given: Any) -> Callable[[], Made]:
    """Runs the task at once."""
    done = act(*given)
    return lambda: done


@dataclass(frozen=True, slots=True)
class Runner:
    """`run` passes slices through stages; `begin` starts a task and returns how to await it."""

    run: Callable[[Sequence[PipelineStage], Sequence[Slice]], Iterator[Slice]] = run_here
    begin: Callable[..., Callable[[], Any]] = begin_here


HERE, ON_RAY = Runner(), Runner(run_on_ray, begin_on_ray)


def _cpus(engine: Engine) -> int:
    return engine.cpus or os.cpu_count() or 1


def _check_room(stages: Sequence[PipelineStage]) -> None:
    """InputError if there are too few CPUs or GPUs; Ray would wait forever."""
    import ray

    room = ray.cluster_resources()
    for name, kind in (("CPU", "cpus"), ("GPU", "gpus")):
        needed = sum(stage.pool.workers * getattr(stage.pool, kind) for stage in stages)
        if needed > room.get(name, 0) + 1e-6:
            raise InputError(
                f"The stages ask for {needed:g} {kind}, and there are {room.get(name, 0):g}. "
                f"Choose fewer workers, or fewer {kind} for each (engine.paint.workers and so on)."
            )


def _hush() -> None:
    """Turns off Ray Data's own progress display."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
