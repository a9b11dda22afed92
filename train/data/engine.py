"""Runs the stages of a source over its slices on Ray Data: one machine, or a cluster by address.

A stage is a pool of actors, each of which loads its model once. Slices stream: what one stage has
done waits in the object store until the next one takes it, and a full store holds the first back.
A block, which an actor that dies has to do again, is one slice, or the slices of one group, which
one actor is to read. Nothing here knows what the stages do.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, cast

from reflectionflow_core.evaluation.cluster import starting_ray
from reflectionflow_core.record import InputError
from train.data.records import Slice
from train.data.settings import Engine
from train.data.source import PipelineStage, StageFunction

Made = TypeVar("Made")
HOME = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An InputError of a worker; Ray would wrap it in its own errors."""

    sentence: str


class Actor:
    """A stage within Ray, whose rows are slices as bytes."""

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
    """Ray for the time of the block: started here, or joined where there is an address."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # warnings about Ray itself
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if engine.address is None:
        memory = int(engine.object_store_gb * 1e9)
        with starting_ray():
            ray.init(
                num_cpus=_cpus(engine), include_dashboard=False, object_store_memory=memory, **quiet
            )
    else:
        # The other machines have no copy of these programs.
        code = [str(HOME / name) for name in ("train", "reflectionflow_core")]
        try:
            _knock(engine.address)
            ray.init(address=engine.address, runtime_env={"py_modules": code}, **quiet)
        except OSError as error:
            raise InputError(
                f"There is no Ray at {engine.address} ({error}). Start it with `ray start --head` "
                "and give the address that it names, or remove engine.address; where Ray asks "
                "for its token, set RAY_AUTH_MODE=token."
            ) from error
    try:
        _hush()
        yield
    finally:
        ray.shutdown()


def run_on_ray(stages: Sequence[PipelineStage], slices: Sequence[Slice]) -> Iterator[Slice]:
    """What the last stage makes of each slice, in the order in which they are done."""
    import ray

    _check_room(stages)
    data = ray.data.from_blocks(list(map(_table, blocks_of(slices))))
    for stage in stages:
        data = data.map(
            cast(Any, Actor),  # Ray's own types know functions only
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
    """Each slice by itself, but for neighbours of one group."""
    for _, found in groupby(enumerate(slices), lambda one: one[1].group or one[0]):
        yield [work for _, work in found]


def _table(block: Sequence[Slice]) -> Any:
    import pyarrow

    return pyarrow.table({"slice": [pickle.dumps(work) for work in block]})


def begin_on_ray(act: Callable[..., Made], *given: Any) -> Callable[[], Made]:
    """Starts a task that needs no processor of its own, wherever there is room."""
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
    """Does it at once."""
    done = act(*given)
    return lambda: done


@dataclass(frozen=True, slots=True)
class Runner:
    """Where the work is done: `run` takes slices through stages, `begin` starts one task and gives
    back what waits for its result.
    """

    run: Callable[[Sequence[PipelineStage], Sequence[Slice]], Iterator[Slice]] = run_here
    begin: Callable[..., Callable[[], Any]] = begin_here


HERE, ON_RAY = Runner(), Runner(run_on_ray, begin_on_ray)


def _knock(address: str) -> None:
    """Ray itself would wait for minutes at an address that does not answer."""
    host, _, port = address.rpartition("/")[2].partition(":")
    if port.isdecimal():  # not "auto"
        socket.create_connection((host, int(port)), timeout=10).close()


def _cpus(engine: Engine) -> int:
    return engine.cpus or os.cpu_count() or 1


def _check_room(stages: Sequence[PipelineStage]) -> None:
    """Ray would wait forever for processors that do not exist."""
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
    """Silences Ray Data's reports; this program has its own progress bar."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
